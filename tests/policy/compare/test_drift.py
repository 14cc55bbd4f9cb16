"""Quality frame by frame after the dense one."""

from dataclasses import replace

import numpy as np
import pytest

from policy.compare.matched import compare
from policy.compare.records import Operating


def sweep_with(make_sweep, policy, kl, **options):
    """A sweep whose KL goes over the frames as given, [t, k]."""
    kl = np.asarray(kl, dtype=float)
    made = make_sweep(policy, kl=(1.0,) * kl.shape[1], **options)
    over_frames = {"kl": kl, "agreement": np.exp(-kl), "spent": 1 / kl}
    return replace(made, over_frames=over_frames)


def test_each_policy_is_read_at_the_setting_of_the_budget(make_sweep):
    sweep = sweep_with(make_sweep, "threshold", [[1, 10], [2, 20]], spent=(0.1, 0.4))
    # One knob at two paces, so that the knob alone does not tell the setting.
    operating = [
        Operating("threshold", budget, 0.5, budget, column=column)
        for column, budget in enumerate((0.1, 0.4))
    ]

    low, high = compare([sweep], operating, [0.1, 0.4], {}).drift

    assert (low.policy, low.learned, low.budget, low.spent) == ("threshold", False, 0.1, 0.1)
    assert (low.kl, high.kl) == ([1, 2], [10, 20])
    assert low.agreement == pytest.approx([np.exp(-1), np.exp(-2)])
    assert (low.spent_by_frame, high.spent_by_frame) == ([1, 0.5], [0.1, 0.05])


def test_seeds_are_averaged_frame_by_frame(make_sweep):
    seeds = [
        sweep_with(make_sweep, "gumbel", kl, spent=(0.1, 0.4), learned=True)
        for kl in ([[9, 1], [9, 2]], [[9, 3], [9, 6]])
    ]
    operating = [Operating("gumbel", 0.2, knob, 0.2, column=1) for knob in (0.7, 0.9)]

    (found,) = compare(seeds, operating, [0.2], {}).drift

    assert found.learned and found.kl == [2, 4]


def test_a_policy_without_a_knob_drifts_too_and_a_budget_out_of_reach_is_left_out(make_sweep):
    sweeps = [
        sweep_with(make_sweep, "hold", [[1], [2]], spent=(0.0,)),
        sweep_with(make_sweep, "frame-skip", [[1, 1], [2, 2]], spent=(0.3, 0.6)),
    ]
    operating = [Operating("frame-skip", 0.4, 0.5, 0.4)]

    found = compare(sweeps, operating, [0.2, 0.4], {}).drift

    assert [(entry.policy, entry.budget) for entry in found] == [
        ("hold", None), ("frame-skip", 0.4)
    ]  # fmt: skip
