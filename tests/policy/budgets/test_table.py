"""From a budget to a knob, by hand."""

import json
from dataclasses import replace

import pytest

from datamodules.errors import RegateError
from policy.budgets.table import Calibration, Fallback, Verdict, check_budget

TABLE = Calibration(spent=(0.1, 0.4, 0.8), knobs=(3.0, 1.0, -2.0), floor=0.08, source="12 clips")


@pytest.mark.parametrize(
    ("budget", "knob"),
    [
        (0.1, 3.0),
        (0.4, 1.0),
        (0.8, -2.0),
        (0.2, 2.0),  # half-way from 0.1 to 0.4 on a logarithmic scale
        (1.0, -2.0),  # more than was measured: the most spending knob
        (0.0991, 3.0),  # within what a search may miss it by
        (0.0996, 3.0),  # the floor to three digits, as the message prints it
    ],
)
def test_a_knob_is_interpolated_in_log_macs(budget, knob):
    assert TABLE.knob(budget) == pytest.approx(knob)


def test_under_the_floor_the_sentence_says_what_to_ask_for():
    expected = (
        r"^budget 0.05 is under this gate's floor of 0.1 \(embedding, head, prefix tokens and "
        r"the gate itself cost 0.08\): ask for 0.1 or more$"
    )
    with pytest.raises(RegateError, match=expected):
        TABLE.knob(0.05)


@pytest.mark.parametrize("lowest", [0.123456, 0.0123456, 0.00123456])
def test_what_the_message_asks_for_is_accepted(lowest):
    table = Calibration(spent=(lowest,), knobs=(1.0,), floor=lowest / 2)
    with pytest.raises(RegateError, match=r"ask for 0\.0*1235 or more"):
        table.knob(lowest / 2)
    assert table.knob(float(f"{lowest:.4g}")) == 1.0


@pytest.mark.parametrize("budget", [0.0, -1.0, 1.01, float("inf"), float("nan")])
def test_a_budget_is_a_fraction_of_the_dense_frame(budget):
    expected = r"budget must be in \(0, 1\], the fraction of a dense frame's MACs; got"
    with pytest.raises(RegateError, match=expected):
        check_budget(budget)


@pytest.mark.parametrize("budget", [1e-9, 0.5, 1.0])
def test_both_ends_of_the_range_are_accepted(budget):
    check_budget(budget)


def test_it_survives_json():
    assert Calibration.from_json(json.loads(json.dumps(TABLE.to_json()))) == TABLE


@pytest.mark.parametrize("spent", [(0.2, 0.2), (0.3, 0.2), (0.0, 0.2)])
def test_spent_must_ascend_from_above_zero(spent):
    with pytest.raises(ValueError, match="calibrated spent must ascend from above 0, got"):
        Calibration(spent, (1.0, 2.0), floor=0.0)


@pytest.mark.parametrize(("spent", "knobs"), [((), ()), ((0.1,), (1.0, 2.0))])
def test_each_spent_needs_a_knob(spent, knobs):
    with pytest.raises(ValueError, match="one knob per spent"):
        Calibration(spent, knobs, floor=0.0)


BETTER, EVEN = (-0.2, -0.1), (-0.1, 0.1)
THEIRS = Calibration((0.1, 0.4, 0.8), (30.0, 10.0, -20.0), floor=0.05, paces=(0.5, 1.0, 1.0))


def judged(*intervals):
    """The table above, with a verdict for each of its points."""
    verdicts = (
        Verdict(budget, None if interval is None else sum(interval) / 2, interval)
        for budget, interval in zip(TABLE.spent, intervals, strict=True)
    )
    return replace(TABLE, fallback=Fallback(THEIRS, tuple(verdicts), clips=9, groups=3))


@pytest.mark.parametrize(
    ("budget", "knob", "pace"),
    [
        (0.1, 30.0, 0.5),  # the threshold's own
        (0.4, 1.0, 1.0),  # the gate's
        (0.395, pytest.approx(1.0, abs=0.03), 1.0),  # as good as that point
        (0.2, 20.0, 0.75),  # between the two: not shown
        (0.6, pytest.approx(1 - 3 * 0.585, abs=0.01), 1.0),  # both beside it favour the gate
        (1.0, -2.0, 1.0),
    ],
)
def test_the_threshold_serves_where_the_gate_is_not_shown_to_be_better(budget, knob, pace):
    table = judged(EVEN, BETTER, BETTER)
    assert (table.knob(budget), table.pace(budget)) == (knob, pace)


def test_no_interval_and_one_that_touches_zero_favour_nobody():
    table = judged(None, (-0.1, 0.0), (-0.1, -1e-9))
    assert [table.falls_back(budget) for budget in TABLE.spent] == [True, True, False]
    assert not TABLE.falls_back(0.1)


def test_a_budget_that_the_threshold_does_not_reach_is_the_gates():
    table = judged(EVEN, EVEN, EVEN)
    fallback = replace(table.fallback, calibration=Calibration((0.3,), (5.0,), floor=0.2))
    assert replace(table, fallback=fallback).knob(0.1) == 3.0
    assert replace(table, fallback=fallback).knob(0.4) == 5.0
    with pytest.raises(RegateError, match=r"under this gate's floor of 0\.1 "):
        replace(table, fallback=fallback).knob(0.05)


def test_the_evidence_survives_json_and_older_tables_have_none():
    table = judged(EVEN, None, BETTER)
    assert Calibration.from_json(json.loads(json.dumps(table.to_json()))) == table
    older = {key: value for key, value in TABLE.to_json().items() if key != "fallback"}
    assert Calibration.from_json(older) == TABLE


@pytest.mark.parametrize(
    ("intervals", "told"),
    [
        (
            (EVEN, BETTER, BETTER),
            "gumbel serves budgets around 0.4, 0.8, where over 9 calibration clips in 3 groups it "
            "is closer to dense than the threshold, which serves the others",
        ),
        (
            (EVEN, None, (-0.5, 0.1)),  # closer in the mean, which is not shown
            "the threshold serves every budget: over 9 calibration clips in 3 groups, gumbel is "
            "nowhere found closer to dense",
        ),
        (
            (BETTER, BETTER, BETTER),
            "gumbel serves every budget: over 9 calibration clips in 3 groups, it is closer to "
            "dense than the threshold",
        ),
    ],
)
def test_people_are_told_who_serves_what(intervals, told):
    assert judged(*intervals).fallback.told("gumbel") == told


PACED = Calibration(
    (0.01, 0.04, 0.1, 0.13, 0.2), (5.0, 4.0, 3.0, 2.0, 1.0), 0.01, paces=(0.25, 0.5, 0.5, 1.0, 1.0)
)


@pytest.mark.parametrize(
    ("budget", "knob"),
    [
        (0.2, 1.0),
        (0.13, 2.0),
        (0.08, 4.0),  # spent on every second frame in the point of 0.04
        (0.04, 5.0),  # on every fourth
        (0.02, 5.0),  # less than was measured
        (0.004, 5.0),  # even under the lowest
        (1.0, 1.0),
    ],
)
def test_without_a_pace_a_point_is_read_at_what_a_frame_spends_that_is_looked_at(budget, knob):
    """The point of 0.1 spends 0.2 on such a frame, more than that of 0.13, which stands for it."""
    assert PACED.unpaced_knob(budget) == pytest.approx(knob)


def test_without_paces_it_is_the_knob():
    assert TABLE.unpaced_knob(0.3) == TABLE.knob(0.3)
    with pytest.raises(RegateError, match=r"budget must be in \(0, 1\]"):
        TABLE.unpaced_knob(0.0)
