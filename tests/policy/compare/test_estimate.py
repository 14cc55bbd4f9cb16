"""From resamples to intervals: of logarithms and factors where a metric has no upper end."""

import numpy as np
import pytest

from policy.compare.estimate import differences, estimates

RESAMPLED = np.array([[4.0], [2.0], [8.0]])  # the data's value, then two resamples
T_OF_3 = 4.303 * np.sqrt(3 / 2)  # Student's 97.5 % point of two degrees of freedom, for 3 groups


def test_the_interval_of_a_kl_is_that_of_its_logarithm():
    half = T_OF_3 * np.log(2) * np.sqrt(2)

    found = estimates(RESAMPLED, ["kl"], groups=3)["kl"]

    assert found.value == 4.0
    assert found.interval == pytest.approx((4 * np.exp(-half), 4 * np.exp(half)), rel=1e-3)


def test_the_interval_of_a_share_ends_at_1():
    found = estimates(RESAMPLED / 8, ["agreement"], groups=3)["agreement"]

    assert found.value == 0.5
    assert found.interval == (0.0, 1.0)


def test_a_kl_of_0_has_no_logarithm_and_an_interval_all_the_same():
    assert estimates(np.zeros((3, 1)), ["kl"], groups=3)["kl"].interval == (0.0, 0.0)


def test_the_difference_of_two_kls_is_judged_by_their_factor():
    """Half of the other's in every resample, however much that differs."""
    found = differences(RESAMPLED / 2, RESAMPLED, ["kl"], groups=3)["kl"]

    assert (found.value, found.interval) == (-2.0, pytest.approx((-2.0, -2.0)))


def test_the_difference_of_two_shares_is_judged_as_it_is():
    half = T_OF_3 * 0.25 * np.sqrt(1 / 2)
    apart = np.array([[0.1], [0.0], [0.25]])

    found = differences(RESAMPLED / 8 + apart, RESAMPLED / 8, ["agreement"], groups=3)["agreement"]

    assert found.value == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.1 - half, 0.1 + half), rel=1e-3)


def test_a_value_out_of_reach_has_no_interval():
    found = differences(RESAMPLED * np.nan, RESAMPLED, ["kl"], groups=3)["kl"]

    assert (found.value, found.interval) == (None, None)
