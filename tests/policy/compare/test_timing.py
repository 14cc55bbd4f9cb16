"""Latencies, with clocks that a test can set."""

from dataclasses import astuple

import pytest
import torch

from policy import device
from policy.compare import timing
from policy.compare.timing import Timed, latencies
from policy.policies import build_gate


def test_the_dense_first_frame_is_not_counted_and_policies_take_turns(
    backbone, make_frames, monkeypatch
):
    clock = [0.0]
    turns = []

    def step_of(entry, seconds):
        def step(frame):
            turns.append(entry)
            clock[0] += next(seconds)

        return step

    costs = {"slow": iter([9.0, 0.010, 0.030]), "fast": iter([9.0, 0.002, 0.002])}
    monkeypatch.setattr(
        timing, "_step", lambda _, entry, phase: step_of(entry.policy, costs[entry.policy])
    )
    monkeypatch.setattr(device.time, "perf_counter", lambda: clock[0])
    told = []

    found = latencies(
        backbone,
        [Timed("slow", None, None, 0.0), Timed("fast", None, None, 0.0)],
        [make_frames(backbone, 3)[:, 0]],
        lambda: told.append(1),
    )

    assert turns == ["slow", "fast"] * 3
    assert astuple(found[0]) == pytest.approx((20, 20, 29))  # of 10 and 30 ms
    assert astuple(found[1]) == pytest.approx((2, 2, 2))
    assert len(told) == 3


def test_a_gate_is_timed_at_its_knob_and_dense_is_the_untouched_model(backbone, make_frames):
    seen = []
    gate = build_gate("top-r")
    decide = gate.decide
    gate.decide = lambda view: (seen.append(view.knob.item()), decide(view))[1]
    calls = []
    backbone.register_forward_hook(lambda *_: calls.append(1))

    found = latencies(
        backbone,
        [Timed("dense", None, None, 0.0), Timed("top-r", 0.4, gate, 0.25)],
        [make_frames(backbone, 4)[:, 0]],
        lambda: None,
    )

    assert seen == [0.25] * 3
    assert len(calls) == 4
    assert all(0 < taken.p50 <= taken.p95 for taken in found)
    assert not torch.is_inference_mode_enabled()


def test_each_clip_begins_a_new_stream(backbone, make_frames):
    asked = []
    gate = build_gate("threshold")
    decide = gate.decide
    gate.decide = lambda view: (asked.append(view.state.frame.item()), decide(view))[1]
    clips = [make_frames(backbone, 3)[:, 0], make_frames(backbone, 2)[:, 0]]

    latencies(backbone, [Timed("threshold", 0.4, gate, 0.0)], clips, lambda: None)

    assert asked == [1, 2, 1]
