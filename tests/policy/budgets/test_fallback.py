"""A learned gate against the threshold that it contains, on the calibration clips."""

import numpy as np
import pytest
import torch

from datamodules.synthetic import SyntheticClips
from policy.budgets.fallback import verdicts, with_fallback
from policy.budgets.pacing import with_paces
from policy.budgets.search import calibrate
from policy.budgets.table import Calibration
from policy.compare.records import Sweep
from policy.gates import ThresholdGate
from policy.gates.learned import LearnedGate

GROUPS = tuple("aabbccddeeff")


def swept(kl, spent=(0.1, 0.4), groups=GROUPS):
    """A sweep of twelve clips from one row per clip or one for all, [k]."""
    shape = (len(groups), len(spent))
    values = np.broadcast_to(np.asarray(kl, dtype=float), shape).copy()
    spends = np.broadcast_to(spent, shape).copy()
    clips = tuple(f"clip{index}" for index in range(len(groups)))
    return Sweep(
        "gate", 0, np.zeros(len(spent)), spends, spends, {"kl": values}, {}, 1e9, clips, groups
    )


CLIP = np.arange(1.0, 13.0)[:, None]


def test_a_gate_that_halves_the_distance_of_every_clip_is_favoured():
    (low, high) = verdicts(swept(CLIP * [1.0, 0.5]), swept(CLIP * [2.0, 1.0]), (0.1, 0.4))

    assert (low.budget, low.difference) == (0.1, pytest.approx(-6.5))
    assert high.difference == pytest.approx(-3.25)
    # However much the clips differ: the factor is the same on all.
    assert low.interval == pytest.approx((-6.5, -6.5))
    assert low.favours and high.favours


def test_both_are_read_at_the_same_macs():
    """The gate spends 0.1 where the threshold spends 0.2: half-way down its curve."""
    theirs = swept(CLIP * [2.0, 1.0], spent=(0.2, 0.8))

    (at,) = verdicts(swept(CLIP * [3.0, 1.0], spent=(0.1, 0.4)), theirs, (0.2,))

    assert at.difference == pytest.approx(0.0)
    assert not at.favours


def test_a_gate_that_is_better_on_half_of_the_groups_is_not():
    mixed = np.where(np.isin(GROUPS, list("ace"))[:, None], -1.0, 1.0)

    (at,) = verdicts(swept(10 + mixed), swept(10 * np.ones_like(mixed)), (0.1,))

    assert at.interval[0] < 0 < at.interval[1]
    assert not at.favours


def test_where_one_does_not_reach_or_there_is_one_group_nothing_is_shown():
    better, theirs = swept(CLIP * [1.0, 0.5]), swept(CLIP * [2.0, 1.0], spent=(0.2, 0.4))
    (at,) = verdicts(better, theirs, (0.1,))
    assert (at.difference, at.interval, at.favours) == (None, None, False)

    one = tuple("aaaa")
    (at,) = verdicts(swept([1.0, 0.5], groups=one), swept([2.0, 1.0], groups=one), (0.1,))
    assert (at.difference, at.interval, at.favours) == (pytest.approx(-1.0), None, False)


@pytest.fixture(scope="module")
def clips():
    data = SyntheticClips(num_frames=4, calibration_clips=6).dataset("calibration")
    return [data[index] for index in range(len(data))]


def test_a_gate_with_bad_habits_falls_back_to_the_threshold_at_its_own_settings(digits, clips):
    torch.manual_seed(0)
    gate = LearnedGate(digits.dim, digits.depth)
    torch.nn.init.normal_(gate.admit[2].weight, std=5.0)
    frames = [clip.frames for clip in clips[:2]]
    plain = calibrate(digits, gate, frames, (0.2,), "two clips")
    told = []

    judged = with_fallback(
        digits, gate, clips[:2], iter(clips), plain, (0.2,), lambda: told.append(1)
    )

    assert len(told) == 6
    assert (judged.fallback.clips, judged.fallback.groups) == (6, len({c.group for c in clips}))
    assert [verdict.budget for verdict in judged.fallback.verdicts] == list(plain.spent)
    theirs = calibrate(digits, ThresholdGate(), frames, (0.2,), "two clips")
    assert judged.fallback.calibration == theirs
    assert judged.falls_back(0.2) and judged.knob(0.2) == theirs.knob(0.2)
    gate.calibration = judged
    assert gate.setting(0.2).gate.name == "threshold"


def test_a_paced_table_is_set_against_a_paced_threshold(digits, clips):
    gate = LearnedGate(digits.dim, digits.depth)
    table = Calibration((0.1, 0.3), (0.0, -1.0), 0.02, "by hand", (0.5, 1.0))

    judged = with_fallback(digits, gate, clips[:2], clips[:3], table, (0.2,))

    plain = calibrate(digits, ThresholdGate(), [c.frames for c in clips[:2]], (0.2,), "by hand")
    assert judged.fallback.calibration == with_paces(digits, ThresholdGate(), clips[:2], plain)


def test_a_heuristic_is_left_as_it_is(digits, clips):
    table = Calibration((0.1, 0.3), (0.0, -1.0), 0.02)
    assert with_fallback(digits, ThresholdGate(), clips, clips, table) is table
