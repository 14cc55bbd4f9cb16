"""What both trainings by reinforcement share: the gate, rollouts of a batch, rewards, steps."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from pytorch_lightning import Callback
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from backbones.preprocessing import Preprocessing
from datamodules.errors import RegateError
from datamodules.records import ClipBatch
from policy.budgets.search import spread_clips
from policy.gates.heuristic import ThresholdGate
from policy.gates.selective import ACTIONS, SelectiveGate
from policy.quality import dense_reference, sweep_clip
from policy.rl.actor_critic import Actor, Agent, Critic, Exploration
from policy.rl.bins import BINS, BudgetBins
from policy.rl.ppo import Update
from policy.rl.reward import Quality
from policy.rl.rollout import Rollout, collect
from policy.rl.value_norm import ValueNorm
from policy.rl.vector import TokenReuseVectorEnv
from policy.rl.world import LEAST_FRAMES
from policy.tasks.base import ReuseTask
from policy.tasks.schedule import check_rate, cosine_to_zero

TERMS = ("quality", "spent")
"""Of ``info`` that are logged; and KL to dense, where the quality needs a dense reference."""


class AgentTask(ReuseTask):
    """Base of the trainings by reinforcement: an agent steers the threshold frame by frame.

    A batch of clips is one rollout of the vectorised environment, which runs all of them through
    one backbone in one session. Each clip draws one of eight budgets, and with it the knob at which
    the threshold spends it, and the price at which the threshold neither gains nor loses by
    spending a little more.

    Rewards are in units of what the threshold loses on a clip at that budget.
    """

    gate: SelectiveGate
    policy_name: str
    """Of the gate, in tables and files."""

    def __init__(
        self,
        backbone: str,
        weights: str,
        learning_rate: float,
        exploration: float,
        max_grad_norm: float,
        quality: Quality,
        budget_range: tuple[float, float],
        repeats: int,
        critic: bool,
        calibration_clips: int,
        budget: float,
        preprocessing: Preprocessing,
        fallback: bool,
    ) -> None:
        check_rate(learning_rate)
        low, high = budget_range
        if not 0 < low < high <= 1:
            raise RegateError(
                f"budget_range must be two ascending values in (0, 1], got {low:g} and {high:g}"
            )
        for name, value in (("exploration", exploration), ("max_grad_norm", max_grad_norm)):
            if not value > 0:
                raise RegateError(f"{name} must be above 0, got {value:g}")
        super().__init__(backbone, weights, calibration_clips, budget, preprocessing, fallback)
        # A rollout is stepped on several times.
        self.automatic_optimization = False
        self.learning_rate = learning_rate
        self.max_grad_norm = max_grad_norm
        self.quality = quality
        self.repeats = repeats
        self.bins = BudgetBins(low, high)
        self.exploration = Exploration(self.gate.action_size, exploration)
        self.critic = Critic(self.gate.observation_size) if critic else None
        self.value_norm = ValueNorm()

    def new_gate(self) -> SelectiveGate:
        """A threshold that an untrained actor leaves as it is."""
        return untrained_gate(self.policy_name)

    @property
    def agent(self) -> Agent:
        """What is trained."""
        assert self.gate.actor is not None
        return Agent(self.gate.actor, self.exploration, self.critic, self.value_norm)

    def configure_callbacks(self) -> Sequence[Callback] | Callback:
        """Refuse what Lightning cannot do for a module that takes its steps itself.

        The only hook before Lightning's own check, which names no cure.

        Raises:
            RegateError: If the Trainer is to clip, to accumulate or to scale gradients.
        """
        if self.trainer.gradient_clip_val:
            raise RegateError(
                "an agent clips its gradients itself: leave --trainer.gradient_clip_val out and "
                "set --model.max_grad_norm"
            )
        if self.trainer.accumulate_grad_batches != 1:
            raise RegateError(
                "an agent takes several steps per batch: leave --trainer.accumulate_grad_batches "
                "out and set --data.batch_size or --model.rollouts"
            )
        if self.trainer.precision == "16-mixed":
            raise RegateError(
                "an agent clips its gradients itself, which 16-mixed has scaled by then: set "
                "--trainer.precision bf16-mixed or 32-true"
            )
        return super().configure_callbacks()

    def on_fit_start(self) -> None:
        """Measure the threshold at each budget that is trained for.

        Raises:
            RegateError: If the quality needs labels that are not the backbone's classes.
        """
        self._check_labels()
        super().on_fit_start()
        assert self.yardstick is not None
        self.gate.aim(self.yardstick)
        lowest = self.yardstick.lowest
        knobs = [self.yardstick.knob(max(float(b), lowest)) for b in self.bins.budgets]
        self.bins.measured(torch.tensor(knobs), self._lost(torch.tensor(knobs)))

    def training_step(self, batch: ClipBatch, batch_index: int) -> None:
        """One rollout of a batch of clips, uint8 [b, t, c, h, w], and the steps it is good for."""
        bins = torch.randint(BINS, (len(batch.frames),), device=self.device)
        bins = bins.repeat_interleave(self.repeats)
        rollout = self._rollout(batch, bins)
        self._check_finite(rollout)
        optimizer = cast(LightningOptimizer, self.optimizers())
        updates = []
        for update in self.learn(rollout, bins):
            optimizer.zero_grad()
            self.manual_backward(update.loss)
            self.clip_gradients(optimizer.optimizer, self.max_grad_norm, "norm")
            optimizer.step()
            updates.append(update)
        for _ in range(len(updates) if self._ends_by_steps else 1):
            cast(LambdaLR, self.lr_schedulers()).step()
        self._log_rollout(rollout, bins)
        self._log_updates(updates, len(bins))

    @abstractmethod
    def learn(self, rollout: Rollout, bins: Tensor) -> Iterator[Update]:
        """The losses that a rollout gives rise to; each is stepped on before the next.

        Args:
            rollout: Of ``repeats`` neighbouring streams per clip, rewards in units of what the
                threshold loses.
            bins: The budget of each stream, int64 [s].
        """

    def act(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Actions of all streams [s, o] and the logarithms of their probabilities."""
        policy = self.agent.policy(observations)
        actions = policy.sample()
        return actions, policy.log_prob(actions)

    def of_all_processes(self, value: Tensor) -> Tensor:
        """A tensor of this process, [...] → those of all, [n, ...]."""
        gathered = self.all_gather(value)
        assert isinstance(gathered, Tensor)
        return gathered.view(-1, *value.shape)  # one process alone gets it back as it was

    def explores(self, streams: int) -> Tensor:
        """Which streams of a rollout the agent acts in, bool [s]."""
        return torch.ones(streams, dtype=torch.bool, device=self.device)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam on the agent, cosine decay over the whole run."""
        optimizer = torch.optim.Adam(self.agent.parameters(), lr=self.learning_rate, eps=1e-5)
        length = self.trainer.max_steps if self._ends_by_steps else self._rollouts
        return [optimizer], [cosine_to_zero(optimizer, length)]

    @property
    def _rollouts(self) -> int:
        """Batches until the end."""
        return int(self.trainer.estimated_stepping_batches)

    @property
    def _ends_by_steps(self) -> bool:
        """Whether a limit of steps, of which a rollout may take fewer, comes before the epochs'."""
        limit = self.trainer.max_steps
        return limit != -1 and limit < self._rollouts * self.steps_per_rollout

    @property
    def steps_per_rollout(self) -> int:
        """Of the optimiser, at most."""
        return 1

    def _rollout(self, batch: ClipBatch, bins: Tensor) -> Rollout:
        """Act in every clip of a batch, each shown by ``repeats`` streams."""
        frames = batch.frames.shape[1]
        if frames < LEAST_FRAMES:
            raise RegateError(
                f"an agent learns from clips of {LEAST_FRAMES} frames or more, got {frames}: "
                "set --data.num_frames"
            )
        env = TokenReuseVectorEnv(
            len(bins), backbone=self.backbone, gate=self.gate, quality=self.quality
        )
        options = {
            "clips": batch.frames,
            "clean": batch.clean,
            "labels": batch.labels,
            "repeats": self.repeats,
            "budgets": self.bins.budgets[bins].cpu().numpy(),
            "knobs": self.bins.knobs[bins].cpu().numpy(),
            "prices": self.bins.prices[bins].cpu().numpy(),
        }
        seen, _ = env.reset(options=options)
        try:
            terms = TERMS if self.quality == "accuracy" else (*TERMS, "kl")
            rollout, _ = collect(env, seen, self.act, frames - 2, terms, self.device)
        finally:
            self.gate.steer(None)
        rollout.rewards.div_(self.bins.units[bins])
        return rollout

    def _check_finite(self, rollout: Rollout) -> None:
        """Refuse rewards from which nothing can be learned, before anything has changed."""
        finite = bool(torch.isfinite(rollout.rewards).all())
        # By all processes together: one that raised alone would leave the others waiting.
        if not self.trainer.strategy.reduce_boolean_decision(finite, all=True):
            raise RegateError(
                f"training stopped at step {self.global_step} because a reward is not finite, "
                "with the weights still those before the step; look for broken clips, then go on "
                "with --ckpt_path last"
            )

    def _lost(self, knobs: Tensor) -> Tensor:
        """What the threshold loses of the quality on each calibration clip, [clips, knobs]."""
        threshold = ThresholdGate().to(self.device)
        lost = []
        for clip in spread_clips(self.data, self.calibration_clips):
            frames = self.backbone.normalize(clip.frames)
            dense = dense_reference(self.backbone, clip)
            labels = clip.labels if self.quality == "accuracy" else None
            knobs = knobs.to(self.device)
            metrics = sweep_clip(self.backbone, threshold, frames, dense, knobs, labels).metrics
            kept = metrics[self.quality].double().cpu()
            lost.append(kept if self.quality == "kl" else 1 - kept)
        # A clip without labels has no accuracy, and says nothing of what is lost.
        told = [values for values in lost if not values.isnan().any()]
        if not told:
            raise RegateError(
                f"quality {self.quality} needs labels, and no calibration clip has any: kl, "
                "agreement and cosine need none"
            )
        return torch.stack(told)

    def _check_labels(self) -> None:
        classes, ours = len(self.data.class_names), self.backbone.num_classes
        if self.quality == "accuracy" and classes != ours:
            raise RegateError(
                f"quality accuracy needs the backbone's own {ours} classes as labels, but "
                f"{self.data.name} has {classes}: kl, agreement and cosine need none"
            )

    def _log_rollout(self, rollout: Rollout, bins: Tensor) -> None:
        """How the agent did while it explored; means over its streams and frames."""
        explores = self.explores(len(bins))
        ours, bins = rollout.streams(explores), bins[explores]
        size = len(bins)
        reward = (ours.rewards * self.bins.units[bins]).mean()
        self.log("train/reward", reward, prog_bar=True, batch_size=size)
        over = ours.terms["spent"] - self.bins.budgets[bins]
        means = {f"train/{name}": value.mean() for name, value in ours.terms.items()}
        actions = zip(ACTIONS, ours.actions.mean((0, 1)), strict=True)
        means |= {f"train/action_{name}": value for name, value in actions}
        self.log_dict(means | {"train/excess": over.mean()}, batch_size=size)

    def _log_updates(self, updates: Sequence[Update], size: int) -> None:
        """What the steps on a rollout were like; means over them."""
        columns = {
            "train/loss": [update.loss for update in updates],
            "train/policy_loss": [update.surrogate.loss for update in updates],
            "train/value_loss": [update.value_loss for update in updates],
            "train/approx_kl": [update.surrogate.approx_kl for update in updates],
            "train/clip_fraction": [update.surrogate.clip_fraction for update in updates],
        }
        means = {name: torch.stack(values).detach().mean() for name, values in columns.items()}
        spread = self.exploration.log_std.detach().exp().mean()
        self.log_dict(means | {"train/exploration": spread}, batch_size=size)


def untrained_gate(name: str) -> SelectiveGate:
    """The calibrated threshold, in the hands of an actor that has learned nothing yet."""
    gate = SelectiveGate()
    gate.name = name
    gate.actor = Actor(gate.observation_size, gate.action_size)
    return gate
