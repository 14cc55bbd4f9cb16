"""What a comparison says: rows, paired differences, areas and the curves behind the figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TypeAlias

import numpy as np

from datamodules.base import Json

Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A value from all clips and its 95 % interval over groups of clips; None if there is none."""

    value: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Row:
    """One policy at one budget.

    Args:
        policy: Name.
        learned: Whether a trained gate made it.
        budget: Asked fraction of the dense MACs, at which the metrics are read off the policy's
            curve; None for a policy without a knob, which is measured where it is.
        knob: Frozen on the calibration split.
        pace: Share of frames looked at, frozen likewise; None where the knob is.
        spent: Realised on the compared split at that knob, first frame left out.
        spent_with_first: The same with the dense first frame.
        macs: ``spent`` in MACs per frame (1 MAC = 2 FLOPs).
        metrics: By name; a metric without any labels is absent.
        ms_mean: Mean latency per frame in milliseconds.
        ms_p50: Its median, which for a policy that holds most frames is that of a held one.
        ms_p95: Its 95th percentile.
        state_bytes: Bytes cached per stream.
        interpolated: True if ``spent`` is more than 2 % off the budget, so that the metrics
            rest on interpolation between knobs and not on the frozen one.
        fallback: Share of the policy's gate files (its seeds) that serve the threshold there.
        note: Why something is missing or falls back, or None.
    """

    policy: str
    learned: bool
    budget: float | None
    knob: float | None
    pace: float | None
    spent: float | None
    spent_with_first: float | None
    macs: float | None
    metrics: Mapping[str, Estimate]
    ms_mean: float | None
    ms_p50: float | None
    ms_p95: float | None
    state_bytes: int | None
    interpolated: bool
    fallback: float
    note: str | None


@dataclass(frozen=True)
class Paired:
    """``policy`` minus ``against`` at one budget, both in the same resample.

    ``wins`` is True only if the interval excludes 0 in the metric's good direction.
    """

    policy: str
    against: str
    budget: float
    metric: str
    difference: float | None
    interval: Interval | None
    wins: bool


@dataclass(frozen=True)
class Area:
    """Mean quality over log MACs between two spendings that all policies named reach."""

    policy: str
    low: float | None
    high: float | None
    metrics: Mapping[str, Estimate]
    learned: bool
    note: str | None


@dataclass(frozen=True)
class PlotCurve:
    """One policy's measured points, and its band at spendings between them.

    Args:
        policy: Name.
        learned: Whether a trained gate made it.
        knobs: Sorted by spent, k of them.
        spent: Mean spent at each knob, k of them.
        metrics: Values at each knob, by metric.
        band_spent: Spendings at which the band is given.
        band: Intervals at ``band_spent``, by metric; None where too few resamples reach it.
    """

    policy: str
    learned: bool
    knobs: Sequence[float]
    spent: Sequence[float]
    metrics: Mapping[str, Sequence[float | None]]
    band_spent: Sequence[float]
    band: Mapping[str, Sequence[Interval | None]]


@dataclass(frozen=True)
class Drift:
    """How one policy fares frame by frame after the dense first one, at a frozen knob.

    Args:
        policy: Name.
        learned: Whether a trained gate made it.
        budget: That the knob was calibrated for; None for a policy without a knob.
        spent: Realised there, mean over all later frames.
        kl: Mean over the clips, of the first frame after the dense one, of the second, ….
        agreement: Likewise.
        spent_by_frame: Likewise.
    """

    policy: str
    learned: bool
    budget: float | None
    spent: float | None
    kl: Sequence[float]
    agreement: Sequence[float]
    spent_by_frame: Sequence[float]


@dataclass(frozen=True)
class Results:
    """A whole comparison, as written to ``results.json``."""

    rows: Sequence[Row]
    paired: Sequence[Paired]
    area: Sequence[Area]
    curves: Sequence[PlotCurve]
    drift: Sequence[Drift]
    meta: Mapping[str, object]

    def as_json(self) -> dict[str, Json]:
        """The content of ``results.json``: strict JSON, absent numbers as null."""
        return {
            "rows": [_row_as_json(row) for row in self.rows],
            "paired": [as_json(vars(entry)) for entry in self.paired],
            "area": [_with_metrics(vars(entry)) for entry in self.area],
            "curves": [as_json(vars(entry)) for entry in self.curves],
            "drift": [as_json(vars(entry)) for entry in self.drift],
            "meta": as_json(self.meta),
        }


def best_at(rows: Sequence[Row], budget: float, learned: bool | None = None) -> str | None:
    """The policy with the lowest KL at a budget; None if none reaches it.

    Args:
        rows: Of one comparison.
        budget: The asked budget.
        learned: Look among trained gates only (True), heuristics only (False), or all (None).
    """
    values = {
        row.policy: row.metrics["kl"].value
        for row in rows
        if row.budget == budget and "kl" in row.metrics and learned in (None, row.learned)
    }
    known = {policy: value for policy, value in values.items() if value is not None}
    return min(known, key=lambda policy: known[policy], default=None)


def best_heuristic(area: Sequence[Area], rows: Sequence[Row]) -> str | None:
    """The heuristic with the least area under KL; without areas, at the middle budget."""
    known = {
        entry.policy: entry.metrics["kl"].value
        for entry in area
        if not entry.learned and "kl" in entry.metrics
    }
    ranked = {policy: value for policy, value in known.items() if value is not None}
    if ranked:
        return min(ranked, key=lambda policy: ranked[policy])
    budgets = sorted({row.budget for row in rows if row.budget is not None})
    return best_at(rows, budgets[len(budgets) // 2], learned=False) if budgets else None


def finite(value: float | np.floating) -> float | None:
    """A Python float, or None for nan and infinity, which JSON does not have."""
    return float(value) if math.isfinite(value) else None


def as_json(value: object) -> Json:
    """Turn nested Python and numpy values into strict JSON."""
    if isinstance(value, Estimate):
        return {"value": as_json(value.value), "interval": as_json(value.interval)}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return as_json(value.tolist())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, PathLike):
        return str(fspath(value))
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        entries = sorted(value) if isinstance(value, set | frozenset) else value
        return [as_json(entry) for entry in entries]
    raise TypeError(f"{type(value).__name__} has no place in results.json: {value!r}")


def _with_metrics(fields: Mapping[str, object]) -> Json:
    """Lift the metrics to the level of the other fields."""
    flat: dict[str, object] = {}
    for name, value in fields.items():
        flat.update(value if name == "metrics" and isinstance(value, Mapping) else {name: value})
    return as_json(flat)


def _row_as_json(row: Row) -> Json:
    return _with_metrics(vars(row))
