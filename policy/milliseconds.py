"""How long frames take: one record for comparison and streams."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Milliseconds per frame.

    The mean is what a stream costs. The median says little of a policy that repeats its output on
    most frames.

    Attributes:
        mean: Over the frames.
        p50: Median.
        p95: 95th percentile.
    """

    mean: float
    p50: float
    p95: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least one value."""
        p50, p95 = np.percentile(values, [50, 95])
        return cls(float(np.mean(values)), float(p50), float(p95))
