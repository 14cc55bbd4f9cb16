"""Hard budgets: on no frame after a stream's first is more spent than was asked.

A budget is otherwise met in the mean. Under a hard one the gate decides as before, by its knob,
which patches want to be recomputed; of these the ones of highest score are kept, as many as fit
into the frame's MACs with everything else that it costs. Quiet frames spend less.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from datamodules.errors import RegateError
from policy.budgets.table import check_budget
from policy.cost import BackboneMacs
from policy.gates.base import Decision, Gate, Setting
from policy.policies import HEURISTICS, LEARNED
from policy.signals import ranks


def highest(decision: Decision, room: Tensor) -> Decision:
    """The decision, cut to its patches of highest score; of equal scores the first ones win.

    Args:
        decision: Of a gate that gives scores, when serving.
        room: Most patches per stream, int64 [s].
    """
    wanted = decision.recompute
    if not bool((wanted.sum(1) > room).any()):
        return decision
    assert decision.score is not None
    score = decision.score.masked_fill(~wanted, -torch.inf)
    kept = wanted & (ranks(score) < room.unsqueeze(1))
    carry = decision.carry and replace(decision.carry, decision=kept)
    return replace(decision, recompute=kept, carry=carry)


def hard_setting(
    gate: Gate, budget: float | None, macs: BackboneMacs, beside: float
) -> tuple[Setting, int]:
    """What serves a hard budget, and how many patches fit into it in each block of a frame.

    Who serves is as calibrated, under the calibrated budgets as at the lowest. But every frame is
    looked at: a pace saves up for the frames that are, which a limit on each forbids. So the knob
    is the one that was calibrated to spend the budget on a frame that is looked at. A nested gate
    admits no more patches than fit if it releases none.

    Args:
        gate: Of the session; without calibration it decides by its own knob.
        budget: Fraction of the dense frame's MACs.
        macs: Of the session's backbone.
        beside: MACs of the guard's look at a frame.

    Raises:
        RegateError: If there is no budget or it is outside (0, 1], if the gate gives no score, or
            if there is no room for a patch.
    """
    if budget is None:
        raise RegateError(
            "a hard session needs a budget to keep to: give one in (0, 1], a fraction of the "
            "dense frame's MACs, as session.ask(0.25, hard=True) does, or none and hard=False, "
            "as session.ask(None) does"
        )
    check_budget(budget)
    if not gate.gives_score:
        raise RegateError(
            f"a hard budget keeps the patches of highest score, and the {gate.name} gate gives "
            f"none: choose one of {', '.join(scored_policies())}"
        )
    setting = gate.unpaced_setting(budget)
    room = macs.room(budget, beside, setting.gate)
    if room < 1:
        floor = macs.floor(setting.gate) + beside / macs.dense
        least = math.ceil(10_000 * least_hard_budget(gate, macs, beside)) / 10_000
        raise RegateError(
            f"a hard budget of {budget:g} leaves no room for a patch beside the floor of "
            f"{floor:.4g} (embedding, head, prefix tokens, gate and guard): ask for {least:g} or "
            "more"
        )
    return setting, room


def least_hard_budget(gate: Gate, macs: BackboneMacs, beside: float) -> float:
    """Hard budget from which on each can be asked for; arguments are those of ``hard_setting``.

    Gate and heuristic have floors of their own, so that one budget may have room for a patch by
    the one and not by the other, who serves it. Between the floors, who serves changes at most at
    the budgets that the two were compared at.
    """
    low, high = sorted(macs.least_cap(beside, each) for each in (gate, gate.heuristic or gate))
    fallback = gate.calibration and gate.calibration.fallback
    judged = [verdict.budget for verdict in fallback.verdicts] if fallback else []
    asked = (low, high, *(budget for budget in judged if low < budget < high))
    return max(macs.least_cap(beside, gate.unpaced_setting(budget).gate) for budget in asked)


def scored_policies() -> tuple[str, ...]:
    """Policies that a hard budget covers."""
    scored = (name for name, make in HEURISTICS.items() if make().gives_score)
    return (*scored, *LEARNED)
