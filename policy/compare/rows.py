"""The rows of the table: every policy at every budget."""

import math
from collections.abc import Sequence

import numpy as np

from policy.compare.bootstrap import LEAST_REACHED
from policy.compare.curve import Curve
from policy.compare.estimate import estimates
from policy.compare.records import Operating
from policy.compare.results import Row

# Realised spending further off the budget than this is another operating point.
MATCHED_WITHIN = 0.02


def rows(
    curves: Sequence[Curve],
    operating: Sequence[Operating],
    budgets: Sequence[float],
    metrics: Sequence[str],
) -> list[Row]:
    """Policies without a knob first, then every policy at each budget in turn."""
    table = [
        _row(curve, None, metrics, _measured(operating, curve.policy, None))
        for curve in curves
        if not curve.has_knob
    ]
    for budget in budgets:
        table += [
            _row(curve, budget, metrics, _measured(operating, curve.policy, budget))
            for curve in curves
            if curve.has_knob
        ]
    return table


def _row(
    curve: Curve, budget: float | None, metrics: Sequence[str], measured: Operating | None
) -> Row:
    notes = list(measured.notes) if measured else []
    if budget is None:
        quality = curve.quality[:, 0]  # [r, m]
        measured = measured or _where_it_is(curve)
    else:
        quality = curve.at(math.log(budget))
        notes += _shortfall(curve, budget)
    spent = measured.spent if measured else None
    return Row(
        policy=curve.policy,
        learned=curve.learned,
        budget=budget,
        knob=measured.knob if measured else None,
        pace=measured.pace if measured else None,
        spent=spent,
        spent_with_first=measured.spent_with_first if measured else None,
        macs=None if spent is None else spent * curve.dense_macs,
        metrics=estimates(quality, metrics, curve.groups),
        ms_mean=measured.ms_mean if measured else None,
        ms_p50=measured.ms_p50 if measured else None,
        ms_p95=measured.ms_p95 if measured else None,
        state_bytes=measured.state_bytes if measured else None,
        interpolated=(
            budget is not None
            and spent is not None
            and abs(spent / budget - 1) > MATCHED_WITHIN
            and bool(curve.reaches(math.log(budget))[0])
        ),
        fallback=measured.fallback if measured else 0.0,
        note="; ".join(notes) or None,
    )


def _where_it_is(curve: Curve) -> Operating:
    """The only point of a policy without a knob."""
    spent = math.exp(curve.log_spent[0, 0])
    return Operating(curve.policy, None, None, spent, float(curve.spent_with_first[0]))


def _shortfall(curve: Curve, budget: float) -> list[str]:
    """Why a policy has no value or no interval at a budget; empty if it has both."""
    reached = curve.reaches(math.log(budget))  # [r]
    if not reached[0]:
        return [f"budget {budget:g} is out of reach: {curve.reach()}"]
    share = float(reached[1:].mean()) if len(reached) > 1 else 1.0
    if share < LEAST_REACHED:
        return [f"no interval at {budget:g}: only {share:.0%} of the resamples reach it"]
    return []


def _measured(
    operating: Sequence[Operating], policy: str, budget: float | None
) -> Operating | None:
    """The mean of what was measured for the seeds of a policy at a budget."""
    found = [entry for entry in operating if (entry.policy, entry.budget) == (policy, budget)]
    if len(found) <= 1:
        return found[0] if found else None
    state = _mean([entry.state_bytes for entry in found])
    return Operating(
        policy=policy,
        budget=budget,
        knob=_mean([entry.knob for entry in found]),
        pace=float(np.mean([entry.pace for entry in found])),
        column=found[0].column,
        spent=float(np.mean([entry.spent for entry in found])),
        spent_with_first=_mean([entry.spent_with_first for entry in found]),
        ms_mean=_mean([entry.ms_mean for entry in found]),
        ms_p50=_mean([entry.ms_p50 for entry in found]),
        ms_p95=_mean([entry.ms_p95 for entry in found]),
        state_bytes=None if state is None else round(state),
        fallback=float(np.mean([entry.fallback for entry in found])),
        notes=tuple(dict.fromkeys(note for entry in found for note in entry.notes)),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
