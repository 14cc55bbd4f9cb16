"""Sums up a run of any length in constant memory, but for a few numbers per frame."""

from array import array
from dataclasses import dataclass, field

import numpy as np

from policy.milliseconds import Latency
from policy.serving.rows import FrameRow


@dataclass(frozen=True)
class Summary:
    """A run beside dense. Means are over the later frames: those that did not begin a stream.

    Attributes:
        frames: All that were seen.
        later: Of them those that followed another; where it is 0, what needs them is None.
        sources: Files or addresses.
        budget: Asked for: in the mean, or of every frame if ``hard``, or the most that a target of
            milliseconds may take; None where a knob was set instead.
        hard: Whether no later frame may spend more.
        target_ms: Milliseconds per frame that the budget was steered by; None if it was not.
        over_target: Share of frames that took longer.
        budget_low: Smallest budget of a frame, where it was steered; else None.
        budget_high: Largest.
        knob: The gate's setting; None where budgets were steered, each with a knob of its own.
        served_by: Later frames that each gate served, by name: one, or more where it was steered.
        spent: Mean fraction of the dense frame's MACs.
        spent_max: Largest on a frame.
        spent_with_first: The same with the dense first frames.
        macs: Mean MACs of a frame.
        macs_with_first: The same with the dense first frames.
        dense_macs: MACs of a dense frame.
        agreement: Share of frames with dense's top-1.
        kl: Mean KL(dense ‖ gated), nats.
        cosine: Of the pooled features, for a backbone without classifier.
        flushes: How often all patches were computed again: at cuts and for their age.
        checks: Spot checks.
        checked: Mean distance they found; None of none.
        ms: Latency of the gated step.
        dense_ms: Of the untouched model, measured in turns with it.
        preprocess_ms: Of resize, crop and normalisation, which both need.
        state_bytes: Kept between two frames.
        ended: "source", "max_frames" or "interrupt".
    """

    frames: int
    later: int
    sources: int
    budget: float | None
    hard: bool
    target_ms: float | None
    over_target: float | None
    budget_low: float | None
    budget_high: float | None
    knob: float | None
    served_by: dict[str, int]
    spent: float | None
    spent_max: float | None
    spent_with_first: float | None
    macs: float | None
    macs_with_first: float | None
    dense_macs: float
    agreement: float | None
    kl: float | None
    cosine: float | None
    flushes: int
    checks: int
    checked: float | None
    ms: Latency | None
    dense_ms: Latency | None
    preprocess_ms: Latency | None
    state_bytes: int
    ended: str


@dataclass
class Mean:
    """A running mean that knows whether it has seen anything."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float | None) -> None:
        """Take a value, or leave out what was not measured."""
        if value is not None:
            self.total += value
            self.count += 1

    @property
    def value(self) -> float | None:
        """The mean; None of nothing."""
        return self.total / self.count if self.count else None


LATER = ("spent", "macs", "agrees", "kl", "cosine", "checked")
TIMED = ("ms", "dense_ms", "preprocess_ms")


@dataclass
class Totals:
    """Adds up rows; see ``Summary``."""

    frames: int = 0
    later: int = 0
    sources: int = 0
    flushes: int = 0
    spent_max: float | None = None
    served_by: dict[str, int] = field(default_factory=dict)
    budgets: tuple[float, float] | None = None
    spent_with_first: Mean = field(default_factory=Mean)
    macs_with_first: Mean = field(default_factory=Mean)
    means: dict[str, Mean] = field(default_factory=lambda: {name: Mean() for name in LATER})
    # Exact percentiles need the values: 52 MB for a day at 25 frames per second.
    times: dict[str, "array[float]"] = field(
        default_factory=lambda: {name: array("d") for name in TIMED}
    )
    _source: str | None = None

    def add(self, row: FrameRow) -> None:
        """Count one frame."""
        self.frames += 1
        if row.source != self._source:
            self.sources += 1
            self._source = row.source
        self.spent_with_first.add(row.spent)
        self.macs_with_first.add(row.macs)
        if row.restart:
            return
        self.later += 1
        self.spent_max = max(row.spent, self.spent_max or 0.0)
        if row.budget is not None:
            low, high = self.budgets or (row.budget, row.budget)
            self.budgets = min(low, row.budget), max(high, row.budget)
        self.served_by[row.served_by] = self.served_by.get(row.served_by, 0) + 1
        self.flushes += bool(row.flush)
        for name, mean in self.means.items():
            mean.add(getattr(row, name))
        for name, values in self.times.items():
            if (value := getattr(row, name)) is not None:
                values.append(value)

    def summary(
        self,
        budget: float | None,
        knob: float | None,
        dense_macs: float,
        state_bytes: int,
        ended: str,
        hard: bool = False,
        target_ms: float | None = None,
    ) -> Summary:
        """What has been seen so far; the arguments are the attributes of the same names."""
        means = {name: mean.value for name, mean in self.means.items()}
        low, high = (self.budgets if target_ms is not None else None) or (None, None)
        return Summary(
            frames=self.frames,
            later=self.later,
            sources=self.sources,
            budget=budget,
            hard=hard,
            target_ms=target_ms,
            over_target=_over(self.times["ms"], target_ms),
            budget_low=low,
            budget_high=high,
            knob=knob,
            served_by=dict(self.served_by),
            spent=means["spent"],
            spent_max=self.spent_max,
            spent_with_first=self.spent_with_first.value,
            macs=means["macs"],
            macs_with_first=self.macs_with_first.value,
            dense_macs=dense_macs,
            agreement=means["agrees"],
            kl=means["kl"],
            cosine=means["cosine"],
            flushes=self.flushes,
            checks=self.means["checked"].count,
            checked=means["checked"],
            ms=_latency(self.times["ms"]),
            dense_ms=_latency(self.times["dense_ms"]),
            preprocess_ms=_latency(self.times["preprocess_ms"]),
            state_bytes=state_bytes,
            ended=ended,
        )


def _over(values: "array[float]", target: float | None) -> float | None:
    if target is None or not values:
        return None
    return float(np.mean(np.array(values) > target))


def _latency(values: "array[float]") -> Latency | None:
    return Latency.of(values) if values else None
