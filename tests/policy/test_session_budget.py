"""A budget is asked of a session, and changed while it runs."""

import pytest

from datamodules.errors import RegateError
from policy.budgets.table import Calibration
from policy.gates import ThresholdGate
from policy.session import ReuseSession


@pytest.fixture
def double(backbone):
    return backbone.double()


@pytest.fixture
def calibrated():
    gate = ThresholdGate()
    gate.calibration = Calibration((0.2, 0.5, 0.9), (1.0, 0.5, -1.0), floor=0.15)
    return gate


def test_it_picks_the_calibrated_knob(backbone, calibrated):
    session = ReuseSession(backbone, calibrated, budget=0.5)
    assert session.knob == pytest.approx(0.5)


def test_a_change_takes_effect_on_the_next_frame(double, calibrated, make_frames):
    calibrated.calibration = Calibration((0.2, 0.9), (9.0, -20.0), floor=0.15)
    frames = make_frames(double, 4)
    session = ReuseSession(double, calibrated, budget=0.2)
    counts = []
    for index, frame in enumerate(frames):
        if index == 2:
            session.budget = 0.9
        if index == 3:
            session.budget = 0.2
        counts.append(int(session.step(frame).recompute[0, 0, 1:].sum()))

    assert counts == [16, 0, 16, 0]


def test_none_goes_back_to_the_gates_own_knob(backbone, calibrated):
    session = ReuseSession(backbone, calibrated, budget=0.5)
    session.budget = None
    assert session.knob == calibrated.knob and session.budget is None


@pytest.mark.parametrize("budget", [0.0, -0.1, 1.5, float("nan")])
def test_it_is_a_fraction(backbone, calibrated, budget):
    expected = rf"budget must be in \(0, 1\], .*MACs; got {budget:g}"
    with pytest.raises(RegateError, match=expected):
        ReuseSession(backbone, calibrated, budget=budget)


def test_one_is_accepted(backbone, calibrated):
    assert ReuseSession(backbone, calibrated, budget=1.0).knob == -1.0


def test_under_the_floor_the_sentence_names_it(backbone, calibrated):
    expected = r"budget 0.1 is under this gate's floor of 0.2 .*cost 0.15\): ask for 0.2 or more"
    with pytest.raises(RegateError, match=expected):
        ReuseSession(backbone, calibrated, budget=0.1)


def test_without_calibration_there_is_no_budget(backbone):
    expected = "the threshold gate has no calibration, so budget 0.25 cannot be turned"
    with pytest.raises(RegateError, match=expected):
        ReuseSession(backbone, ThresholdGate(), budget=0.25)


def test_a_refused_budget_leaves_the_old_one(backbone, calibrated):
    session = ReuseSession(backbone, calibrated, budget=0.5)
    with pytest.raises(RegateError):
        session.budget = 0.1
    assert session.budget == 0.5 and session.knob == pytest.approx(0.5)
