"""Curves as a whole: the area under each, and the points and band that the figure draws."""

import math
from collections.abc import Sequence

import numpy as np

from policy.compare.curve import Curve
from policy.compare.estimate import estimates
from policy.compare.results import Area, Interval, PlotCurve, finite

# A policy that reaches less of the budgets' range than this would shrink it for all others.
LEAST_SHARE_OF_RANGE = 0.5
BAND_POINTS = 25


def areas(curves: Sequence[Curve], budgets: Sequence[float], metrics: Sequence[str]) -> list[Area]:
    """Mean quality over log MACs, on the range of budgets that all policies reach.

    The range is taken anew inside each resample, as the policies' reach moves with the clips.
    """
    with_knob = [curve for curve in curves if curve.has_knob]
    low, high = math.log(min(budgets)), math.log(max(budgets))
    needed = (high - low) * LEAST_SHARE_OF_RANGE
    in_range = [curve for curve in with_knob if _overlap(curve, low, high) >= needed]
    if low == high or not in_range:
        note = "one budget is no range" if low == high else "no policy reaches the budgets' range"
        return [_no_area(curve, note) for curve in with_knob]
    least = np.max([curve.range()[0] for curve in in_range], axis=0).clip(min=low)  # [r]
    most = np.min([curve.range()[1] for curve in in_range], axis=0).clip(max=high)
    names = {curve.policy for curve in in_range}
    entries = []
    for curve in with_knob:
        if curve.policy not in names:
            note = f"left out for reaching less than half of the budgets' range: {curve.reach()}"
            entries.append(_no_area(curve, note))
        elif most[0] <= least[0]:
            entries.append(_no_area(curve, "no range is common to all policies"))
        else:
            ends = math.exp(least[0]), math.exp(most[0])
            quality = estimates(curve.mean_between(least, most), metrics, curve.groups)
            entries.append(Area(curve.policy, *ends, quality, curve.learned, None))
    return entries


def _no_area(curve: Curve, note: str) -> Area:
    return Area(curve.policy, None, None, {}, curve.learned, note)


def _overlap(curve: Curve, low: float, high: float) -> float:
    """How much of a range of log MACs the curve covers, on the data themselves."""
    least, most = (float(end[0]) for end in curve.range())
    return min(most, high) - max(least, low)


def plot_curve(curve: Curve, metrics: Sequence[str]) -> PlotCurve:
    """The measured points of a curve and its band on an even grid of log MACs."""
    points = curve.quality[0]  # [k, m]
    low, high = (float(end[0]) for end in curve.range())
    grid = np.linspace(low, high, BAND_POINTS) if curve.has_knob and low < high else np.empty(0)
    band: dict[str, list[Interval | None]] = {metric: [] for metric in metrics}
    for log_spent in grid:
        quality = estimates(curve.at(float(log_spent)), metrics, curve.groups)
        for metric, estimate in quality.items():
            band[metric].append(estimate.interval)
    return PlotCurve(
        policy=curve.policy,
        learned=curve.learned,
        knobs=curve.knobs.tolist(),
        spent=np.exp(curve.log_spent[0]).tolist(),
        metrics={name: [finite(v) for v in points[:, i]] for i, name in enumerate(metrics)},
        band_spent=np.exp(grid).tolist(),
        band=band,
    )
