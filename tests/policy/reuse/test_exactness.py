"""Every execution computes the same function, and with nothing reused that of the timm model."""

import pytest
import torch

from policy.gates import AlwaysRecompute, NeverRecompute, RandomGate
from policy.session import ReuseSession

ALL = ("masked", "gathered", "compact")


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=["f64", "f32"]
)
def test_recomputing_everything_is_the_untouched_model(
    family, make_backbone, make_frames, dtype, tolerance
):
    backbone = make_backbone(family).to(dtype)
    for execution in ALL:
        session = ReuseSession(backbone, AlwaysRecompute(), execution=execution)
        for frame in make_frames(backbone, 3, streams=2):
            result = session.step(frame)

            assert (result.logits - backbone.vit(frame)).abs().max() < tolerance
            assert result.recompute.all()
            assert result.spent.tolist() == pytest.approx([1.0, 1.0], abs=1e-12)


def test_executions_agree(family, kind, make_backbone, make_frames, run_all):
    """Three streams that recompute about 10, 50 and 90 % of the patches, six frames, one reset."""
    backbone = make_backbone(family).double()
    outcomes = run_all(backbone, kind, make_frames(backbone, 6, streams=3))

    masked = outcomes.pop("masked")
    counts = masked.recompute[1:4].sum((0, 2, 3))
    assert counts[0] < counts[1] < counts[2], "streams must differ, or the test shows little"
    for other in outcomes.values():
        assert torch.equal(other.recompute, masked.recompute)
        assert torch.equal(other.spent, masked.spent)
        for field in ("logits", "features", "patches"):
            assert (getattr(other, field) - getattr(masked, field)).abs().max() < 1e-9


def test_masks_are_of_the_kind_the_gate_declares(kind, backbone, make_frames, run_all):
    outcomes = run_all(backbone, kind, make_frames(backbone, 4, streams=3))
    masks = outcomes["gathered"].recompute[1:, :, :, 1:]  # [t, s, l, p]

    first, second, third = masks.unbind(2)
    if kind == "shared":
        assert torch.equal(first, second) and torch.equal(second, third)
    elif kind == "per-block":
        assert not torch.equal(first & second, second)
    else:
        assert torch.equal(first & second, second) and torch.equal(second & third, third)
        assert first.sum() > second.sum() > third.sum(), "nothing was released"


@pytest.mark.parametrize("execution", ALL)
def test_a_model_without_prefix_tokens_may_recompute_nothing(execution, make_backbone, make_frames):
    """No row is selected in any block: every token leaves with its cached updates."""
    backbone = make_backbone("siglip").double()
    session = ReuseSession(backbone, NeverRecompute(), execution=execution)
    first, second = make_frames(backbone, 2)

    dense = session.step(first)
    still = session.step(first)
    moved = session.step(second)

    assert not still.recompute.any() and not moved.recompute.any()
    assert (still.logits - dense.logits).abs().max() < 1e-9
    change = backbone.embed(second) - backbone.embed(first)  # the only thing that is fresh
    tokens = backbone.embed(first)
    for block in backbone.blocks:
        tokens = block(tokens)
    assert (moved.patches - backbone.head(tokens + change)[2]).abs().max() < 1e-9


@pytest.mark.parametrize("execution", ALL)
def test_one_stream_may_recompute_nothing_beside_one_that_does(
    execution, make_backbone, make_frames
):
    backbone = make_backbone("siglip").double()
    frames = make_frames(backbone, 4, streams=2)
    session = ReuseSession(backbone, RandomGate(), execution=execution)
    session.knob = torch.tensor([0.0, 1.0])
    for frame in frames:
        result = session.step(frame)

    assert result.recompute.sum((1, 2)).tolist() == [0, 3 * 16]
    assert (result.logits[1] - backbone.vit(frames[-1, 1:])[0]).abs().max() < 1e-9


def test_prefix_tokens_are_recomputed_on_every_frame(make_backbone, make_frames):
    backbone = make_backbone("dinov2_registers")
    session = ReuseSession(backbone, NeverRecompute())
    for index, frame in enumerate(make_frames(backbone, 3)):
        recompute = session.step(frame).recompute

        assert recompute[..., :5].all()
        assert recompute[..., 5:].any() == (index == 0)
