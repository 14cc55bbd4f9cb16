"""Training a gate by Gumbel sampling under a compute budget that holds in expectation."""

import math
from collections.abc import Sequence
from dataclasses import fields

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from backbones.preprocessing import Preprocessing
from datamodules.errors import RegateError
from datamodules.records import ClipBatch
from policy.budgets.search import spread_clips
from policy.gates.heuristic import ThresholdGate
from policy.gates.learned import LearnedGate
from policy.quality import DenseClip, dense_reference, sweep_clip
from policy.records import FrameResult
from policy.relax import Relaxation, annealed_temperature
from policy.session import ReuseSession
from policy.tasks.base import ReuseTask
from policy.tasks.losses import Distortion, distortion
from policy.tasks.schedule import check_rate, cosine_to_zero

BINS = 8
LEAST_UNIT = 1e-3
LEAST_PRICE = 1e-2
"""Where a curve is flat already, distortion and price stay at least this far from zero."""
FIRST_PRICE = 0.5
"""Of the threshold's own slope: where the prices of trainings settle."""
PRICE_SLOPE = 1.5
"""Of the log price in the shift of a knob."""
MOST_OVER = 1.5
"""Relative excess of a clip that moves a knob furthest: no single clip throws it off."""


class GumbelTask(ReuseTask):
    """Unrolls clips on-policy with relaxed decisions and trains the gate through them.

    Each clip of a batch draws one of eight budgets and runs at the knob where the *threshold*
    spends it. The loss is the distortion of the later frames plus ``price · (spent − budget)``,
    over the threshold's own distortion at that budget so that all budgets weigh the same.

    How high a gate's scores are is of no matter, since calibration finds its knobs afterwards. So
    the knob of each budget follows in training what clips spend there, and keeps their mean at the
    budget: the constraint binds the mean over videos and never a single clip, which would forbid
    spending where and when things move. Scores still must not run away, up or down: they do while
    the price is not what a recompute is worth, and the knob's shift shows it. The price moves with
    that shift, down where scores sink.

    Args:
        backbone: timm's name of it.
        weights: "pretrained", a local file, or "random".
        learning_rate: Of AdamW, decaying to zero along a cosine.
        temperature: Of the decisions' sigmoid at the start and at the end.
        noise_scale: Of the logistic noise, in units of log drift; one sample per patch and frame.
        probes: Share of undecided patches whose decision's worth is measured (``policy.relax``).
        releases: Whether patches may be released at later blocks, by a network in each.
        cosine_weight: Of the cosine terms on patch tokens and pooled features, beside KL.
        label_weight: Of the cross-entropy to labels, which must be the backbone's classes; 0 is
            label-free.
        budget_range: Lowest and highest budget trained for.
        calibration_clips: Clips of the calibration split that the knobs are found on.
        knob_rate: Step of a budget's knob per clip, in log drift, for a relative excess of 1.
        budget: At which ``test``, ``predict`` and TensorBoard's overlays show the gate.
        preprocessing: What happens to an image first; the model's own by default.
        fallback: Let the file serve the threshold where the gate is not found to be better.

    Raises:
        RegateError: If a value is outside its range, or the backbone cannot be loaded.
    """

    gate: LearnedGate
    budgets: Tensor
    log_price: Tensor
    unit: Tensor
    shift: Tensor

    def __init__(
        self,
        backbone: str,
        weights: str = "pretrained",
        learning_rate: float = 3e-3,
        temperature: tuple[float, float] = (0.3, 0.2),
        noise_scale: float = 0.2,
        probes: float = 0.6,
        releases: bool = False,
        cosine_weight: float = 0.5,
        label_weight: float = 0.0,
        budget_range: tuple[float, float] = (0.06, 0.6),
        calibration_clips: int = 12,
        knob_rate: float = 0.2,
        budget: float = 0.2,
        preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
        fallback: bool = True,
    ) -> None:
        check_rate(learning_rate)
        _check_ends("budget_range", budget_range, most=1.0, ascending=True)
        _check_ends("temperature", temperature)
        for name, value in (
            ("noise_scale", noise_scale),
            ("cosine_weight", cosine_weight),
            ("label_weight", label_weight),
            ("knob_rate", knob_rate),
        ):
            if value < 0:
                raise RegateError(f"{name} must be 0 or more, got {value:g}")
        if not 0 < probes <= 1:
            raise RegateError(f"probes must be in (0, 1], the share probed; got {probes:g}")
        self.releases = releases  # before the gate is made
        super().__init__(backbone, weights, calibration_clips, budget, preprocessing, fallback)
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.temperature = temperature
        self.noise_scale = noise_scale
        self.probes = probes
        self.cosine_weight = cosine_weight
        self.label_weight = label_weight
        self.knob_rate = knob_rate
        low, high = budget_range
        steps = torch.linspace(math.log(low), math.log(high), BINS)
        self.register_buffer("budgets", steps.exp())
        # NaN until the first fit has measured where to start; a resumed run goes on from here.
        self.register_buffer("log_price", torch.full((BINS,), torch.nan))
        self.register_buffer("unit", torch.full((BINS,), torch.nan))
        self.register_buffer("shift", torch.zeros(BINS))

    def new_gate(self) -> LearnedGate:
        """It starts as the threshold."""
        return LearnedGate(self.backbone.dim, self.backbone.depth, releases=self.releases)

    def on_fit_start(self) -> None:
        """Start the prices where the threshold's own curve puts them.

        Raises:
            RegateError: If labels are asked for that are not the backbone's classes.
        """
        self._check_labels()
        super().on_fit_start()
        assert self.yardstick is not None
        knobs = torch.tensor([self.yardstick.knob(float(budget)) for budget in self.budgets])
        self.knobs = knobs.to(self.device)
        if self.log_price.isnan().any():
            self._set_gate_range(knobs)
            self._start_prices()

    def training_step(self, batch: ClipBatch, batch_index: int) -> Tensor:
        """One unrolled batch of clips, uint8 [b, t, c, h, w]."""
        frames = self.backbone.normalize(batch.frames)
        dense = [dense_reference(self.backbone, clip) for clip in batch.clips()]
        bins = torch.randint(BINS, (len(frames),), device=self.device)
        relaxation = self._relaxation()
        session = ReuseSession(self.backbone, self.gate, execution="masked", relaxation=relaxation)
        session.knob = (self.knobs + self.shift)[bins]
        terms, spent = [], []
        for index in range(frames.shape[1]):
            result = session.step(frames[:, index])
            if index:  # the first frame is dense, whatever the gate
                labels = batch.labels[:, index] if self.label_weight else None
                terms.append(distortion(result, dense_rows(dense, index), labels))
                spent.append(self._differentiable_spent(session, result))
        return self._loss(_mean(terms), torch.stack(spent).mean(0), bins, relaxation)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW on the gate, cosine decay over the whole run."""
        optimizer = torch.optim.AdamW(self.gate.parameters(), lr=self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = cosine_to_zero(optimizer, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _loss(
        self, terms: Distortion, spent: Tensor, bins: Tensor, relaxation: Relaxation
    ) -> Tensor:
        """Distortion plus priced excess, per budget in units of the threshold's distortion."""
        apart = terms.kl + self.cosine_weight * (terms.patches + terms.pooled)
        apart = apart + self.label_weight * terms.labels
        price = (self.log_price + PRICE_SLOPE * self.shift).exp()[bins]
        over = spent - self.budgets[bins]
        loss = ((apart + price * over) / self.unit[bins]).mean()
        self._move_knobs(over.detach() / self.budgets[bins], bins)
        size = len(bins)
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        self.log_dict(
            {
                "train/kl": terms.kl.mean(),
                "train/cosine": 1 - terms.patches.mean(),
                "train/spent": spent.mean(),
                "train/excess": over.mean(),
                "train/price": price.mean(),
                "train/knob_shift": self.shift.mean(),
                "train/temperature": relaxation.temperature,
            },
            batch_size=size,
        )
        return loss

    def _differentiable_spent(self, session: ReuseSession, result: FrameResult) -> Tensor:
        """Spent of one frame, [s]: what the counter says, and half a patch for each probe.

        Its gradient is that of the decisions, at the MACs of a token in each block.
        """
        assert result.relaxed is not None
        per_token = (session.macs.per_token / session.macs.dense).to(result.relaxed)
        relaxed = (result.relaxed.sum(-1) * per_token).sum(-1)
        hard = result.recompute[..., self.backbone.num_prefix_tokens :].sum(-1)
        counted = (hard.to(per_token) * per_token).sum(-1)
        return relaxed + (result.spent.to(relaxed) - counted)

    def _relaxation(self) -> Relaxation:
        progress = self.global_step / max(1, int(self.trainer.estimated_stepping_batches))
        return Relaxation(
            temperature=annealed_temperature(*self.temperature, progress),
            noise_scale=self.noise_scale,
            probes=self.probes,
        )

    def _move_knobs(self, relative: Tensor, bins: Tensor) -> None:
        """Raise the knob of a budget where its clip spent more, lower it where less."""
        # Of all processes: knobs are buffers, of which the first process's are handed to all.
        everybody = self.all_gather((relative, bins))
        for over, index in zip(*(value.flatten() for value in everybody), strict=True):
            self.shift[index] += self.knob_rate * float(over.clamp(-1, MOST_OVER))

    def _check_labels(self) -> None:
        """Other classes of the same numbers would be learned without a word."""
        classes, ours = len(self.data.class_names), self.backbone.num_classes
        if self.label_weight and classes != ours:
            raise RegateError(
                f"label_weight {self.label_weight:g} needs the backbone's own {ours} classes as "
                f"labels, but {self.data.name} has {classes}: set it to 0, which trains without "
                "labels"
            )

    def _set_gate_range(self, knobs: Tensor) -> None:
        self.gate.knob_mean.fill_(knobs.mean())
        self.gate.knob_std.fill_(knobs.std().clamp_min(0.1))

    def _start_prices(self) -> None:
        """From what a MAC buys on the threshold's own curve: minus the slope of distortion."""
        threshold = ThresholdGate().to(self.device)
        apart = []
        for clip in spread_clips(self.data, self.calibration_clips):
            normalised = self.backbone.normalize(clip.frames)
            dense = dense_reference(self.backbone, clip)
            swept = sweep_clip(self.backbone, threshold, normalised, dense, self.knobs)
            metrics = swept.metrics
            near = metrics["cosine"] + metrics["cosine_pooled"]
            apart.append(metrics["kl"] + self.cosine_weight * (2 - near))
        curve = torch.stack(apart).mean(0).to(self.device)
        slope = torch.gradient(curve, spacing=(self.budgets,))[0]
        self.unit.copy_(curve.clamp_min(LEAST_UNIT))
        self.log_price.copy_((-FIRST_PRICE * slope).clamp_min(LEAST_PRICE).log())


def dense_rows(dense: Sequence[DenseClip], index: int) -> DenseClip:
    """The dense outputs of one frame of several clips, one row per clip."""
    return DenseClip(
        torch.stack([clip.logits[index] for clip in dense]),
        torch.stack([clip.features[index] for clip in dense]),
        torch.stack([clip.patches[index] for clip in dense]),
    )


def _check_ends(
    name: str, ends: tuple[float, float], most: float = math.inf, ascending: bool = False
) -> None:
    """Refuse a pair of which one end is not in (0, most], as their logarithms are taken."""
    first, second = ends
    if not 0 < min(ends) <= max(ends) <= most or (ascending and first >= second):
        order = "two ascending values" if ascending else "two values"
        limit = "above 0" if most == math.inf else f"in (0, {most:g}]"
        raise RegateError(f"{name} must be {order} {limit}, got {first:g} and {second:g}")


def _mean(terms: Sequence[Distortion]) -> Distortion:
    """Over frames, each term [s]."""
    columns = [[getattr(term, field.name) for term in terms] for field in fields(Distortion)]
    return Distortion(*(torch.stack(column).mean(0) for column in columns))
