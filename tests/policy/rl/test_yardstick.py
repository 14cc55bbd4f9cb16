"""Knobs and prices of episodes, from the threshold's own curve."""

import numpy as np
import pytest
import torch

from datamodules.errors import RegateError
from datamodules.synthetic import SyntheticClips
from policy.budgets.table import Calibration
from policy.gates import ThresholdGate
from policy.rl.yardstick import LEAST_PRICE, Yardstick


def test_the_price_is_the_slope_of_quality_in_spent():
    """Quality = 0.9 + 0.2 · log spent rises by 0.2 / spent."""
    yardstick = Yardstick(Calibration((0.1, 1.0), (1.0, 0.0), 0.05), (0.0, 0.2, 0.9))
    assert yardstick.price(0.1) == pytest.approx(2.0)
    assert yardstick.price(0.5) == pytest.approx(0.4)


def test_where_nothing_is_to_be_gained_compute_still_costs_something():
    yardstick = Yardstick(Calibration((0.1, 1.0), (1.0, 0.0), 0.05), (-0.1, 0.0, 0.9))
    assert yardstick.price(1.0) == LEAST_PRICE


def test_a_budget_under_the_floor_gets_the_least_spending_knob():
    yardstick = Yardstick(Calibration((0.1, 1.0), (1.0, 0.0), 0.05), (0.0, 0.2, 0.9))
    assert yardstick.knob(0.02) == 1.0 and yardstick.knob(1.0) == 0.0


def test_at_its_price_the_threshold_gains_nothing_by_spending_a_little_more(digits):
    """Reward on the fitted curve is flat at every budget, which is what balances its terms."""
    data = SyntheticClips(num_frames=4, calibration_clips=2).dataset("calibration")
    yardstick = Yardstick.measure(digits, ThresholdGate(), [data[0], data[1]], "cosine")
    for budget in (0.1, 0.2, 0.4):
        price = yardstick.price(budget)
        around = budget + np.array([-1e-4, 1e-4])
        less, more = np.polyval(yardstick.curve, np.log(around)) - price * around
        assert price == LEAST_PRICE or abs(more - less) < 1e-6


def test_a_clip_without_labels_says_nothing_of_accuracy(digits):
    data = SyntheticClips(num_frames=3, calibration_clips=2).dataset("calibration")
    labelled = data[0]
    other = data[1]._replace(labels=torch.full((3,), -1))

    both = Yardstick.measure(digits, ThresholdGate(), [labelled, other], "accuracy")
    assert np.isfinite(both.curve).all()

    with pytest.raises(RegateError) as refused:
        Yardstick.measure(digits, ThresholdGate(), [other], "accuracy")
    assert str(refused.value) == (
        "none of the 1 calibration clips has a label, without which there is no accuracy: "
        "use quality=agreement"
    )
