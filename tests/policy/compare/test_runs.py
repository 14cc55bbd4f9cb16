"""Where the budgets lie in a sweep."""

from dataclasses import replace

import numpy as np
import pytest

from policy.budgets.table import Calibration
from policy.compare.calibrations import Calibrations
from policy.compare.policies import Entry
from policy.compare.runs import Plan, Run, operating_points, plan
from policy.policies import build_gate


def test_a_policy_without_a_knob_is_measured_where_it_is(backbone, make_sweep):
    entry = Entry("hold", build_gate("hold"), 0, False)

    planned = plan(entry, Calibrations(backbone, [], [0.2]))
    sweep = make_sweep("hold", (0.0,))
    ((point, timed),) = operating_points([Run(planned, sweep, 7)], sweep, [0.2])

    assert planned == Plan(entry, None, (0.0,))
    assert (point.budget, point.knob, point.spent, point.state_bytes) == (None, None, 0, 7)
    assert timed.gate is entry.gate


def test_each_budget_has_a_setting_of_its_own_and_is_found_there(backbone, make_sweep):
    entry = Entry("top-r", build_gate("top-r"), 0, False)
    planned = plan(entry, Calibrations(backbone, [], [0.6, 0.8]))
    spent = tuple(np.linspace(0.1, 0.9, len(planned.knobs)))

    sweep = replace(make_sweep("top-r", spent), knobs=np.array(planned.knobs))
    points = operating_points([Run(planned, sweep, 7)], sweep, [0.6, 0.8])

    for (point, timed), budget in zip(points, (0.6, 0.8), strict=True):
        assert planned.targets[point.column] == budget
        assert point.spent == pytest.approx(spent[point.column])
        assert planned.knobs[point.column] == point.knob == timed.knob


def test_one_knob_at_two_paces_is_two_settings(make_sweep):
    entry = Entry("top-r-paced", build_gate("top-r"), 0, False)
    calibration = Calibration((0.1, 0.4, 0.8), (0.5, 0.5, 0.9), 0.05)
    planned = Plan(entry, calibration, (0.5, 0.5, 0.9), (0.25, 1.0, 1.0), (0.1, 0.4, 0.8))
    sweep = make_sweep("top-r-paced", (0.11, 0.42, 0.79))

    points = operating_points([Run(planned, sweep, 7)], sweep, [0.1, 0.4])

    assert [point.column for point, _ in points] == [0, 1]
    assert [point.spent for point, _ in points] == pytest.approx([0.11, 0.42])


def test_the_whole_budget_has_a_setting_of_its_own(backbone):
    planned = plan(Entry("top-r", build_gate("top-r"), 0, False), Calibrations(backbone, [], [1.0]))

    assert planned.targets[-1] == 1.0 and planned.targets == tuple(sorted(planned.targets))
    assert planned.knobs[-1] > planned.knobs[-2]


def test_seeds_of_a_paced_policy_are_read_at_the_same_number_of_budgets(backbone, monkeypatch):
    """Though one of them may have found a slower pace, and with it a lower floor."""
    calibrations, counts = Calibrations(backbone, [], [0.2]), []
    plain = Calibration((0.1, 0.2, 0.9), (0.1, 0.2, 0.9), 0.08)
    monkeypatch.setattr(calibrations, "plain", lambda gate: plain)
    for pace in (1 / 3, 1 / 2, 1.0):
        paced = replace(plain, spent=(0.1 * pace, 0.2, 0.9), floor=0.08 * pace, paces=(pace, 1, 1))
        monkeypatch.setattr(calibrations, "paced", lambda gate, its=paced: its)
        planned = plan(Entry("top-r-paced", build_gate("top-r"), 0, False), calibrations)
        counts.append(len(planned.knobs))
        assert min(planned.targets) == pytest.approx(max(0.1 * pace, paced.lowest), rel=0.2)

    assert len(set(counts)) == 1


def test_folds_count_by_their_clips_and_a_budget_is_met_where_all_reach_it(make_sweep):
    entry = Entry("threshold-paced", build_gate("threshold"), 0, False)
    groups = ("a", "b", "c")
    sweep, runs = make_sweep("threshold-paced", (0.12, 0.44, 0.8), groups), []
    for fold, (lowest, pace) in enumerate([(0.1, 0.5), (0.3, 1.0)]):
        calibration = Calibration((lowest, 0.4, 0.8), (3.0, 2.0 + fold, 1.0), lowest / 2)
        paces = (pace, pace, 1.0)
        planned = Plan(entry, calibration, calibration.knobs, paces, (lowest, 0.4, 0.8))
        its = groups[2:] if fold else groups[:2]
        runs.append(Run(planned, make_sweep("threshold-paced", (0.1, 0.4, 0.8), its), 7))

    ((point, timed),) = operating_points(runs, sweep, [0.1, 0.4])

    assert (point.budget, point.column) == (0.4, 1)
    assert point.spent == pytest.approx(sweep.spent[:, 1].mean())
    assert point.knob == sweep.knobs[1]
    assert point.pace == pytest.approx((2 * 0.5 + 1.0) / 3)
    assert (timed.knob, timed.pace) == (2.0, 0.5)
