"""From a value per resample to a value and its interval."""

from collections.abc import Sequence

import numpy as np

from policy.compare.bootstrap import t_interval
from policy.compare.records import METRICS, FloatArray
from policy.compare.results import Estimate, finite


def estimates(resampled: FloatArray, metrics: Sequence[str], groups: int) -> dict[str, Estimate]:
    """Metrics and their intervals, which end where the metric's range does.

    Args:
        resampled: Row 0 of [1 + r, m] are the values.
        metrics: Their names, m of them.
        groups: That were resampled.
    """
    found = differences(resampled, metrics, groups)
    return {name: _within(estimate, METRICS[name].range) for name, estimate in found.items()}


def differences(resampled: FloatArray, metrics: Sequence[str], groups: int) -> dict[str, Estimate]:
    """Differences of metrics and their intervals; the arguments are those of ``estimates``."""
    low, high, _ = t_interval(resampled, groups)
    return {
        metric: Estimate(
            value=finite(resampled[0, i]),
            interval=(float(low[i]), float(high[i]))
            if np.isfinite([low[i], high[i], resampled[0, i]]).all()
            else None,
        )
        for i, metric in enumerate(metrics)
    }


def _within(estimate: Estimate, range_: tuple[float, float]) -> Estimate:
    if estimate.interval is None:
        return estimate
    low, high = estimate.interval
    return Estimate(estimate.value, (max(low, range_[0]), min(high, range_[1])))
