"""One policy through a comparison: its knobs, what they gave, and where the budgets lie."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from backbones.vit import Backbone
from policy.budget import Calibration
from policy.calibration import calibrate, targets
from policy.compare.policies import Entry
from policy.compare.records import Operating, Sweep
from policy.compare.timing import Timed
from policy.pacing import with_paces
from policy.policies import DENSE

HEADROOM = 1.5
"""How far above the highest budget a curve is swept: test videos may spend less than asked."""


@dataclass(frozen=True)
class Plan:
    """One policy and the settings it is swept at; one knob, which is not read, if it has none."""

    entry: Entry
    calibration: Calibration | None
    knobs: tuple[float, ...]
    paces: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Run:
    """What a plan gave on the split compared."""

    plan: Plan
    sweep: Sweep
    state_bytes: int


def plan(model: Backbone, entry: Entry, clips: Sequence[Tensor], budgets: Sequence[float]) -> Plan:
    """Calibrate a policy, and choose the knobs of its curve.

    Args:
        model: The frozen model.
        entry: The policy.
        clips: Calibration clips, uint8 [t, c, h, w].
        budgets: Each gets a knob of its own.
    """
    if entry.gate.knob_range is None:
        return Plan(entry, None, (0.0,))
    upto = min(HEADROOM * max(budgets), 1.0)
    calibration = calibrate(model, entry.gate, clips, budgets, upto=upto)
    if entry.paced:
        calibration = with_paces(model, entry.gate, clips, calibration)
    # Read at the targets, of which all seeds of a policy have the same, and not at the knobs
    # that were found, of which two may serve one target.
    wanted = [
        max(target, calibration.lowest) for target in targets(calibration.floor, budgets, upto)
    ]
    knobs = tuple(map(calibration.knob, wanted))
    return Plan(entry, calibration, knobs, tuple(map(calibration.pace, wanted)))


def operating_points(run: Run, budgets: Sequence[float]) -> list[tuple[Operating, Timed]]:
    """What a policy really spent at its calibrated knobs, and how to time it there."""
    calibration = run.plan.calibration
    if calibration is None:
        return [_at(run, None, 0.0, 1.0)]
    return [
        _at(run, budget, calibration.knob(budget), calibration.pace(budget))
        for budget in budgets
        if calibration.reaches(budget)
    ]


def _at(run: Run, budget: float | None, knob: float, pace: float) -> tuple[Operating, Timed]:
    """One budget; the sweep has a knob calibrated for exactly that."""
    entry = run.plan.entry
    index = int(abs(run.sweep.knobs - knob).argmin())
    operating = Operating(
        policy=entry.policy,
        budget=budget,
        knob=None if budget is None else knob,
        pace=pace,
        spent=float(run.sweep.spent[:, index].mean()),
        spent_with_first=float(run.sweep.spent_with_first[:, index].mean()),
        state_bytes=0 if entry.policy == DENSE else run.state_bytes,
    )
    gate = None if entry.policy == DENSE else entry.gate
    return operating, Timed(entry.policy, budget, gate, knob, pace)
