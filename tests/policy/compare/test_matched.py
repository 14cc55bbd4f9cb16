import time

import numpy as np
import pytest

from policy.compare.matched import compare
from policy.compare.records import METRICS, Operating, Sweep
from policy.compare.results import best_heuristic


def row(results, policy, budget):
    return next(r for r in results.rows if (r.policy, r.budget) == (policy, budget))


def entry(results, against, metric="kl", budget=0.2):
    return next(
        e for e in results.paired if (e.against, e.metric, e.budget) == (against, metric, budget)
    )


def test_point_values_are_the_datas_own(comparison):
    # Mean of 1, 2, 3, 4 is 2.5; half-way between its double and itself.
    assert row(comparison, "threshold", 0.2).metrics["kl"].value == pytest.approx(3.75)
    assert row(comparison, "threshold", 0.4).metrics["kl"].value == pytest.approx(2.5)
    assert row(comparison, "threshold", 0.2).metrics["agreement"].value == pytest.approx(0.6)


def test_policies_without_a_knob_come_first_and_once(comparison):
    assert [(r.policy, r.budget) for r in comparison.rows[:3]] == [
        ("dense", None),
        ("hold", None),
        ("threshold", 0.2),
    ]
    assert len(comparison.rows) == 2 + 2 * 3
    assert row(comparison, "hold", None).spent == 0
    assert row(comparison, "dense", None).ms_p50 == 10


def test_a_row_holds_what_the_frozen_knob_spent(comparison):
    gumbel = row(comparison, "gumbel", 0.2)

    assert (gumbel.spent, gumbel.macs, gumbel.knob) == (0.21, 0.21e9, 0.7)
    assert (gumbel.ms_mean, gumbel.ms_p50, gumbel.ms_p95) == (5.5, 4.5, 5.5)
    assert gumbel.state_bytes == 3_600_000


def test_more_than_2_percent_off_the_budget_is_called_interpolated(comparison):
    assert not row(comparison, "threshold", 0.2).interpolated
    assert row(comparison, "gumbel", 0.2).interpolated


def test_a_budget_out_of_reach_has_no_value_and_says_why(comparison):
    skip = row(comparison, "frame-skip", 0.2)

    assert skip.metrics["kl"].value is None
    assert skip.metrics["kl"].interval is None
    assert skip.note == "budget 0.2 is out of reach: it spends 0.3 to 0.6 of dense"
    assert entry(comparison, "frame-skip").difference is None
    assert not entry(comparison, "frame-skip").wins


def test_an_interval_needs_the_budget_in_nearly_all_resamples(make_sweep):
    # Only resamples with both clips reach 0.2: one clip alone spends 0.1 or 0.3 at least.
    sweep = make_sweep(spent=[[0.1, 0.15], [0.3, 0.4]], kl=(2.0, 1.0))

    found = row(compare([sweep], [], [0.25], {}), "threshold", 0.25)

    assert found.metrics["kl"].value is not None
    assert found.metrics["kl"].interval is None
    assert found.note.startswith("no interval at 0.25: only ")


def test_two_groups_of_identical_clips_have_no_width(make_sweep):
    sweep = make_sweep(spent=(0.1, 0.4), groups=("a", "a", "b"), kl=(2.0, 1.0))

    value = row(compare([sweep], [], [0.2], {}, resamples=200), "threshold", 0.2).metrics["kl"]

    assert value.interval == pytest.approx((1.5, 1.5))


def test_identical_policies_differ_by_exactly_0_in_every_resample(make_sweep):
    rng = np.random.default_rng(0)
    groups = [f"scene {i // 3}" for i in range(21)]
    spent = np.sort(rng.uniform(0.05, 1, (21, 9)), axis=1)
    kl = rng.uniform(0, 2, (21, 9))
    twins = [
        make_sweep(name, spent, groups, learned=name == "gumbel", kl=kl)
        for name in ("threshold", "gumbel")
    ]

    difference = entry(compare(twins, [], [0.5], {}), "threshold", budget=0.5)

    assert difference.difference == 0
    assert difference.interval == (0, 0)
    assert not difference.wins


def test_pairing_finds_a_difference_that_separate_intervals_hide(comparison):
    # KL differs fourfold between clips, but the learned policy halves it on each.
    difference = entry(comparison, "threshold")
    learned, heuristic = (
        row(comparison, name, 0.2).metrics["kl"] for name in ("gumbel", "threshold")
    )

    assert difference.difference == pytest.approx(-1.875)
    assert difference.interval[1] < 0
    assert difference.wins
    assert learned.interval[1] > heuristic.interval[0]


def test_an_interval_that_touches_0_is_no_win(comparison):
    agreement = entry(comparison, "threshold", "agreement")

    assert agreement.interval == (0, 0)
    assert not agreement.wins


@pytest.mark.parametrize("metric", list(METRICS))
def test_a_win_is_in_the_metrics_good_direction(make_sweep, metric):
    low, high = ((0.5, 0.5), (0.75, 0.75))
    better, worse = (high, low) if METRICS[metric].higher_is_better else (low, high)
    lower_is_better = metric in ("kl", "excess_flips")
    assert METRICS[metric].higher_is_better is not lower_is_better
    sweeps = [
        make_sweep("good", **{metric: better}),
        make_sweep("bad", **{metric: worse}),
    ]

    results = compare(sweeps, [], [0.2], {}, subjects=["good", "bad"])

    assert {(e.policy, e.wins) for e in results.paired} == {("good", True), ("bad", False)}


