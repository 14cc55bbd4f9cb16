"""One policy through a comparison: its knobs, what they gave, and where the budgets lie."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from policy.budgets.fallback import standing_alone
from policy.budgets.pacing import PACES
from policy.budgets.search import targets
from policy.budgets.table import Calibration
from policy.compare.calibrations import Calibrations
from policy.compare.policies import Entry
from policy.compare.records import Operating, Sweep
from policy.compare.timing import Timed
from policy.gates.base import Setting
from policy.policies import DENSE


@dataclass(frozen=True)
class Plan:
    """One policy and the settings it is swept at; one knob, which is not read, if it has none."""

    entry: Entry
    calibration: Calibration | None
    knobs: tuple[float, ...]
    paces: tuple[float, ...] = (1.0,)
    targets: tuple[float, ...] = ()
    """The budget that each setting is calibrated for."""

    @property
    def settings(self) -> list[Setting]:
        """What is swept: the policy's gate, or at some budgets the threshold in its place."""
        gate, table = self.entry.gate, self.calibration
        gates = [
            gate.heuristic or gate if table is not None and table.falls_back(target) else gate
            for target in self.targets or (1.0,)
        ]
        return [Setting(*each) for each in zip(gates, self.knobs, self.paces, strict=True)]


@dataclass(frozen=True)
class Run:
    """What a plan gave on the clips compared, of one fold where there are folds."""

    plan: Plan
    sweep: Sweep
    state_bytes: int


def plan(entry: Entry, calibrations: Calibrations, fallback: bool = True) -> Plan:
    """Calibrate a policy, and choose the knobs of its curve.

    Args:
        entry: The policy.
        calibrations: Of this comparison; each asked budget gets a knob of its own.
        fallback: Let a paced gate serve the threshold where its file says so, as it is served.
    """
    gate = entry.gate
    if gate.knob_range is None:
        return Plan(entry, None, (0.0,))
    calibration = calibrations.paced(gate) if entry.paced else calibrations.plain(gate)
    filed = gate.calibration.fallback if gate.calibration else None
    if entry.paced and fallback and filed is not None and gate.heuristic is not None:
        theirs = calibrations.paced(standing_alone(gate.heuristic))
        calibration = replace(calibration, fallback=replace(filed, calibration=theirs))
    # Read at the targets, of which all seeds of a policy have the same, and not at the knobs
    # that were found, of which two may serve one target. Paces are each seed's own, and with them
    # how low it goes: the targets are those of the slowest.
    floor = calibrations.plain(gate).floor * (PACES[-1] if entry.paced else 1.0)
    reached = targets(floor, calibrations.budgets, calibrations.upto)
    if calibrations.upto == 1:
        reached += (1.0,)  # the most spending setting closes the curve
    wanted = tuple(max(target, calibration.lowest) for target in reached)
    knobs, paces = tuple(map(calibration.knob, wanted)), tuple(map(calibration.pace, wanted))
    return Plan(entry, calibration, knobs, paces, wanted)


def operating_points(
    runs: Sequence[Run], sweep: Sweep, budgets: Sequence[float]
) -> list[tuple[Operating, Timed]]:
    """What a policy really spent at its calibrated knobs, and how to time it there.

    Args:
        runs: Its own in one seed, fold by fold; a budget counts as met where all folds reach it.
        sweep: Over the clips of all.
        budgets: Asked for.
    """
    calibrations = [run.plan.calibration for run in runs if run.plan.calibration is not None]
    if not calibrations:
        return [_at(runs, sweep, None, 0)]
    targets = np.log(runs[0].plan.targets)
    return [
        # Not by the knob: at another pace the same one serves another budget.
        _at(runs, sweep, budget, int(np.abs(targets - np.log(budget)).argmin()))
        for budget in budgets
        if all(calibration.reaches(budget) for calibration in calibrations)
    ]


def _at(
    runs: Sequence[Run], sweep: Sweep, budget: float | None, column: int
) -> tuple[Operating, Timed]:
    """One budget; the sweep has a column calibrated for exactly that."""
    entry = runs[0].plan.entry
    settings = [run.plan.settings[column] for run in runs]
    clips = [len(run.sweep.clips) for run in runs]
    falls_back = [setting.gate is not entry.gate for setting in settings]
    filed = runs[0].plan.calibration.fallback if runs[0].plan.calibration else None
    notes: tuple[str, ...] = ()
    if filed is not None and budget is not None and any(falls_back):
        notes = (f"its file serves the threshold at {budget:g}: {filed.why(budget)}",)
    operating = Operating(
        policy=entry.policy,
        budget=budget,
        knob=None if budget is None else float(sweep.knobs[column]),
        pace=float(np.average([setting.pace for setting in settings], weights=clips)),
        column=column,
        spent=float(sweep.spent[:, column].mean()),
        spent_with_first=float(sweep.spent_with_first[:, column].mean()),
        state_bytes=0 if entry.policy == DENSE else runs[0].state_bytes,
        fallback=float(np.average(falls_back, weights=clips)),
        notes=notes,
    )
    gate = None if entry.policy == DENSE else settings[0].gate
    return operating, Timed(entry.policy, budget, gate, settings[0].knob, settings[0].pace)
