"""Bootstrap over groups of clips, and intervals that few groups can bear.

Frames of one clip, and clips of one scene, resemble each other; resampling frames or clips would
call differences certain that another scene overturns.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from policy.compare.records import FloatArray

# An interval over the few resamples that happen to reach a budget would describe easy draws only.
LEAST_REACHED = 0.95


def resample_counts(groups: Sequence[str], resamples: int, seed: int) -> FloatArray:
    """How often each resample holds each clip: groups are drawn, each with all its clips.

    The same counts serve every policy, which is what makes their comparison paired. Clips are not
    drawn once more inside the groups: what clips differ by is in the means of the groups already,
    and would be counted twice (Davison and Hinkley, Bootstrap Methods and their Application, 1997,
    section 3.8).

    Args:
        groups: The group of each clip, c of them.
        resamples: How many resamples to draw, >= 0.
        seed: Of the numpy generator.

    Returns:
        Counts [1 + resamples, c]. Row 0 is the data themselves: every clip once.
    """
    names, member_of = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    every_one = np.ones((1, len(names)), dtype=drawn.dtype)
    counts: FloatArray = np.concatenate([every_one, drawn])[:, member_of].astype(np.float64)
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


def t_interval(
    resampled: FloatArray, groups: int, level: float = 0.95
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Student's interval around the data's own value, by the standard error of the resamples.

    The percentiles of a bootstrap over n groups are too narrow: its spread is that of a variance
    divided by n and not by n - 1, and they take it for known. Both are mended here, with n - 1
    degrees of freedom (narrowness bias and t interval with bootstrap standard error in
    Hesterberg, What Teachers Should Know about the Bootstrap, https://arxiv.org/abs/1411.5279).

    Args:
        resampled: The value of the data, then one per resample, [1 + r, ...]; nan where there is
            none.
        groups: That were resampled.
        level: Of the interval, in (0, 1).

    Returns:
        Low, high and the fraction of resamples with a value, each of shape [...]. Low and high
        are nan where that fraction is below ``LEAST_REACHED``, or fewer than two resamples or
        groups are.
    """
    value, drawn = resampled[0], resampled[1:]
    if len(drawn) < 2 or groups < 2:
        missing = np.full(value.shape, np.nan)
        return missing, missing, np.zeros(value.shape)
    present = np.isfinite(drawn)
    count = present.sum(axis=0)  # [...]
    # Taken from the data's value, so that what is the same in all resamples has no width at all.
    apart = np.where(present, drawn - value, 0.0)
    mean = apart.sum(axis=0) / np.maximum(count, 1)
    squares = (np.where(present, apart - mean, 0.0) ** 2).sum(axis=0)
    error = np.sqrt(squares / np.maximum(count - 1, 1) * groups / (groups - 1))
    half = student.ppf((1 + level) / 2, groups - 1) * error
    reached = count / len(drawn)
    enough = reached >= LEAST_REACHED
    return np.where(enough, value - half, np.nan), np.where(enough, value + half, np.nan), reached
