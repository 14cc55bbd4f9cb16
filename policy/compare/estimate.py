"""From a value per resample to a value and its interval."""

from collections.abc import Sequence

import numpy as np

from policy.compare.bootstrap import t_interval
from policy.compare.records import METRICS, FloatArray
from policy.compare.results import Estimate, Interval, finite


def estimates(resampled: FloatArray, metrics: Sequence[str], groups: int) -> dict[str, Estimate]:
    """Metrics and their intervals, which end where the metric's range does.

    Args:
        resampled: Row 0 of [1 + r, m] are the values.
        metrics: Their names, m of them.
        groups: That were resampled.
    """
    found = {}
    for values, metric in zip(resampled.T, metrics, strict=True):
        if _is_scale(metric, values):
            interval = _interval(np.log(values), groups)
            interval = interval and (float(np.exp(interval[0])), float(np.exp(interval[1])))
        else:
            interval = _interval(values, groups)
            low, high = METRICS[metric].range
            interval = interval and (max(interval[0], low), min(interval[1], high))
        found[metric] = Estimate(finite(values[0]), interval)
    return found


def differences(
    ours: FloatArray, theirs: FloatArray, metrics: Sequence[str], groups: int
) -> dict[str, Estimate]:
    """One policy's metrics minus another's, and their intervals.

    KL differs manifold from scene to scene, and two policies' KL by about the same factor on all of
    them: its interval is that of the factor, told as a difference from the other's value.

    Args:
        ours: Row 0 of [1 + r, m] are the values.
        theirs: Of the other policy, in the same resamples.
        metrics: Their names, m of them.
        groups: That were resampled.
    """
    found = {}
    for our, their, metric in zip(ours.T, theirs.T, metrics, strict=True):
        if _is_scale(metric, our) and _is_scale(metric, their):
            factor = _interval(np.log(our / their), groups)
            interval = factor and _as_difference(factor, float(their[0]))
        else:
            interval = _interval(our - their, groups)
        found[metric] = Estimate(finite(our[0] - their[0]), interval)
    return found


def _is_scale(metric: str, values: FloatArray) -> bool:
    """Whether a metric has no upper end, and no value here is 0: what its logarithm needs."""
    return METRICS[metric].range[1] == np.inf and not (values <= 0).any()


def _interval(values: FloatArray, groups: int) -> Interval | None:
    low, high, _ = t_interval(values, groups)
    return (float(low), float(high)) if np.isfinite([low, high, values[0]]).all() else None


def _as_difference(log_factor: Interval, value: float) -> Interval:
    return value * float(np.expm1(log_factor[0])), value * float(np.expm1(log_factor[1]))
