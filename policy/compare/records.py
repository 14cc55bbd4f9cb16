"""What a sweep measures and hands to the statistics, and the metrics by name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Metric(NamedTuple):
    """How one metric is printed and read: its label, good direction and the values it can take."""

    label: str
    higher_is_better: bool
    range: tuple[float, float]


METRICS: dict[str, Metric] = {
    "kl": Metric("KL to dense", False, (0, math.inf)),
    "agreement": Metric("agreement", True, (0, 1)),
    "agreement_top5": Metric("top-5 agreement", True, (0, 1)),
    "cosine": Metric("cosine", True, (-1, 1)),
    "cosine_worst5": Metric("cosine, worst 5 %", True, (-1, 1)),
    "cosine_pooled": Metric("cosine, pooled", True, (-1, 1)),
    "excess_flips": Metric("excess flips", False, (-1, 1)),
    "accuracy": Metric("accuracy", True, (0, 1)),
}


@dataclass(frozen=True)
class Sweep:
    """One policy (one training seed of it) over one split, at all its knobs.

    Args:
        policy: Name, as in every table.
        seed: Training seed of a learned policy, or the seed of its choices.
        knobs: The settings tried, [k]. k = 1 for a policy that has no knob (dense, always,
            hold, never): it gets one row without a budget.
        spent: Per clip the mean over the frames after the first, fraction of the dense frame's
            MACs, [c, k]. Flushes after the first frame are counted.
        spent_with_first: The same with the dense first frame, [c, k].
        metrics: Per-clip means over the later frames, each [c, k], by the names of ``METRICS``;
            nan for a clip without labels.
        over_frames: KL, agreement and spent of each frame after the first, mean over the clips,
            [t, k].
        dense_macs: MACs of one dense frame.
        clips: Unique names of the clips, c of them, in the order of the rows.
        groups: The group (scene) of each clip, c of them.
        learned: True for a trained gate; False for a heuristic.
        folds: The fold that each clip was compared in, c of them; empty without folds.
        fold_knobs: The settings of each fold, of which ``knobs`` are the mean, [f, k]; None
            without folds.

    Raises:
        ValueError: If a shape disagrees with the number of clips and knobs, or a metric is
            unknown.
    """

    policy: str
    seed: int
    knobs: FloatArray
    spent: FloatArray
    spent_with_first: FloatArray
    metrics: Mapping[str, FloatArray]
    over_frames: Mapping[str, FloatArray]
    dense_macs: float
    clips: tuple[str, ...]
    groups: tuple[str, ...]
    learned: bool = False
    folds: tuple[int, ...] = ()
    fold_knobs: FloatArray | None = None

    def knob_of(self, clip: int, setting: int) -> float:
        """The knob that a clip was run at, both counted from 0."""
        if self.fold_knobs is None:
            return float(self.knobs[setting])
        return float(self.fold_knobs[self.folds[clip], setting])

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        shape = (len(self.clips), len(self.knobs))
        arrays = {"spent": self.spent, "spent_with_first": self.spent_with_first, **self.metrics}
        for name, values in arrays.items():
            if values.shape != shape:
                raise ValueError(
                    f"{self.policy}: {name} must be [clips, knobs] = {shape}, got {values.shape}"
                )
        if len(self.groups) != len(self.clips):
            raise ValueError(
                f"{self.policy}: {len(self.clips)} clips need as many groups, "
                f"got {len(self.groups)}"
            )
        unknown = sorted(set(self.metrics) - set(METRICS))
        if unknown:
            raise ValueError(f"{self.policy}: unknown metrics {unknown}, known: {list(METRICS)}")


@dataclass(frozen=True)
class Operating:
    """What was measured at one calibrated, frozen knob on the split compared.

    Several records with the same policy and budget (one per training seed) are averaged.

    Args:
        policy: Name, as in the sweep.
        budget: Asked fraction of the dense MACs; None for a policy without a knob.
        knob: The calibrated knob; None for a policy without one.
        pace: Share of frames looked at.
        column: Which of the sweep's settings it is, counted from 0; the same for all seeds.
        spent: Realised mean over the later frames, fraction of the dense MACs.
        spent_with_first: The same with the dense first frame.
        ms_mean: Mean latency of one frame in milliseconds; None if not timed.
        ms_p50: Median latency of one frame in milliseconds; None if not timed.
        ms_p95: 95th percentile of the latency in milliseconds; None if not timed.
        state_bytes: Bytes cached per stream; None if not measured.
        fallback: Whether the threshold serves there in a gate's place, 0 or 1; between them for a
            mean over seeds.
        notes: Sentences for the report, such as why a knob could not be found.
    """

    policy: str
    budget: float | None
    knob: float | None
    spent: float
    spent_with_first: float | None = None
    ms_mean: float | None = None
    ms_p50: float | None = None
    ms_p95: float | None = None
    state_bytes: int | None = None
    pace: float = 1.0
    column: int = 0
    fallback: float = 0.0
    notes: tuple[str, ...] = field(default=())
