"""Differences between policies at the same compute, in the same resamples."""

import math
from collections.abc import Sequence

from policy.compare.curve import Curve
from policy.compare.estimate import differences
from policy.compare.records import METRICS
from policy.compare.results import Interval, Paired


def paired(
    curves: Sequence[Curve],
    budgets: Sequence[float],
    metrics: Sequence[str],
    subjects: Sequence[str],
) -> list[Paired]:
    """Each subject minus every other policy with a knob, budget by budget."""
    with_knob = {curve.policy: curve for curve in curves if curve.has_knob}
    entries = []
    for budget in budgets:
        quality = {policy: curve.at(math.log(budget)) for policy, curve in with_knob.items()}
        for subject in (name for name in subjects if name in with_knob):
            for against in (name for name in with_knob if name != subject):
                pair = quality[subject], quality[against]
                found = differences(*pair, metrics, with_knob[subject].groups)
                entries += [
                    Paired(
                        policy=subject,
                        against=against,
                        budget=budget,
                        metric=metric,
                        difference=difference.value,
                        interval=difference.interval,
                        wins=_wins(metric, difference.interval),
                    )
                    for metric, difference in found.items()
                ]
    return entries


def _wins(metric: str, interval: Interval | None) -> bool:
    """Whether the whole interval lies on the good side of 0; touching 0 is not winning."""
    if interval is None:
        return False
    return interval[0] > 0 if METRICS[metric].higher_is_better else interval[1] < 0
