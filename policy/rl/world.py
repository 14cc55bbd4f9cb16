"""What all episodes of an environment have in common, and how one of them is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from torch import Tensor

from backbones.loading import load_backbone
from backbones.vit import Backbone
from datamodules.base import ClipDataModule, ClipDataset, Split
from datamodules.errors import RegateError
from datamodules.records import Clip
from datamodules.synthetic.clips import SyntheticClips
from policy.budgets.search import fit_block_offsets, spread_clips
from policy.budgets.table import check_budget
from policy.gates.base import Masks
from policy.gates.heuristic import ThresholdGate
from policy.gates.steered import SteeredGate
from policy.quality import dense_clip
from policy.rl.actions import make_gate
from policy.rl.reward import Quality, Reference, check_quality
from policy.rl.yardstick import Yardstick

LEAST_FRAMES = 3
"""One that is dense, one to act on, and one that the last observation is about."""
EPOCHS = 4096
"""Draws of a training clip that an episode may get; a training split may differ from draw to
draw, and repeats where it does not."""
DEFAULT_BACKBONE = "regate_vit_digits"


@dataclass
class Episode:
    """One clip at one knob and price.

    Attributes:
        frames: uint8 [t, c, h, w].
        labels: int64 [t], -1 where unlabelled.
        name: Of the clip.
        dense: Of the frames that are acted on, all but the first and the last, as far as the
            quality looks at it; None where only labels count.
        budget: Fraction of the dense MACs that the threshold spends at the knob.
        knob: Of the gate.
        price: Of a dense frame's compute, in quality.
        position: Of the frame that was computed last.
        spent: Sum over the frames acted on.
        quality: Likewise.
    """

    frames: Tensor
    labels: Tensor
    name: str
    dense: Reference | None
    budget: float
    knob: float
    price: float
    position: int = field(default=0, init=False)
    spent: float = field(default=0.0, init=False)
    quality: float = field(default=0.0, init=False)

    @property
    def over(self) -> bool:
        """Whether only the frame that the last observation is about is left."""
        return self.position >= len(self.frames) - 2


class World:
    """Backbone, gate, clips and the terms of the reward.

    Args:
        backbone: timm's name of one, with its trained weights, or a loaded one.
        gate: To be steered; made for the kind of actions if None.
        actions: "box", "discrete" or "tokens".
        groups: Block groups with an offset of their own.
        data: Where clips come from; the synthetic ones for the embedded backbone.
        split: Of the data.
        quality: One of ``Quality``; None takes accuracy where the data's labels are the
            backbone's classes, else agreement.
        budget: Of each episode, or the range that it is drawn from, even in its logarithm.
        price: Of each episode; None takes the one at which the threshold neither gains nor loses
            by spending a little more.
        calibration_clips: That knobs and prices are found on.
        yardstick: Where they are known already; environments may share one.

    Raises:
        RegateError: If a value is outside its range, or the parts do not fit one another.
    """

    def __init__(
        self,
        backbone: Backbone | str = DEFAULT_BACKBONE,
        gate: SteeredGate | None = None,
        actions: str = "box",
        groups: int = 1,
        data: ClipDataModule | None = None,
        split: Split = "train",
        quality: Quality | None = None,
        budget: float | tuple[float, float] = (0.06, 0.6),
        price: float | None = None,
        calibration_clips: int = 12,
        yardstick: Yardstick | None = None,
    ) -> None:
        self.backbone = _loaded(backbone) if isinstance(backbone, str) else backbone
        self.low, self.high = (budget, budget) if isinstance(budget, int | float) else budget
        check_budget(self.low)
        check_budget(self.high)
        if self.low > self.high:
            raise RegateError(f"the budget range must ascend, got {self.low:g} to {self.high:g}")
        if price is not None and not price >= 0:
            raise RegateError(f"price must be 0 or more, got {price:g}")
        if calibration_clips < 1:
            raise RegateError(f"calibration_clips must be at least 1, got {calibration_clips}")
        if data is None and self.backbone.name == DEFAULT_BACKBONE:
            data = SyntheticClips()
        self.data, self.split, self.price = data, split, price
        self.calibration_clips = calibration_clips
        labelled = False
        if data is not None and quality is None:
            data.setup("test")  # a folder does not know its classes before
            labelled = 0 < self.backbone.num_classes == len(data.class_names)
        self.quality: Quality = quality or ("accuracy" if labelled else "agreement")
        check_quality(self.quality)
        self.gate = gate or make_gate(self.backbone, actions, groups)
        self.gate.to(self.backbone.mean.device).eval()
        self._dataset: ClipDataset | None = None
        self._yardstick = yardstick
        if gate is None:
            if self.gate.masks is Masks.PER_BLOCK:
                frames = [clip.frames for clip in self._calibration()]
                fit_block_offsets(self.backbone, self.gate, frames)
            self.gate.aim(self.yardstick.calibration)

    @property
    def yardstick(self) -> Yardstick:
        """Of the threshold that actions of 0 stand for; measured when first needed."""
        if self._yardstick is None:
            embedded = (
                self.backbone.name == DEFAULT_BACKBONE
                and self.backbone is _loaded(DEFAULT_BACKBONE)
                and type(self.data) is SyntheticClips
                and self.data.describe() == SyntheticClips().describe()
                and self.gate.offsets is None
            )
            if embedded:
                self._yardstick = _embedded_yardstick(self.quality, self.calibration_clips)
            else:
                threshold = ThresholdGate(masks=self.gate.masks, offsets=self.gate.offsets)
                self._yardstick = Yardstick.measure(
                    self.backbone, threshold, self._calibration(), self.quality
                )
        return self._yardstick

    def draw(self, rng: np.random.Generator, budget: float | None = None) -> Episode:
        """The next episode of the stream that ``rng`` belongs to.

        Args:
            rng: Its own.
            budget: If it is not to be drawn.

        Raises:
            RegateError: If there are no data to draw from.
        """
        dataset = self._clips()
        clip = dataset[int(rng.integers(len(dataset) * EPOCHS))]
        drawn = float(np.exp(rng.uniform(np.log(self.low), np.log(self.high))))
        return self.episode(clip, drawn if budget is None else budget)

    def episode(
        self,
        clip: Clip,
        budget: float,
        knob: float | None = None,
        price: float | None = None,
        dense: Reference | None = None,
    ) -> Episode:
        """One episode; what is not given follows from the budget.

        Raises:
            RegateError: If the clip is too short, or lacks labels that the quality needs.
        """
        if len(clip.frames) < LEAST_FRAMES:
            raise RegateError(
                f"an episode needs a clip of at least {LEAST_FRAMES} frames, but {clip.name} has "
                f"{len(clip.frames)}"
            )
        if self.quality == "accuracy" and (clip.labels[1:-1] < 0).any():
            raise RegateError(
                f"{clip.name} has frames without a label, on which there is no accuracy: "
                "use quality=agreement"
            )
        check_budget(budget)
        if price is None:
            price = self.yardstick.price(budget) if self.price is None else self.price
        if knob is None:
            knob = self.yardstick.knob(budget)
        if dense is None:
            dense = self.dense(clip)
        return Episode(clip.frames, clip.labels, clip.name, dense, budget, knob, price)

    def dense(self, clip: Clip) -> Reference | None:
        """Reference outputs of the frames that are acted on, in one batch; None if not needed."""
        if self.quality == "accuracy":
            return None
        frames = clip.frames if clip.clean is None else clip.clean
        dense = dense_clip(self.backbone, self.backbone.normalize(frames[1:-1]))
        return Reference(dense.logits, dense.patches if self.quality == "cosine" else None)

    def _clips(self) -> ClipDataset:
        if self._dataset is None:
            data = self._data()
            self._dataset = data.dataset(self.split)
            if not len(self._dataset):
                raise RegateError(f"{data.name} has no {self.split} clips: give it more videos")
        return self._dataset

    def _calibration(self) -> Sequence[Clip]:
        return spread_clips(self._data(), self.calibration_clips)

    def _data(self) -> ClipDataModule:
        if self.data is None:
            raise RegateError(
                f"an environment for {self.backbone.name} needs clips: give it data, or pass "
                'clips, knobs and prices to reset(options={"clips": ...})'
            )
        self.data.resize_crop = self.backbone.resize_crop
        return self.data


@cache
def _loaded(name: str) -> Backbone:
    """Environments of one process share a backbone, which is frozen."""
    return load_backbone(name)


@cache
def _embedded_yardstick(quality: Quality, clips: int) -> Yardstick:
    backbone, data = _loaded(DEFAULT_BACKBONE), SyntheticClips()
    data.resize_crop = backbone.resize_crop
    return Yardstick.measure(backbone, ThresholdGate(), spread_clips(data, clips), quality)
