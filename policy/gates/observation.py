"""What an agent that steers a whole frame is told: one flat vector per stream, all of it causal.

Everything is about the *next* frame and what is known before any block of it is computed. Drift
is meant relative to the threshold, ``log drift − knob``, so that one agent serves every budget.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

FAR = 4.0
"""Relative log drifts, and logarithms of ages, from here on are all the same."""
SPAN = 2.0
"""Log drift by which a full action of 1 lowers the threshold, and of -1 raises it."""
SHARES_AT = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Actions of which the share that they would recompute is told."""
DRIFT_QUANTILES = (0.5, 0.75, 0.9, 0.97)
AGE_QUANTILES = (0.5, 0.9)
TARGET_SCALE = 1.6
"""Half the range of log budgets, which starts at 0.04."""


class Field(NamedTuple):
    """One number of an observation."""

    name: str
    low: float
    high: float
    meaning: str


class Memo(NamedTuple):
    """What is remembered of a stream from the frames before; ``pack`` is its flat form.

    Attributes:
        action: Of the frame before, [s, k].
        spent: On the frame before, [s, 1].
        mean_spent: Running mean over the frames after the first, [s, 1].
        later: Mean relative drift and share above the threshold at the first block of each later
            block group, on the frame before, [s, 2 (g - 1)].
    """

    action: Tensor
    spent: Tensor
    mean_spent: Tensor
    later: Tensor

    @classmethod
    def unpack(cls, flat: Tensor, groups: int) -> "Memo":
        """From [s, m]."""
        action, spent, mean_spent, later = flat.split([groups + 1, 1, 1, 2 * (groups - 1)], dim=1)
        return cls(action, spent, mean_spent, later)

    @staticmethod
    def size(groups: int) -> int:
        """Numbers per stream, m."""
        return groups + 3 + 2 * (groups - 1)

    def pack(self) -> Tensor:
        """To [s, m]."""
        return torch.cat(self, dim=1)


def fields(groups: int) -> tuple[Field, ...]:
    """Every number of an observation, in order, for a gate with so many block groups."""
    names = [f"drift_q{round(100 * q)}" for q in DRIFT_QUANTILES]
    patches = [f"{q:.0%} quantile over patches" for q in DRIFT_QUANTILES]
    drift = "relative log drift / 4"
    listed = [Field("drift_mean", -1, 1, f"{drift}: mean over patches")]
    listed += [Field(n, -1, 1, f"{drift}: {p}") for n, p in zip(names, patches, strict=True)]
    listed += [Field("drift_max", -1, 1, f"{drift}: maximum over patches")]
    listed += [
        Field(f"share_at_{at:g}", 0, 1, f"share of patches that action {at:g} would recompute")
        for at in SHARES_AT
    ]
    age = "log(1 + frames since a patch was recomputed) / 4"
    listed += [Field("age_mean", 0, 1, f"{age}: mean over patches")]
    listed += [
        Field(f"age_q{round(100 * q)}", 0, 1, f"{age}: {q:.0%} quantile") for q in AGE_QUANTILES
    ]
    listed += [
        Field("frame", 0, 1, "log(frames since the stream's first) / 4"),
        Field("spent", 0, 1, "fraction of the dense MACs spent on the frame before"),
        Field("mean_spent", 0, 1, "its mean over the frames after the first, or about the last 16"),
        Field("knob", -1, 1, "the log threshold, standardised, / 2"),
        Field("target", -1, 1, "1 + log(budget) / 1.6, the budget that the knob was found for"),
        Field("remaining", -1, 1, "log(budget / mean_spent) / 2; 0 before anything was spent"),
    ]
    listed += [
        Field(f"action_{group}", -1, 1, f"offset of block group {group} on the frame before")
        for group in range(groups)
    ]
    listed += [Field("action_refresh", -1, 1, "refresh on the frame before")]
    for group in range(1, groups):
        where = f"at the first block of group {group}, on the frame before"
        listed += [
            Field(f"drift_mean_{group}", -1, 1, f"{drift}: mean over patches {where}"),
            Field(f"share_{group}", 0, 1, f"share of patches above the threshold {where}"),
        ]
    return tuple(listed)


def observe(
    relative: Tensor, age: Tensor, frame: Tensor, knob: Tensor, target: Tensor, memo: Memo
) -> Tensor:
    """One observation per stream, in the order of ``fields``.

    Args:
        relative: Log drift minus the knob at the first block, [s, p].
        age: Frames since each patch was recomputed, [s, p].
        frame: Number of the frame that is about to be computed, [s].
        knob: Standardised, [s].
        target: Logarithm of the budget that the knob stands for, [s].
        memo: Of the frames before.

    Returns:
        float32 [s, o], every number within its field's range.
    """
    relative = relative.float().clamp(-FAR, FAR)
    levels = relative.new_tensor(SHARES_AT)
    shares = (relative.unsqueeze(2) > -SPAN * levels).float().mean(1)  # [s, levels]
    later = frame.unsqueeze(1).to(relative)
    ages = age.to(relative).log1p()
    # Nothing has been spent by choice before the second of the later frames.
    over = (target.unsqueeze(1) - memo.mean_spent.clamp_min(1e-6).log()) / 2
    columns = [
        relative.mean(1, keepdim=True) / FAR,
        _quantiles(relative, (*DRIFT_QUANTILES, 1.0)) / FAR,
        shares,
        ages.mean(1, keepdim=True) / FAR,
        _quantiles(ages, AGE_QUANTILES) / FAR,
        later.clamp_min(1).log() / FAR,
        memo.spent,
        memo.mean_spent,
        knob.unsqueeze(1) / 2,
        1 + target.unsqueeze(1) / TARGET_SCALE,
        torch.where(later > 1, over, 0.0),
        memo.action,
        memo.later,
    ]
    return torch.cat([column.float() for column in columns], dim=1).clamp(-1, 1)


def _quantiles(values: Tensor, shares: tuple[float, ...]) -> Tensor:
    """Nearest-rank quantiles over patches, [s, q]."""
    last = values.shape[1] - 1
    places = [math.floor(share * last + 0.5) for share in shares]
    return values.sort(dim=1).values[:, places]
