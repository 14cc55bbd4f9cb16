"""Which budgets keep a limit on risk, by Learn then Test (https://arxiv.org/abs/2110.01052).

Per budget the hypothesis is that more than ``risk`` of all videos fail. Budgets are tested from
the highest down, each at the whole level 1 − confidence, until one is not rejected (fixed-sequence
testing, section 3 there): the probability of passing any budget that does not keep the limit is at
most that level. P-values are exact, from the binomial distribution, so the promise holds for any
number of videos. It rests on exchangeability: the videos tested on and those served later are
drawn alike and independently of each other, and of those that the budgets' settings were found on.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np
from scipy.stats import binom

from backbones.vit import Backbone
from datamodules.records import Clip
from policy.budgets.risk import BudgetTest, Risk, RiskLimit
from policy.budgets.search import FloatArray
from policy.gates.base import Setting
from policy.quality import dense_reference, sweep_settings

SEED = 0


def videos_needed(limit: RiskLimit) -> int:
    """Fewest videos with which a budget can pass at all, without a single failure."""
    level = 1 - limit.confidence
    count = int(np.ceil(np.log(level) / np.log1p(-limit.risk)))
    # The quotient of two logarithms may round to either side of a whole number.
    return max(1, count - 1 if (1 - limit.risk) ** (count - 1) <= level else count)


def one_per_group(groups: Sequence[str], apart: Collection[str] = ()) -> list[int]:
    """Places of videos that are independent of each other: one of each group, drawn at random.

    Args:
        groups: Of each clip.
        apart: Groups to leave out.
    """
    rng = np.random.default_rng(SEED)
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    return sorted(
        int(rng.choice(places)) for group, places in members.items() if group not in set(apart)
    )


def lowest_budget(disagreement: FloatArray, budgets: Sequence[float], limit: RiskLimit) -> Risk:
    """Test budgets from the highest down.

    Args:
        disagreement: Share of each video's later frames with another top-1 than dense, [n, k].
        budgets: k of them, chosen without a look at these videos.
        limit: To be kept.
    """
    failures = (disagreement > limit.tolerance).sum(axis=0)
    passed, tested = None, []
    for column in np.argsort(budgets)[::-1]:
        budget, failed = float(budgets[column]), int(failures[column])
        p = float(binom.cdf(failed, len(disagreement), limit.risk))
        tested.append(BudgetTest(budget, failed, p))
        if p > 1 - limit.confidence:
            break
        passed = budget
    return Risk(limit, passed, len(disagreement), tuple(tested))


def disagreement(
    backbone: Backbone,
    settings: Sequence[Setting],
    clips: Iterable[Clip],
    advance: Callable[[], None] = lambda: None,
) -> FloatArray:
    """Share of each video's later frames with another top-1 than dense, [n, k].

    Args:
        backbone: The frozen model, with classes.
        settings: Of a gate at k budgets, served without a guard.
        clips: One per video, n of them, asked for one by one.
        advance: Called after each clip.
    """
    rows = []
    for clip in clips:
        dense = dense_reference(backbone, clip)
        swept = sweep_settings(backbone, settings, backbone.normalize(clip.frames), dense)
        # In double precision: a share that is exactly the tolerance must not exceed it.
        rows.append((1 - swept.over_frames["agreement"].cpu().double()).mean(0).numpy())
        advance()
    return np.stack(rows)
