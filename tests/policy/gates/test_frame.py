"""Gates that repeat the last output instead of computing a frame."""

import pytest
import torch

from policy.gates import FrameSkipGate, HoldGate
from policy.state import GateState


def computed(rate, frames, phase=0.0):
    """On which frames after the first a stream is computed."""
    gate = FrameSkipGate()
    state = GateState.fresh(torch.zeros(1, dtype=torch.int64), patches=1)
    knob = torch.tensor([rate], dtype=torch.float64)
    held = []
    for _ in range(frames):
        state = state.after(state.last)
        held.append(bool(gate.hold(state, knob, phase)))
    return [not hold for hold in held]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0.0, [False] * 8),
        (0.25, [False, False, False, True] * 2),
        (0.5, [False, True] * 4),
        (0.75, [False, True, True, True] * 2),
        (1.0, [True] * 8),
    ],
)
def test_computed_frames_are_spread_evenly(rate, expected):
    assert computed(rate, 8) == expected


def test_a_phase_brings_the_first_turn_forward():
    assert computed(0.25, 8, phase=0.5) == [False, True, False, False] * 2


@pytest.mark.parametrize("percent", [1, 7, 10, 29, 30, 35, 57, 70, 99])
def test_no_frame_is_lost_to_rounding(percent):
    """In floating point 100 · 0.29 is under 29; a test per frame must still find 29 in 100."""
    assert sum(computed(percent / 100, 1000)) in (10 * percent - 1, 10 * percent)


def test_streams_skip_by_knobs_of_their_own():
    state = GateState.fresh(torch.arange(3), patches=1)
    state = state.after(state.last)
    held = FrameSkipGate().hold(state, torch.tensor([0.0, 0.5, 1.0]), 0.0)
    assert held.tolist() == [True, True, False]


def test_hold_holds_every_stream():
    state = GateState.fresh(torch.arange(2), patches=1)
    assert HoldGate().hold(state, torch.zeros(2), 0.0).tolist() == [True, True]
