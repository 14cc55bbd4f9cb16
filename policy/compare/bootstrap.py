"""Hierarchical bootstrap: groups of clips first, then clips inside the drawn groups.

Frames of one clip, and clips of one scene, resemble each other; resampling frames would call
differences certain that another scene overturns.
"""

from collections.abc import Sequence

import numpy as np

from policy.compare.records import FloatArray

# An interval over the few resamples that happen to reach a budget would describe easy draws only.
LEAST_REACHED = 0.95


def resample_counts(groups: Sequence[str], resamples: int, seed: int) -> FloatArray:
    """How often each resample holds each clip.

    The same counts serve every policy, which is what makes their comparison paired.

    Args:
        groups: The group of each clip, c of them.
        resamples: How many resamples to draw, >= 0.
        seed: Of the numpy generator.

    Returns:
        Counts [1 + resamples, c]. Row 0 is the data themselves: every clip once.
    """
    names, member_of = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = np.ones((1 + resamples, len(groups)))
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    for group in range(len(names)):
        clips = np.flatnonzero(member_of == group)
        # A group drawn twice contributes two independent draws of its clips, which together
        # are one multinomial draw of twice the size.
        inside = rng.multinomial(drawn[:, group] * len(clips), np.full(len(clips), 1 / len(clips)))
        counts[1:, clips] = inside
    return counts


def why_no_interval(groups: Sequence[str]) -> str | None:
    """Say why these clips carry no interval, or None if they do."""
    if len(groups) < 2:
        return "none, one clip says nothing about another"
    if len(set(groups)) < 2:
        return f"none, all {len(groups)} clips come from one group ({groups[0]})"
    return None


def weighted_mean(counts: FloatArray, values: FloatArray) -> FloatArray:
    """Mean over clips in every resample, leaving out clips without a value.

    Args:
        counts: Resamples, [r, c].
        values: Per clip, [c, ...]; nan where a clip has no value.

    Returns:
        Means [r, ...]; nan where no drawn clip has a value.
    """
    flat = values.reshape(len(values), -1)
    present = np.isfinite(flat)
    total = counts @ np.where(present, flat, 0.0)
    weight = counts @ present.astype(np.float64)
    with np.errstate(invalid="ignore"):
        means = np.where(weight > 0, total / weight, np.nan)
    return means.reshape(len(counts), *values.shape[1:])


def percentile_interval(
    resampled: FloatArray, level: float = 0.95
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Percentile interval over the resamples that have a value.

    Args:
        resampled: One value per resample, [r, ...]; nan where a resample has none.
        level: Of the interval, in (0, 1).

    Returns:
        Low, high and the fraction of resamples with a value, each of shape [...]. Low and high
        are nan where that fraction is below ``LEAST_REACHED``.
    """
    if len(resampled) == 0:
        missing = np.full(resampled.shape[1:], np.nan)
        return missing, missing, np.zeros(resampled.shape[1:])
    ordered = np.sort(resampled, axis=0)  # nan last
    finite = np.isfinite(ordered).sum(axis=0)  # [...]
    low = _quantile_of_sorted(ordered, finite, (1 - level) / 2)
    high = _quantile_of_sorted(ordered, finite, (1 + level) / 2)
    reached = finite / len(ordered)
    enough = reached >= LEAST_REACHED
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan), reached


def _quantile_of_sorted(
    ordered: FloatArray, finite: np.typing.NDArray[np.int_], level: float
) -> FloatArray:
    """Linear quantile of the first ``finite`` entries of each column of [r, ...]."""
    position = np.maximum(finite - 1, 0) * level
    below = np.floor(position).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(finite - 1, 0))
    first = np.take_along_axis(ordered, below[None], axis=0)[0]
    second = np.take_along_axis(ordered, above[None], axis=0)[0]
    # The difference form keeps a constant column exact, so that zero width stays zero.
    quantile: FloatArray = first + (second - first) * (position - below)
    return quantile
