"""The steered threshold: what its actions do, what it remembers, what it costs."""

import pytest
import torch
from torch import nn

from datamodules.errors import RegateError
from policy.budgets.table import Calibration
from policy.gates import Masks, SteeredGate, ThresholdGate
from policy.gates.dictated import DictatedGate
from policy.gates.observation import Memo
from policy.session import ReuseSession


class Reflex(nn.Module):
    """An actor that answers to what it sees, differently for every stream."""

    def __init__(self, gate):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(gate.observation_size, gate.action_size)

    def forward(self, observations):
        return self.layer(observations).tanh()


def run(session, frames):
    return [session.step(frame) for frame in frames]


@pytest.mark.parametrize("masks", [Masks.SHARED, Masks.PER_BLOCK])
def test_action_0_is_the_threshold_to_the_last_bit(masks, backbone, make_frames):
    offsets = [0.0, 0.4, 0.9] if masks is Masks.PER_BLOCK else None
    steered = SteeredGate(groups=1 if offsets is None else 2, depth=3)
    steered.offsets = offsets
    threshold = ThresholdGate(masks=masks, offsets=offsets)
    frames = make_frames(backbone, 5, streams=3)
    knobs = torch.tensor([0.0, 1.0, 2.0])

    results = []
    for gate in (steered, threshold):
        session = ReuseSession(backbone, gate)
        session.knob = knobs
        results.append(run(session, frames))

    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours.recompute, theirs.recompute)
        assert torch.equal(ours.logits, theirs.logits)
        assert torch.equal(ours.spent, theirs.spent)


def test_a_full_action_lowers_the_threshold_by_two_in_log_drift(view):
    gate = SteeredGate()
    # Log drifts -0.5, 0.5, 1.5 and 2.5, held against a knob of 1.
    seen = view([[0.6065, 1.6487, 4.4817, 12.1825]] * 3, knob=1.0, memo=torch.zeros(3, 4))
    gate.steer(torch.tensor([[0.5, 0.0], [0.0, 0.0], [-0.6, 0.0]]))

    assert gate.decide(seen).recompute.tolist() == [
        [False, True, True, True],  # above 0
        [False, False, True, True],  # above 1
        [False, False, False, True],  # above 2.2
    ]


def test_a_refresh_recomputes_the_whole_frame_of_its_stream_only(view):
    gate = SteeredGate()
    seen = view([[0.1, 9.0]] * 2, knob=1.0, memo=torch.zeros(2, 4))
    gate.steer(torch.tensor([[0.0, 0.76], [0.0, 0.74]]))
    assert gate.decide(seen).recompute.tolist() == [[True, True], [False, True]]


def test_actions_beyond_one_count_as_one(view):
    gate = SteeredGate()
    seen = view([[0.1, 9.0]], knob=1.0, memo=torch.zeros(1, 4))
    gate.steer(torch.tensor([[-7.0, -7.0]]))
    decision = gate.decide(seen)
    assert decision.memo[0, :2].tolist() == [-1, -1]


def test_spent_and_action_are_written_down_per_stream(backbone, make_frames):
    gate = SteeredGate()
    session = ReuseSession(backbone, gate)
    session.knob = 1.0
    gate.steer(torch.tensor([[0.25, 0.0], [-0.5, 1.0]]))
    results = run(session, make_frames(backbone, 4, streams=2))

    memo = Memo.unpack(session.state.gate.memo, 1)
    later = torch.stack([result.spent for result in results[1:]]).float()
    assert memo.action.tolist() == [[0.25, 0.0], [-0.5, 1.0]]
    assert torch.allclose(memo.spent[:, 0], later[-1])
    assert torch.allclose(memo.mean_spent[:, 0], later.mean(0)), "the dense first frame is left out"


def test_the_first_frame_writes_down_no_action(backbone, make_frames):
    gate = SteeredGate()
    session = ReuseSession(backbone, gate)
    gate.steer(torch.ones(2, 2))
    frames = make_frames(backbone, 3, streams=2)
    session.step(frames[0])
    session.step(frames[1])
    session.reset(stream=1)  # so that one stream is overruled beside one that is not
    session.step(frames[2])

    memo = Memo.unpack(session.state.gate.memo, 1)
    assert memo.action.tolist() == [[1, 1], [0, 0]]
    assert memo.mean_spent[1] == 0


@pytest.mark.parametrize("groups", [1, 2])
def test_a_stream_decides_the_same_alone_and_beside_another(groups, backbone, make_frames):
    gate = SteeredGate(groups, depth=3)
    gate.actor = Reflex(gate)
    frames = make_frames(backbone, 5, streams=3)
    together, alone = ReuseSession(backbone, gate), ReuseSession(backbone, gate)
    together.knob, alone.knob = torch.tensor([0.0, 1.0, 2.0]), 1.0

    for frame in frames:
        both, one = together.step(frame), alone.step(frame[1])
        assert torch.equal(both.recompute[1], one.recompute[0])


