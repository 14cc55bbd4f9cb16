import numpy as np
import pytest

from policy.compare.bootstrap import (
    resample_counts,
    t_interval,
    weighted_mean,
    why_no_interval,
)


def test_row_0_holds_every_clip_once():
    counts = resample_counts(("a", "a", "b"), resamples=5, seed=0)

    assert counts.shape == (6, 3)
    assert counts[0].tolist() == [1, 1, 1]


def test_groups_are_drawn_with_all_their_clips():
    groups = ("a", "a", "b", "b", "b", "c")
    counts = resample_counts(groups, resamples=200, seed=0)[1:]

    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 2] == counts[:, 3]).all() and (counts[:, 3] == counts[:, 4]).all()
    assert (counts[:, [0, 2, 5]].sum(axis=1) == 3).all()  # three draws of three groups
    assert (counts == 0).any()


def test_a_seed_repeats_its_resamples():
    first, again, other = (resample_counts(("a", "b", "c"), 50, seed) for seed in (1, 1, 2))

    assert (first == again).all()
    assert (first != other).any()


def test_means_leave_out_clips_without_a_value():
    counts = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0], [0.0, 0.0, 3.0]])
    values = np.array([1.0, 3.0, np.nan])

    # (1 + 3) / 2; two of the first; only the clip without a value
    assert weighted_mean(counts, values)[:2].tolist() == [2.0, 1.0]
    assert np.isnan(weighted_mean(counts, values)[2])


def test_the_interval_of_three_groups_is_students():
    """Resamples at 4 and 6 around 5: an error of sqrt(2), times sqrt(3 / 2); t is 4.303."""
    low, high, reached = t_interval(np.array([[5.0], [4.0], [6.0]]), groups=3)

    assert (5 - low[0], high[0] - 5) == pytest.approx((7.453, 7.453), abs=1e-3)
    assert reached[0] == 1


def test_what_all_resamples_share_has_no_width():
    low, high, _ = t_interval(np.full((50, 1), 0.1), groups=4)

    assert (low[0], high[0]) == (0.1, 0.1)


@pytest.mark.parametrize(("missing", "has_interval"), [(4, True), (6, False)])
def test_interval_needs_95_of_100_resamples(missing, has_interval):
    resampled = np.arange(101.0)
    resampled[1 : 1 + missing] = np.nan

    low, _, reached = t_interval(resampled[:, None], groups=9)

    assert np.isfinite(low[0]) == has_interval
    assert reached[0] == 1 - missing / 100


@pytest.mark.parametrize("resamples", [0, 1])
def test_one_resample_carries_no_interval(resamples):
    low, high, _ = t_interval(np.ones((1 + resamples, 1)), groups=9)

    assert np.isnan([low[0], high[0]]).all()


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        (("a",), "none, one clip says nothing about another"),
        (("a", "a"), "none, all 2 clips come from one group (a)"),
    ],
)
def test_one_clip_or_one_group_carries_no_interval(groups, reason):
    assert why_no_interval(groups) == reason


def test_two_groups_carry_an_interval():
    assert why_no_interval(("a", "b")) is None


@pytest.mark.parametrize("groups", [3, 6, 30])
def test_the_interval_covers_the_mean_about_95_times_in_100(groups):
    rng = np.random.default_rng(0)
    trials, clips = 400, 2
    names = tuple(f"group {i // clips}" for i in range(groups * clips))
    scene = np.repeat(rng.normal(size=(trials, groups)), clips, axis=1)
    values = scene + 0.5 * rng.normal(size=(trials, groups * clips))

    covered = 0
    for trial in range(trials):
        means = weighted_mean(resample_counts(names, 400, seed=trial), values[trial])
        low, high, _ = t_interval(means[:, None], groups)
        covered += bool(low[0] <= 0 <= high[0])

    # Two standard errors of a share of 400 trials are 0.022.
    assert 0.925 <= covered / trials <= 0.99


def test_resampling_clips_alone_would_cover_far_less():
    rng = np.random.default_rng(0)
    trials, groups, clips = 100, 10, 10
    lone = tuple(str(i) for i in range(groups * clips))
    covered = 0
    for trial in range(trials):
        values = np.repeat(rng.normal(size=groups), clips) + 0.1 * rng.normal(size=groups * clips)
        means = weighted_mean(resample_counts(lone, 200, seed=trial), values)
        low, high, _ = t_interval(means[:, None], len(lone))
        covered += bool(low[0] <= 0 <= high[0])

    assert covered / trials < 0.7
