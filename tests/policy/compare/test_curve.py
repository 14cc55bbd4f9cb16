import math
from dataclasses import replace

import numpy as np
import pytest

from policy.compare.bootstrap import resample_counts, weighted_mean
from policy.compare.curve import merge_seeds, resampled_curve

ONCE = np.ones((1, 2))


def at(sweep, budget, counts=ONCE):
    return resampled_curve(sweep, ["kl"], counts).at(math.log(budget))[:, 0]


def test_quality_is_linear_in_log_macs(make_sweep):
    sweep = make_sweep(spent=(0.1, 0.4), kl=(2.0, 1.0))

    # 0.2 lies half-way from 0.1 to 0.4 on a log axis.
    assert at(sweep, 0.2) == pytest.approx([1.5])


def test_quality_at_a_knob_is_that_knobs(make_sweep):
    sweep = make_sweep(spent=(0.1, 0.4, 0.7), kl=(2.0, 1.0, 0.25))

    assert [at(sweep, budget)[0] for budget in (0.1, 0.4, 0.7)] == [2.0, 1.0, 0.25]


def test_knobs_are_sorted_by_what_they_spend(make_sweep):
    sweep = make_sweep(spent=(0.4, 0.1), kl=(1.0, 2.0))

    assert at(sweep, 0.2) == pytest.approx([1.5])
    assert resampled_curve(sweep, ["kl"], ONCE).knobs.tolist() == [1, 0]


@pytest.mark.parametrize("budget", [0.05, 0.5])
def test_nothing_is_extrapolated(make_sweep, budget):
    assert np.isnan(at(make_sweep(spent=(0.1, 0.4), kl=(2.0, 1.0)), budget)).all()


def test_a_knob_that_spends_nothing_has_no_place_on_a_log_axis(make_sweep):
    sweep = make_sweep(spent=(0.0, 0.1, 0.4), kl=(9.0, 2.0, 1.0))

    assert np.isnan(at(sweep, 0.05)).all()
    assert at(sweep, 0.1) == pytest.approx([2.0])
    assert at(sweep, 0.2) == pytest.approx([1.5])


def test_each_resample_reads_its_own_curve(make_sweep):
    # The first clip alone spends 0.1 to 0.4, the second 0.2 to 0.8.
    sweep = make_sweep(spent=[[0.1, 0.4], [0.2, 0.8]], kl=[[2.0, 1.0], [4.0, 2.0]])
    counts = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])

    assert at(sweep, 0.4, counts)[:2] == pytest.approx([1.0, 3.0])
    # Together 0.15 to 0.6 and 3 to 1.5; 0.3 is half-way.
    assert at(sweep, 0.3, counts)[2] == pytest.approx(2.25)


def test_rounding_does_not_push_a_budget_out_of_reach(make_sweep):
    groups = tuple(f"scene {i}" for i in range(11))
    sweep = make_sweep(spent=(0.1, 0.95), groups=groups, kl=(2.0, 1.0))
    counts = resample_counts(groups, 500, seed=0)
    # The weighted mean of eleven times 0.95 is not always 0.95.
    assert len(set(weighted_mean(counts, sweep.spent)[:, 1])) > 1

    assert np.isfinite(at(sweep, 0.1, counts)).all()
    assert np.isfinite(at(sweep, 0.95, counts)).all()


def test_area_is_the_mean_height_over_log_macs(make_sweep):
    curve = resampled_curve(make_sweep(spent=(0.1, 0.2, 0.4), kl=(3.0, 1.0, 1.0)), ["kl"], ONCE)
    low, high = np.log([0.1]), np.log([0.4])

    # A slope of mean 2 over the first octave and a flat 1 over the second.
    assert curve.mean_between(low, high)[0, 0] == pytest.approx(1.5)
    assert curve.mean_between(low, np.log([0.2]))[0, 0] == pytest.approx(2.0)
    assert curve.mean_between(np.log([0.1414213562]), high)[0, 0] == pytest.approx(
        (0.5 * 1.5 + 1.0) / 1.5
    )


def test_area_outside_the_reach_is_nan(make_sweep):
    curve = resampled_curve(make_sweep(spent=(0.1, 0.4), kl=(2.0, 1.0)), ["kl"], ONCE)

    assert np.isnan(curve.mean_between(np.log([0.05]), np.log([0.4]))).all()
    assert np.isnan(curve.mean_between(np.log([0.2]), np.log([0.2]))).all()


def test_seeds_of_a_policy_are_averaged_per_clip(make_sweep):
    first = make_sweep("gumbel", spent=(0.1, 0.4), learned=True, kl=[[2.0, 1.0], [4.0, 2.0]])
    second = make_sweep("gumbel", spent=(0.3, 0.6), learned=True, kl=[[4.0, 1.0], [8.0, 2.0]])
    other = make_sweep("threshold", kl=(1.0, 1.0))

    gumbel, threshold = merge_seeds([first, other, second])

    assert threshold is other
    assert gumbel.learned
    assert gumbel.spent == pytest.approx(np.array([[0.2, 0.5], [0.2, 0.5]]))
    assert gumbel.metrics["kl"].tolist() == [[3.0, 1.0], [6.0, 2.0]]


def test_other_clips_cannot_be_paired(make_sweep):
    first = make_sweep("threshold", kl=(1.0, 1.0))
    other = replace(make_sweep("top-r", kl=(1.0, 1.0)), clips=("clip1", "clip0"))

    with pytest.raises(ValueError, match="top-r was swept over other clips than threshold"):
        merge_seeds([first, other])


def test_seeds_with_other_numbers_of_knobs_are_refused(make_sweep):
    two = make_sweep("gumbel", spent=(0.1, 0.4), kl=(2.0, 1.0))
    three = make_sweep("gumbel", spent=(0.1, 0.2, 0.4), kl=(2.0, 1.5, 1.0))

    with pytest.raises(ValueError, match=r"gumbel: every seed needs as many knobs, got \[2, 3\]"):
        merge_seeds([two, three])