def test_a_restored_state_goes_on_as_the_original_did(backbone, make_frames):
    gate = SteeredGate(2, depth=3)
    gate.actor = Reflex(gate)
    session = ReuseSession(backbone, gate)
    frames = make_frames(backbone, 5)
    run(session, frames[:3])
    kept = session.state.clone()
    first = run(session, frames[3:])
    session.state = kept
    for before, again in zip(first, run(session, frames[3:]), strict=True):
        assert torch.equal(before.recompute, again.recompute)


def test_the_actor_is_followed_dry_and_masked_as_it_is_served(backbone, make_frames):
    gate = SteeredGate()
    gate.actor = Reflex(gate)
    frames = make_frames(backbone, 5, streams=2)
    masks = []
    for execution in ("compact", "dry", "masked", "gathered"):
        session = ReuseSession(backbone, gate, execution=execution)
        session.knob = 1.0
        masks.append(torch.stack([result.recompute for result in run(session, frames)]))
    assert all(torch.equal(masks[0], other) for other in masks[1:])


def test_later_groups_tell_of_their_drift_on_the_frame_before(backbone, make_frames):
    gate = SteeredGate(2, depth=3)
    session = ReuseSession(backbone, gate)
    session.knob = -9.0
    frames = make_frames(backbone, 3)
    result = run(session, frames[:2])[-1]
    later = Memo.unpack(session.state.gate.memo, 2).later
    share = result.recompute[0, 2, 1:].float().mean()  # the second group is block 2
    assert later[0, 1] == share > 0
    seen = gate.observation(session.preview(frames[2]))
    assert seen[0, -2:].tolist() == later[0].tolist()


def test_the_actors_macs_are_counted_and_action_0_without_one_costs_what_the_threshold_does():
    gate = SteeredGate()
    assert gate.macs(0, 48) == ThresholdGate().macs(0, 48) and gate.frame_macs == 0
    size = gate.observation_size
    gate.actor = nn.Sequential(nn.Linear(size, 8), nn.Tanh(), nn.Linear(8, 2))
    assert gate.frame_macs == size * 8 + 8 * 2
    assert gate.macs(0, 48) == 48 + 16 and gate.macs(1, 48) == 48


def test_frames_pay_for_the_actor_once(backbone, make_frames):
    gate, plain = SteeredGate(), SteeredGate()
    gate.actor = nn.Linear(gate.observation_size, 2)
    nn.init.zeros_(gate.actor.weight)
    nn.init.zeros_(gate.actor.bias)
    frames = make_frames(backbone, 2)
    dear, cheap = (run(ReuseSession(backbone, g), frames)[-1].macs for g in (gate, plain))
    assert dear - cheap == 16 * 16 + gate.observation_size * 2


def test_the_calibration_tells_which_budget_a_knob_stands_for(view):
    gate = SteeredGate()
    gate.aim(Calibration((0.05, 0.2, 0.8), (3.0, 1.0, -1.0), 0.04))
    place = [field.name for field in gate.observation_fields].index("target")
    for knob, budget in ((3.0, 0.05), (1.0, 0.2), (-1.0, 0.8), (5.0, 0.05)):
        seen = view([[1.0, 2.0]], knob=knob, memo=torch.zeros(1, 4))
        told = gate.observation(seen)[0, place]
        assert told == pytest.approx(max(-1, 1 + torch.tensor(budget).log().item() / 1.6), abs=1e-5)


@pytest.mark.parametrize("groups", [0, 4])
def test_groups_are_at_most_the_blocks(groups):
    with pytest.raises(RegateError) as refused:
        SteeredGate(groups, depth=3)
    assert str(refused.value) == (
        f"a steered gate takes 1 to 3 block groups for 3 blocks, got {groups}"
    )


def test_a_dictated_mask_is_recomputed_as_it_was_told(backbone, make_frames):
    gate = DictatedGate(16)
    session = ReuseSession(backbone, gate)
    frames = make_frames(backbone, 2, streams=2)
    session.step(frames[0])
    told = torch.rand(2, 16) > 0.5
    gate.steer(told.float())
    assert torch.equal(session.step(frames[1]).recompute[:, 1, 1:], told)


def test_a_dictated_gate_observes_every_patch(view):
    gate = DictatedGate(2)
    memo = torch.zeros(1, 4)
    seen = gate.observation(view([[1.0, 2.7183]], knob=0.0, frame=3, memo=memo))
    assert seen.shape == (1, gate.observation_size)
    assert seen[0, -4:-2].tolist() == pytest.approx([0, 0.25], abs=1e-4)
