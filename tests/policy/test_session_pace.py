"""A session that looks at a share of the frames repeats its last output on the others."""

import pytest
import torch

from policy.budgets.table import Calibration
from policy.gates import AlwaysRecompute, FrameSkipGate, ThresholdGate
from policy.session import ReuseSession


def run(session, frames):
    return [session.step(frame) for frame in frames]


@pytest.fixture
def frames(backbone, make_frames):
    return make_frames(backbone, 7)


def test_frames_between_repeat_the_last_output_at_no_cost(backbone, frames):
    session = ReuseSession(backbone, AlwaysRecompute())
    session.pace = 0.5

    results = run(session, frames)

    spent = [result.spent.item() for result in results]
    assert spent == pytest.approx([1, 0, 1, 0, 1, 0, 1])
    assert torch.equal(results[3].logits, results[2].logits)
    assert not results[3].recompute.any()
    dense = backbone(frames[4])
    assert torch.allclose(results[4].logits, dense, atol=1e-5)


def test_a_paced_always_is_frame_skip(backbone, frames):
    paced = ReuseSession(backbone, AlwaysRecompute())
    paced.pace = 1 / 3
    skip = ReuseSession(backbone, FrameSkipGate(1 / 3))

    for ours, theirs in zip(run(paced, frames), run(skip, frames), strict=True):
        assert torch.equal(ours.logits, theirs.logits)
        assert torch.equal(ours.spent, theirs.spent)


@pytest.mark.parametrize("execution", ["masked", "gathered", "compact"])
def test_executions_agree(backbone, frames, execution):
    reference = ReuseSession(backbone, ThresholdGate(0.5), execution="masked")
    other = ReuseSession(backbone, ThresholdGate(0.5), execution=execution)
    reference.pace = other.pace = 2 / 3

    for ours, theirs in zip(run(other, frames), run(reference, frames), strict=True):
        assert torch.allclose(ours.logits, theirs.logits, atol=1e-4)
        assert torch.equal(ours.recompute, theirs.recompute)


def test_each_stream_has_its_own(backbone, frames):
    session = ReuseSession(backbone, AlwaysRecompute())
    session.pace = torch.tensor([1.0, 0.5])

    spent = [session.step(frame.expand(2, -1, -1, -1)).spent.tolist() for frame in frames[:4]]

    assert spent == [[1, 1], [1, 0], [1, 1], [1, 0]]


def test_set_in_mid_stream_it_never_repeats_an_old_output(backbone, frames):
    gate = ThresholdGate(0.0)
    gate.calibration = Calibration((0.2, 0.9), (-9.0, -9.0), 0.1, paces=(0.5, 1.0))
    session = ReuseSession(backbone, gate, budget=0.9)
    seen = [session.step(frames[0]), session.step(frames[1])]
    session.budget = 0.2  # frame 2 is looked at, frame 3 is not
    seen += [session.step(frames[2]), session.step(frames[3])]
    session.budget = 0.9
    seen += [session.step(frames[4])]
    session.budget = 0.2  # frame 5 is not looked at
    seen += [session.step(frames[5])]

    assert torch.equal(seen[3].logits, seen[2].logits)
    assert torch.equal(seen[5].logits, seen[4].logits)
    assert not torch.equal(seen[4].logits, seen[2].logits)


def test_a_frame_without_an_output_to_repeat_is_computed(backbone, frames):
    session = ReuseSession(backbone, AlwaysRecompute())
    session.step(frames[0])
    session.pace = 0.5

    assert session.step(frames[1]).spent.item() == pytest.approx(1)
    assert session.step(frames[2]).spent.item() == pytest.approx(1)
    assert session.step(frames[3]).spent.item() == 0


def test_without_a_budget_every_frame_is_looked_at(backbone, frames):
    gate = ThresholdGate()
    gate.calibration = Calibration((0.2, 0.9), (1.0, -1.0), 0.1, paces=(0.5, 1.0))
    session = ReuseSession(backbone, gate, budget=0.2)
    assert session.pace == 0.5
    session.budget = None
    assert session.pace == 1.0
