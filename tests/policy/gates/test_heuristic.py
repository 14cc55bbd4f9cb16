"""Decisions of the gates without weights, small enough to count."""

import math

import pytest
import torch

from datamodules.errors import RegateError
from policy.gates import (
    AlwaysRecompute,
    CosineGate,
    Masks,
    NeverRecompute,
    PeriodicGate,
    RandomGate,
    ThresholdGate,
    TopRGate,
)


def test_always_and_never(view):
    seen = view([[0.0, 9.0]], knob=0.0)
    assert AlwaysRecompute().decide(seen).recompute.tolist() == [[True, True]]
    assert NeverRecompute().decide(seen).recompute.tolist() == [[False, False]]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.0, [False, True, True, True]),
        (0.5, [False, False, True, True]),
        (1.0, [False, False, False, True]),  # strictly further
        (9.0, [False, False, False, False]),
    ],
)
def test_threshold_recomputes_exactly_the_patches_that_moved_further(view, threshold, expected):
    gate = ThresholdGate(threshold)
    decision = gate.decide(view([[0.0, 0.25, 1.0, 2.0]], gate.knob))

    assert decision.recompute.tolist() == [expected]


def test_a_threshold_gates_score_is_what_its_knob_is_compared_with(view):
    gate = ThresholdGate()
    score = gate.decide(view([[1.0, math.e]], gate.knob)).score
    assert score.tolist() == [pytest.approx([0.0, 1.0], abs=1e-6)]


def test_each_stream_has_a_threshold_of_its_own(view):
    seen = view([[1.0, 3.0]] * 2, knob=[math.log(2), math.log(4)])
    assert ThresholdGate().decide(seen).recompute.tolist() == [[False, True], [False, False]]


def test_offsets_move_the_threshold_of_each_block(view):
    """A block whose tokens drift e times as far as usual gets an offset of 1."""
    gate = ThresholdGate(2.0, Masks.PER_BLOCK, offsets=[0.0, 1.0])
    distances = [[1.9, 2.1, 5.3, 5.6]]  # 2 e is 5.44
    first = gate.decide(view(distances, gate.knob, block=0)).recompute
    second = gate.decide(view(distances, gate.knob, block=1)).recompute

    assert first.tolist() == [[False, True, True, True]]
    assert second.tolist() == [[False, False, False, True]]


def test_a_negative_threshold_is_rejected():
    with pytest.raises(RegateError, match="threshold must be >= 0, got -1"):
        ThresholdGate(-1.0)


@pytest.mark.parametrize(("threshold", "turned"), [(0.5, False), (0.2, True)])
def test_cosine_sees_direction_and_not_length(view, threshold, turned):
    """From (1, 1, 1, 1) to (9, 1, 1, 1) 1 - cosine is 1 - 12 / (2 sqrt(84)) = 0.345."""
    gate = CosineGate(threshold)
    seen = view([[0.0, 0.0, 8.0]], gate.knob)
    seen.tokens[0, 1] *= 5  # longer, but in the same direction
    assert gate.decide(seen).recompute.tolist() == [[False, False, turned]]


def test_cosine_honours_offsets_too(view):
    gate = CosineGate(0.2, Masks.PER_BLOCK, offsets=[0.0, math.log(2)])
    decisions = [gate.decide(view([[8.0]], gate.knob, block=block)) for block in (0, 1)]
    assert [bool(decision.recompute) for decision in decisions] == [True, False]  # 0.345 and 0.4


def test_top_r_recomputes_the_patches_that_moved_most(view):
    seen = view([[3.0, 0.0, 2.0, 1.0]], knob=0.5)
    assert TopRGate(0.5).decide(seen).recompute.tolist() == [[True, False, True, False]]


def test_top_r_settles_ties_by_position(view):
    seen = view([[1.0, 1.0, 1.0, 1.0]], knob=0.5)
    assert TopRGate(0.5).decide(seen).recompute.tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.3, 0.35, 0.7, 1.0])
def test_top_r_carries_what_a_frame_cannot_spend(view, fraction):
    """Of 5 patches 0.35 are 1.75: one or two on each frame, 35 on twenty."""
    distances = torch.rand(1, 5)
    counts = [
        int(TopRGate().decide(view(distances, fraction, frame=frame)).recompute.sum())
        for frame in range(1, 21)
    ]

    assert sum(counts) == pytest.approx(20 * 5 * fraction, abs=1)
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("fraction", [0.04, 0.1, 0.25, 0.3, 1 / 3, 0.7, 1.0])
@pytest.mark.parametrize("block", [0, 5])
def test_periodic_refreshes_each_patch_in_turn(view, fraction, block):
    still = torch.zeros(1, 49)
    masks = torch.cat(
        [
            PeriodicGate().decide(view(still, fraction, frame=frame, block=block)).recompute
            for frame in range(1, 201)
        ]
    ).double()  # [frames, patches]

    assert masks.mean() == pytest.approx(fraction, abs=0.01)
    per_frame = masks.sum(1)
    assert per_frame.max() - per_frame.min() <= 4, "the work must be spread over the frames"
    longest = math.ceil(1 / fraction) + 1
    for start in range(200 - longest):
        assert masks[start : start + longest].any(0).all()


def test_periodic_gives_patches_and_blocks_different_turns(view):
    still = torch.zeros(1, 8)
    first, second = (
        PeriodicGate().decide(view(still, 0.5, block=block)).recompute for block in (0, 1)
    )
    assert first.any() and not first.all() and not torch.equal(first, second)


def test_random_meets_its_share_and_draws_anew_on_each_frame_and_block(view):
    still = torch.zeros(1, 2500)
    masks = {
        (frame, block): RandomGate().decide(view(still, 0.3, frame=frame, block=block)).recompute
        for frame in (1, 2)
        for block in (0, 1)
    }
    for mask in masks.values():
        assert mask.float().mean() == pytest.approx(0.3, abs=0.03)
    both = (masks[1, 0] & masks[2, 0]).float().mean()
    assert both == pytest.approx(0.09, abs=0.02), "frames must be independent"
    assert (masks[1, 0] & masks[1, 1]).float().mean() == pytest.approx(0.09, abs=0.02)


def test_random_is_the_same_alone_and_in_a_batch(view):
    together = RandomGate().decide(view(torch.zeros(3, 64), 0.5, seed=4)).recompute
    for stream in range(3):
        alone = RandomGate().decide(view(torch.zeros(1, 64), 0.5, seed=4 + stream)).recompute
        assert torch.equal(alone[0], together[stream])
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("fraction", [0.0, 1.0])
@pytest.mark.parametrize("gate", [RandomGate, PeriodicGate, TopRGate])
def test_the_ends_of_a_share_are_nothing_and_everything(view, gate, fraction):
    for frame in (1, 2, 1_000_003):
        decision = gate(fraction).decide(view(torch.rand(2, 9), fraction, frame=frame))
        assert decision.recompute.float().mean() == fraction


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
@pytest.mark.parametrize("gate", [RandomGate, PeriodicGate, TopRGate])
def test_a_share_outside_the_unit_interval_is_rejected(gate, fraction):
    expected = rf"{gate.__name__} takes a fraction of the patches in \[0, 1\], got {fraction}"
    with pytest.raises(RegateError, match=expected):
        gate(fraction)


@pytest.mark.parametrize(
    ("gate", "macs"),
    [
        (RandomGate(), 0),
        (PeriodicGate(), 0),
        (TopRGate(), 64),
        (ThresholdGate(), 64),
        (CosineGate(), 192),
    ],
)
def test_gates_declare_their_elementwise_work(gate, macs):
    assert gate.macs(0, dim=64) == macs
