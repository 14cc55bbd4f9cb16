"""Training an agent that steers the threshold, by proximal policy optimisation."""

from collections.abc import Iterator

import torch
from torch import Tensor

from backbones.preprocessing import Preprocessing
from datamodules.errors import RegateError
from policy.rl.objective import explained_variance
from policy.rl.ppo import PPO, Update
from policy.rl.reward import Quality
from policy.rl.rollout import Rollout
from policy.tasks.agent import AgentTask


class PPOTask(AgentTask):
    """PPO (https://arxiv.org/abs/1707.06347) against the threshold on the same clips.

    Each clip is shown in several streams at one budget: in the first the calibrated threshold runs,
    in the others the agent explores. What is learned from is the difference of its reward to the
    threshold's, frame by frame. The threshold's does not depend on the agent, so the gradient keeps
    its expectation, and what makes a clip easy or hard cancels.

    Args:
        backbone: timm's name of it.
        weights: "pretrained", a local file, or "random".
        ppo: The algorithm's settings.
        rollouts: Of each clip in a batch, beside the threshold's.
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

    policy_name = "ppo"

    def __init__(
        self,
        backbone: str,
        weights: str = "pretrained",
        ppo: PPO = PPO(),  # noqa: B008  # frozen
        rollouts: int = 8,
        learning_rate: float = 1e-3,
        exploration: float = 0.3,
        max_grad_norm: float = 0.5,
        quality: Quality = "kl",
        budget_range: tuple[float, float] = (0.06, 0.6),
        calibration_clips: int = 12,
        budget: float = 0.2,
        preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
        fallback: bool = True,
    ) -> None:
        if rollouts < 1:
            raise RegateError(f"rollouts must be 1 or more, got {rollouts}")
        super().__init__(
            backbone,
            weights,
            learning_rate=learning_rate,
            exploration=exploration,
            max_grad_norm=max_grad_norm,
            quality=quality,
            budget_range=budget_range,
            repeats=rollouts + 1,
            critic=True,
            calibration_clips=calibration_clips,
            budget=budget,
            preprocessing=preprocessing,
            fallback=fallback,
        )
        self.save_hyperparameters()
        self.ppo = ppo

    @property
    def steps_per_rollout(self) -> int:
        """Of the optimiser, unless the policy moves far before."""
        return self.ppo.update_epochs * self.ppo.num_minibatches

    def explores(self, streams: int) -> Tensor:
        """All but the first of each clip."""
        return torch.arange(streams, device=self.device) % self.repeats > 0

    def act(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Explore where the agent does; action 0, the threshold, elsewhere."""
        actions, log_probs = super().act(observations)
        actions[~self.explores(len(actions))] = 0.0
        return actions, log_probs

    def learn(self, rollout: Rollout, bins: Tensor) -> Iterator[Update]:
        """Several passes over what the agent did better or worse than the threshold."""
        explores = self.explores(len(bins))
        ours = rollout.streams(explores)
        threshold = rollout.rewards[:, ~explores].repeat_interleave(self.repeats - 1, dim=1)
        ours.rewards.sub_(threshold)
        experience = self.ppo.experience(self.agent, ours, self.of_all_processes)
        size = ours.rewards.shape[1]
        explained = explained_variance(experience.values, experience.returns)
        self.log("train/reward_minus_threshold", ours.rewards.mean(), batch_size=size)
        self.log("train/explained_variance", explained, batch_size=size)
        yield from self.ppo.updates(self.agent, experience, self.of_all_processes)
