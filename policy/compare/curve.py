"""A policy's quality against the log of its compute, in every resample at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from policy.compare.bootstrap import weighted_mean
from policy.compare.records import FloatArray, Sweep

# Means of the same number over other clips differ in the last bits; a budget that a policy
# meets exactly must not fall out of its range for that.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Curve:
    """Spent and quality at each knob, sorted by spent inside each resample.

    Args:
        policy: Name of the policy.
        learned: Whether a trained gate made it.
        log_spent: Natural log of the mean spent, [r, k]; -inf where nothing was spent.
        quality: Mean of each metric, [r, k, m].
        knobs: Knobs sorted by spent in row 0, [k].
        spent_with_first: Mean spent with the first frame, in the order of ``knobs``, [k].
        dense_macs: MACs of one dense frame.
        groups: That the resamples are drawn from.
    """

    policy: str
    learned: bool
    log_spent: FloatArray
    quality: FloatArray
    knobs: FloatArray
    spent_with_first: FloatArray
    dense_macs: float
    groups: int

    @property
    def has_knob(self) -> bool:
        """Whether there is a range to interpolate in."""
        return len(self.knobs) > 1

    def range(self) -> tuple[FloatArray, FloatArray]:
        """Log of the least and the most spent, each [r], zero spending left out."""
        least = np.where(np.isfinite(self.log_spent), self.log_spent, np.inf).min(axis=1)
        return least, self.log_spent[:, -1]

    def reaches(self, log_spent: FloatArray | float) -> npt.NDArray[np.bool_]:
        """In which resamples a spending lies between the least and the most, [r]."""
        least, most = self.range()
        return (log_spent >= least - TOLERANCE) & (log_spent <= most + TOLERANCE)

    def reach(self) -> str:
        """The range of the data themselves, for a note."""
        least, most = (float(end[0]) for end in self.range())
        return f"it spends {math.exp(least):.3g} to {math.exp(most):.3g} of dense"

    def at(self, log_spent: FloatArray | float) -> FloatArray:
        """Quality at a spending, linear in log MACs between the two knobs around it.

        Args:
            log_spent: One value for all resamples, or [r].

        Returns:
            [r, m]; nan outside the reachable range, which is never extrapolated.
        """
        least, most = self.range()
        wanted = np.broadcast_to(np.asarray(log_spent, dtype=np.float64), least.shape)
        reachable = self.reaches(wanted)
        wanted = np.clip(wanted, least, most)
        right = (self.log_spent < wanted[:, None]).sum(axis=1)  # first knob at or above
        right = np.clip(right, 0, self.log_spent.shape[1] - 1)
        left = np.maximum(right - 1, 0)
        row = np.arange(len(wanted))
        x_left, x_right = self.log_spent[row, left], self.log_spent[row, right]
        y_left, y_right = self.quality[row, left], self.quality[row, right]
        exact = (x_right == wanted) | (left == right)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(exact, 1.0, (wanted - x_left) / (x_right - x_left))[:, None]
            between = y_left + (y_right - y_left) * share
        quality = np.where(exact[:, None], y_right, between)
        return np.where(reachable[:, None], quality, np.nan)

    def mean_between(self, low: FloatArray, high: FloatArray) -> FloatArray:
        """Area under quality against log MACs, divided by the width of the range.

        Args:
            low: Log of the range's lower end, [r].
            high: Log of its upper end, [r].

        Returns:
            [r, m], in the metric's own unit; nan where the range is empty or not reachable.
        """
        # Knobs outside the range are moved to its ends, where they bound pieces of no width;
        # what is left is the exact integral of the piecewise linear curve.
        x = np.concatenate([low[:, None], self.log_spent, high[:, None]], axis=1)
        x = np.clip(x, low[:, None], high[:, None])
        at_low, at_high = self.at(low)[:, None], self.at(high)[:, None]  # [r, 1, m]
        inside = self.quality
        inside = np.where((self.log_spent < low[:, None])[..., None], at_low, inside)
        inside = np.where((self.log_spent > high[:, None])[..., None], at_high, inside)
        y = np.concatenate([at_low, inside, at_high], axis=1)
        area = np.trapezoid(y, x[..., None], axis=1)
        width = (high - low)[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(width > TOLERANCE, area / width, np.nan)


def resampled_curve(sweep: Sweep, metrics: Sequence[str], counts: FloatArray) -> Curve:
    """Build a policy's curve in each resample.

    Args:
        sweep: The policy's measurements.
        metrics: Names of the metrics, m of them; a missing one becomes nan.
        counts: How often each resample holds each clip, [r, c]; row 0 is the data themselves.

    Returns:
        The curve, sorted by spent inside each resample.
    """
    spent = weighted_mean(counts, sweep.spent)  # [r, k]
    missing = np.full_like(sweep.spent, np.nan)
    values = np.stack([sweep.metrics.get(name, missing) for name in metrics], axis=-1)
    quality = weighted_mean(counts, values)  # [r, k, m]
    order = np.argsort(spent, axis=1, kind="stable")
    with np.errstate(divide="ignore"):
        log_spent = np.log(np.take_along_axis(spent, order, axis=1))
    return Curve(
        policy=sweep.policy,
        learned=sweep.learned,
        log_spent=log_spent,
        quality=np.take_along_axis(quality, order[..., None], axis=1),
        knobs=sweep.knobs[order[0]],
        spent_with_first=sweep.spent_with_first.mean(axis=0)[order[0]],
        dense_macs=sweep.dense_macs,
        groups=len(set(sweep.groups)),
    )


def merge_seeds(sweeps: Sequence[Sweep]) -> list[Sweep]:
    """Average the seeds of each policy per clip and knob, in order of first appearance.

    Seeds are not clips: resampling them together would make three training runs look like
    three times the evidence.

    Raises:
        ValueError: If two sweeps saw other clips, or two seeds of a policy other numbers of
            knobs.
    """
    by_policy: dict[str, list[Sweep]] = {}
    for sweep in sweeps:
        if (sweep.clips, sweep.groups) != (sweeps[0].clips, sweeps[0].groups):
            raise ValueError(
                f"{sweep.policy} was swept over other clips than {sweeps[0].policy}; "
                "a paired comparison needs the same ones in the same order"
            )
        by_policy.setdefault(sweep.policy, []).append(sweep)
    return [_mean_over_seeds(seeds) for seeds in by_policy.values()]


def _mean_over_seeds(seeds: list[Sweep]) -> Sweep:
    first = seeds[0]
    if len({len(sweep.knobs) for sweep in seeds}) > 1:
        counts = [len(sweep.knobs) for sweep in seeds]
        raise ValueError(f"{first.policy}: every seed needs as many knobs, got {counts}")
    if len(seeds) == 1:
        return first
    return Sweep(
        policy=first.policy,
        seed=first.seed,
        knobs=np.mean([sweep.knobs for sweep in seeds], axis=0),
        spent=np.mean([sweep.spent for sweep in seeds], axis=0),
        spent_with_first=np.mean([sweep.spent_with_first for sweep in seeds], axis=0),
        metrics={
            name: np.mean([sweep.metrics[name] for sweep in seeds], axis=0)
            for name in first.metrics
        },
        over_frames={
            name: np.mean([sweep.over_frames[name] for sweep in seeds], axis=0)
            for name in first.over_frames
        },
        dense_macs=first.dense_macs,
        clips=first.clips,
        groups=first.groups,
        learned=first.learned,
    )
