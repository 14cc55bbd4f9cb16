"""From a budget to a knob, by hand."""

import json

import pytest

from datamodules.errors import RegateError
from policy.budget import Calibration, check_budget

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
