"""The threshold whose agent prefers some patches: what its actions do, and what it remembers."""

import math

import pytest
import torch
from torch import nn

from policy.gates import ThresholdGate
from policy.gates.observation import Memo
from policy.gates.selective import AGE, COHERENCE, SelectiveGate
from policy.gates.steered import SteeredGate
from policy.session import ReuseSession


def steered(gate, offset=0.0, coherence=0.0, age=0.0, refresh=0.0, streams=1):
    gate.steer(torch.tensor([[offset, coherence, age, refresh]]).expand(streams, -1))
    return gate


def relative(decision, knob):
    """Scores minus the knob, rounded for comparison."""
    return [round(value, 3) for value in (decision.score - knob).flatten().tolist()]


def test_action_0_is_the_threshold_to_the_last_bit(backbone, make_frames):
    results = []
    for gate in (SelectiveGate(), ThresholdGate()):
        session = ReuseSession(backbone, gate)
        session.knob = torch.tensor([0.0, 1.0, 2.0])
        results.append([session.step(frame) for frame in make_frames(backbone, 5, streams=3)])

    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours.recompute, theirs.recompute)
        assert torch.equal(ours.logits, theirs.logits)
        assert torch.equal(ours.spent, theirs.spent)


def test_offset_and_refresh_are_those_of_the_steered_gate(backbone, make_frames):
    actions = torch.tensor([[0.3, 0.0], [-0.4, 0.0], [0.0, 1.0]])
    ours, theirs = SelectiveGate(), SteeredGate()
    ours.steer(torch.stack([actions[:, 0], *torch.zeros(2, 3), actions[:, 1]], dim=1))
    theirs.steer(actions)
    results = []
    for gate in (ours, theirs):
        session = ReuseSession(backbone, gate)
        session.knob = 1.0
        frames = make_frames(backbone, 4, streams=3)
        results.append([session.step(frame).recompute for frame in frames])
        results[-1].append(
            gate.observation(session.preview(frames[0]))[:, : theirs.observation_size]
        )

    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_coherence_takes_a_share_of_the_score_from_the_neighbourhood(view):
    """In a row of three, log drifts 0, 2 and 1 about a knob of 0."""
    seen = view([[1.0, math.e**2, math.e]], knob=0.0, memo=torch.zeros(1, 6))

    decision = steered(SelectiveGate(), coherence=0.5).decide(seen)

    share = 0.5 * COHERENCE  # neighbourhoods: (0 + 2) / 2, (0 + 2 + 1) / 3, (2 + 1) / 2
    assert relative(decision, 0.0) == pytest.approx(
        [0 + share * 1, 2 + share * (1 - 2), 1 + share * (1.5 - 1)], abs=2e-3
    )


def test_a_patch_that_moves_alone_is_left_and_one_among_others_is_not(view):
    alone = [[0.2] * 4, [0.2, 1.2, 0.2, 0.2], [0.2] * 4, [0.2] * 4]
    among = [[2.0] * 4, [2.0, 0.9, 2.0, 2.0], [2.0] * 4, [2.0] * 4]
    shown = torch.tensor([alone, among]).flatten(1)
    seen = view(shown, knob=0.0, grid=(4, 4), memo=torch.zeros(2, 6))

    without = steered(SelectiveGate(), streams=2).decide(seen).recompute[:, 5]
    with_it = steered(SelectiveGate(), coherence=1.0, streams=2).decide(seen).recompute[:, 5]

    assert without.tolist() == [True, False]
    assert with_it.tolist() == [False, True]


def test_age_moves_old_and_new_patches_apart_and_their_mean_not(view):
    ages = torch.tensor([[0.0, math.e**2 - 1]])  # logarithms 0 and 2
    seen = view([[1.0, 1.0]], knob=0.0, age=ages, memo=torch.zeros(1, 6))

    decision = steered(SelectiveGate(), age=0.5).decide(seen)

    assert relative(decision, 0.0) == pytest.approx([-0.5 * AGE, 0.5 * AGE], abs=1e-3)


def test_preferences_are_remembered_and_observed_beside_what_the_steered_gate_knows(
    backbone, make_frames
):
    gate = steered(SelectiveGate(), offset=0.25, coherence=0.5, age=-0.75, streams=2)
    session = ReuseSession(backbone, gate)
    session.knob = 1.0
    frames = make_frames(backbone, 4, streams=2)
    results = [session.step(frame) for frame in frames[:3]]

    seen = gate.observation(session.preview(frames[3]))
    names = [field.name for field in gate.observation_fields]

    assert seen.shape == (2, gate.observation_size)
    told = dict(zip(names, seen[0].tolist(), strict=True))
    assert told["action_0"] == 0.25 and told["action_coherence"] == 0.5
    assert told["action_age"] == -0.75 and told["action_refresh"] == 0
    assert told["spent"] == pytest.approx(results[-1].spent[0].item(), abs=1e-6)
    memo = Memo.unpack(session.state.gate.memo[:, 2:], 1)
    later = torch.stack([result.spent for result in results[1:]]).float()
    assert torch.allclose(memo.mean_spent[:, 0], later.mean(0))


def test_it_is_charged_for_its_actor_and_its_preferences():
    gate = SelectiveGate()
    assert gate.macs(0, 100) == 100 and gate.frame_macs == 0

    gate.actor = nn.Linear(gate.observation_size, gate.action_size)
    assert gate.macs(0, 100) == 100 + 16 + 14
    assert gate.frame_macs == gate.observation_size * 4
