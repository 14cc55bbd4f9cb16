"""From a value per resample to a value and its interval."""

from collections.abc import Sequence

import numpy as np

from policy.compare.bootstrap import percentile_interval
from policy.compare.records import FloatArray
from policy.compare.results import Estimate, finite


def estimates(resampled: FloatArray, metrics: Sequence[str]) -> dict[str, Estimate]:
    """Row 0 of [r, m] as the value, the others as the interval."""
    low, high, _ = percentile_interval(resampled[1:])
    return {
        metric: Estimate(
            value=finite(resampled[0, i]),
            interval=(float(low[i]), float(high[i]))
            if np.isfinite([low[i], high[i], resampled[0, i]]).all()
            else None,
        )
        for i, metric in enumerate(metrics)
    }
