"""A fixed count of patches, ranked by another gate's score."""

import pytest
import torch

from policy.gates import (
    CosineGate,
    FrameSkipGate,
    LearnedGate,
    Masks,
    PeriodicGate,
    RandomGate,
    SteeredGate,
    ThresholdGate,
    TopRGate,
)
from policy.gates.top_k import TopK
from policy.session import ReuseSession

WHAT_CAN = (
    "What can are gates with one mask and a score: threshold, top-r, cosine, and learned ones "
    "that release nothing"
)


def test_the_patches_that_drifted_most_are_recomputed_and_a_tie_goes_to_the_first(view):
    looked_at = view([[0.0, 3.0, 1.0, 2.0], [5.0, 5.0, 5.0, 5.0]], knob=0.0)

    decision = TopK(ThresholdGate(), 2).decide(looked_at)

    assert decision.recompute.tolist() == [[False, True, False, True], [True, True, False, False]]
    assert torch.equal(decision.score, ThresholdGate().score(looked_at))


@pytest.mark.parametrize("gate", [ThresholdGate(), TopRGate(), CosineGate(), "learned"])
def test_every_later_frame_recomputes_the_same_number(gate, backbone, make_frames):
    if gate == "learned":
        gate = LearnedGate(backbone.dim, backbone.depth, releases=False)
    session = ReuseSession(backbone, TopK(gate, 5))
    first, *later = (session.step(frame) for frame in make_frames(backbone, 4, streams=2))

    assert first.recompute.all()
    for result in later:
        assert (result.recompute[..., 1:].sum(2) == 5).all()
    assert later[0].spent[0] == later[2].spent[1] < 0.6


def test_a_learned_gate_is_asked_at_its_knob(backbone):
    gate = LearnedGate(backbone.dim, backbone.depth, releases=False)
    gate.knob = 1.5
    ranked = TopK(gate, 3)

    assert ranked.knob == 1.5 and ranked.reads_memory
    assert ranked.macs(0, 48) == gate.macs(0, 48)


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        (FrameSkipGate(), "it holds whole frames"),
        (ThresholdGate(masks=Masks.PER_BLOCK), "it decides anew at each block"),
        (
            LearnedGate(8, 3),
            "it releases patches at later blocks (train one with --model.releases false)",
        ),
        (
            SteeredGate(),
            "it steers how many patches are recomputed, which a fixed count leaves nothing of",
        ),
        (RandomGate(), "it gives no score to rank patches by"),
        (PeriodicGate(), "it gives no score to rank patches by"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_gates_without_one_score_per_patch_and_frame_are_refused(gate, reason):
    with pytest.raises(ValueError) as refused:
        TopK(gate, 3)

    assert str(refused.value) == (
        f"the {gate.name} gate cannot pick a fixed count of patches: {reason}. {WHAT_CAN}"
    )


def test_a_hard_budget_keeps_the_highest_of_the_count(backbone, make_frames):
    session = ReuseSession(backbone, TopK(ThresholdGate(), 12), 0.5, hard=True)
    for frame in make_frames(backbone, 2):
        result = session.step(frame)

    assert float(result.spent) <= 0.5
    assert result.recompute[0, 0, 1:].sum() == session.macs.room(0.5, 0.0, session.gate) < 12


def test_a_count_that_no_frame_has_is_refused(view):
    with pytest.raises(ValueError, match="a fixed count of patches must be 1 or more, got 0"):
        TopK(ThresholdGate(), 0)
    with pytest.raises(ValueError, match="a frame has 2 patches, 3 cannot be recomputed"):
        TopK(ThresholdGate(), 3).decide(view([[0.0, 1.0]], knob=0.5))