def test_one_group_gives_values_without_intervals(make_sweep):
    sweeps = [make_sweep(name, groups=("a", "a"), kl=(2.0, 1.0)) for name in ("top-r", "cosine")]

    results = compare(sweeps, [], [0.2, 0.4], {}, subjects=["top-r"])

    assert all(r.metrics["kl"].interval is None for r in results.rows)
    assert row(results, "top-r", 0.2).metrics["kl"].value == pytest.approx(1.5)
    assert results.meta["interval"] == "none, all 2 clips come from one group (a)"
    assert results.paired[0].interval is None
    assert not results.paired[0].wins


def test_metrics_without_labels_are_left_out(make_sweep):
    results = compare([make_sweep(kl=(2.0, 1.0), accuracy=(np.nan, np.nan))], [], [0.2], {})

    assert list(row(results, "threshold", 0.2).metrics) == ["kl"]


def test_accuracy_counts_the_labelled_clips_only(make_sweep):
    sweep = make_sweep(
        groups=("a", "b", "c"), kl=(2.0, 1.0), accuracy=[[0.2, 0.2], [0.4, 0.4], [np.nan, np.nan]]
    )

    accuracy = row(compare([sweep], [], [0.2], {}), "threshold", 0.2).metrics["accuracy"]

    assert accuracy.value == pytest.approx(0.3)


def test_area_is_taken_where_all_policies_reach(make_sweep):
    sweeps = [
        make_sweep("threshold", spent=(0.1, 0.4), kl=(2.0, 1.0)),
        make_sweep("top-r", spent=(0.05, 0.2), kl=(4.0, 2.0)),
        make_sweep("frame-skip", spent=(0.35, 0.8), kl=(4.0, 2.0)),
    ]

    area = {a.policy: a for a in compare(sweeps, [], [0.1, 0.4], {}).area}

    assert (area["threshold"].low, area["threshold"].high) == pytest.approx((0.1, 0.2))
    assert area["threshold"].metrics["kl"].value == pytest.approx(1.75)  # from 2 to 1.5
    assert area["top-r"].metrics["kl"].value == pytest.approx(2.5)  # from 3 to 2
    assert area["top-r"].metrics["kl"].interval == pytest.approx((2.5, 2.5))
    assert area["frame-skip"].metrics == {}
    assert area["frame-skip"].note == (
        "left out for reaching less than half of the budgets' range: it spends 0.35 to 0.8 of dense"
    )


def test_area_keeps_to_the_budgets_where_policies_reach_further(make_sweep):
    sweep = make_sweep(spent=(0.05, 0.8), kl=(5.0, 1.0))  # 1 less per octave

    (area,) = compare([sweep], [], [0.2, 0.4], {}).area

    assert (area.low, area.high) == pytest.approx((0.2, 0.4))
    assert area.metrics["kl"].value == pytest.approx(2.5)  # from 3 to 2


def test_one_budget_has_no_area(make_sweep):
    area = compare([make_sweep(kl=(2.0, 1.0))], [], [0.2], {}).area

    assert [(a.metrics, a.note) for a in area] == [({}, "one budget is no range")]


def test_without_a_learned_policy_the_best_heuristic_is_set_against_the_others(make_sweep):
    sweeps = [make_sweep("top-r", kl=(3.0, 2.0)), make_sweep("cosine", kl=(2.0, 1.0))]

    results = compare(sweeps, [], [0.1, 0.4], {})

    assert best_heuristic(results.area, results.rows) == "cosine"
    assert {(e.policy, e.against) for e in results.paired} == {("cosine", "top-r")}


def test_seeds_measured_apart_are_averaged_in_the_row(make_sweep):
    sweeps = [make_sweep("gumbel", learned=True, kl=(2.0, 1.0)) for _ in range(2)]
    operating = [
        Operating("gumbel", 0.2, 1.0, 0.19, ms_p50=2.0, state_bytes=10),
        Operating("gumbel", 0.2, 3.0, 0.21, ms_p50=4.0, state_bytes=10),
    ]

    found = row(compare(sweeps, operating, [0.2], {}), "gumbel", 0.2)

    assert (found.knob, found.spent, found.ms_p50) == pytest.approx((2.0, 0.2, 3.0))
    assert (found.ms_p95, found.state_bytes) == (None, 10)


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="nothing to compare: no policy was swept"):
        compare([], [], [0.2], {})


def test_a_full_comparison_takes_seconds():
    rng = np.random.default_rng(0)
    clips, knobs = 60, 9
    shape = (clips, knobs)
    sweeps = [
        Sweep(
            policy=f"policy-{i}",
            seed=0,
            knobs=np.arange(knobs, dtype=float),
            spent=np.geomspace(0.05, 1, knobs) * rng.uniform(0.8, 1.2, shape),
            spent_with_first=np.ones(shape),
            metrics={name: rng.random(shape) for name in METRICS},
            over_frames={name: rng.random((11, knobs)) for name in ("kl", "agreement", "spent")},
            dense_macs=1e9,
            clips=tuple(map(str, range(clips))),
            groups=tuple(f"scene {j % 12}" for j in range(clips)),
            learned=i < 2,
        )
        for i in range(17)
    ]

    start = time.perf_counter()
    results = compare(sweeps, [], [0.1, 0.2, 0.35, 0.5], {})

    assert len(results.rows) == 17 * 4
    assert len(results.paired) == 2 * 16 * 4 * len(METRICS)
    assert time.perf_counter() - start < 10  # about half a second on one core
