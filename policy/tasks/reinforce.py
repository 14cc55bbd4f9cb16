"""Training an agent that steers the threshold, by REINFORCE."""

from collections.abc import Iterator

from torch import Tensor

from backbones.preprocessing import Preprocessing
from datamodules.errors import RegateError
from policy.rl.ppo import Update
from policy.rl.reinforce import Reinforce
from policy.rl.reward import Quality
from policy.rl.rollout import Rollout
from policy.tasks.agent import AgentTask


class ReinforceTask(AgentTask):
    """REINFORCE whose baseline are the other rollouts of the same clip.

    Each clip is shown several times at one budget, and the agent explores in each stream on its
    own. What an action is credited with is what came after it, less the mean of what came after
    the same frame in the other streams of the clip. No critic is needed, and none is trained.

    Args:
        backbone: timm's name of it.
        weights: "pretrained", a local file, or "random".
        reinforce: The algorithm's settings.
        rollouts: Of each clip in a batch, 2 or more.
        learning_rate: Of Adam, decaying to zero along a cosine.
        exploration: Spread of the actions around the actor's at the start; 1 is 2 in log drift.
        max_grad_norm: Gradients are scaled down to this norm.
        quality: What a frame is worth: kl (1 - KL to dense), agreement, cosine, or accuracy, which
            needs labels.
        budget_range: Lowest and highest budget trained for.
        calibration_clips: Clips of the calibration split that the knobs are found on.
        budget: At which ``test``, ``predict`` and TensorBoard's overlays show the gate.
        preprocessing: What happens to an image first; the model's own by default.
        fallback: Let the file serve the threshold where the gate is not found to be better.

    Raises:
        RegateError: If a value is outside its range, or the backbone cannot be loaded.
    """

    policy_name = "reinforce"

    def __init__(
        self,
        backbone: str,
        weights: str = "pretrained",
        reinforce: Reinforce = Reinforce(),  # noqa: B008  # frozen
        rollouts: int = 8,
        learning_rate: float = 2e-3,
        exploration: float = 0.3,
        max_grad_norm: float = 0.5,
        quality: Quality = "kl",
        budget_range: tuple[float, float] = (0.06, 0.6),
        calibration_clips: int = 12,
        budget: float = 0.2,
        preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
        fallback: bool = True,
    ) -> None:
        if rollouts < 2:
            raise RegateError(
                f"rollouts must be 2 or more, as each is held against the others, got {rollouts}"
            )
        super().__init__(
            backbone,
            weights,
            learning_rate=learning_rate,
            exploration=exploration,
            max_grad_norm=max_grad_norm,
            quality=quality,
            budget_range=budget_range,
            repeats=rollouts,
            critic=False,
            calibration_clips=calibration_clips,
            budget=budget,
            preprocessing=preprocessing,
            fallback=fallback,
        )
        self.save_hyperparameters()
        self.reinforce = reinforce

    def learn(self, rollout: Rollout, bins: Tensor) -> Iterator[Update]:
        """One step, the only one for which the rollout is the policy's own."""
        experience = self.reinforce.experience(rollout, self.repeats, self.of_all_processes)
        yield self.reinforce.update(self.agent, experience)
