"""Sessions: streams in lock-step, their state, their budget, and what they refuse."""

import pytest
import torch

from datamodules.errors import RegateError
from policy.gates import (
    AlwaysRecompute,
    FrameSkipGate,
    HoldGate,
    LearnedGate,
    Masks,
    NeverRecompute,
    RandomGate,
    ThresholdGate,
)
from policy.session import ReuseSession


def assert_same(result, other, streams=slice(None)):
    """Both results agree, the second one's given streams with all of the first one's."""
    assert torch.equal(result.recompute, other.recompute[streams])
    assert torch.equal(result.spent, other.spent[streams])
    for field in ("logits", "features", "patches"):
        assert (getattr(result, field) - getattr(other, field)[streams]).abs().max() < 1e-9


@pytest.fixture
def double(backbone):
    return backbone.double()


GATES = {
    "threshold": lambda: ThresholdGate(1.0),
    "threshold-per-block": lambda: ThresholdGate(1.5, Masks.PER_BLOCK),
    "random": lambda: RandomGate(0.4),
    "frame-skip": lambda: FrameSkipGate(0.5),
    "learned": lambda: LearnedGate(48, 3).double(),
}


@pytest.fixture(params=GATES)
def gate(request):
    return GATES[request.param]()


def test_the_first_frame_and_the_first_after_a_reset_are_dense(double, make_frames):
    session = ReuseSession(double, NeverRecompute())
    frames = make_frames(double, 3, streams=2)
    counts = [int(session.step(frame).recompute.sum()) for frame in frames[:2]]
    session.reset()
    counts.append(int(session.step(frames[2]).recompute.sum()))

    assert counts == [2 * 3 * 17, 2 * 3 * 1, 2 * 3 * 17]


def test_one_frame_without_stream_dimension_is_one_stream(double, make_frames):
    frame = make_frames(double, 1)[0, 0]
    result = ReuseSession(double, AlwaysRecompute()).step(frame)

    assert result.logits.shape == (1, 7) and result.features.shape == (1, 48)
    assert result.patches.shape == (1, 16, 48) and result.recompute.shape == (1, 3, 17)
    assert result.spent.shape == result.macs.shape == (1,)


def test_streams_in_lock_step_equal_separate_sessions(double, gate, make_frames):
    """A random policy's stream i has the seed of a session of its own with seed + i."""
    frames = make_frames(double, 6, streams=3)
    together = ReuseSession(double, gate, seed=7)
    apart = [ReuseSession(double, gate, seed=7 + stream) for stream in range(3)]
    for frame in frames:
        result = together.step(frame)
        for stream, session in enumerate(apart):
            assert_same(session.step(frame[stream]), result, slice(stream, stream + 1))


def test_streams_may_have_knobs_of_their_own(double, make_frames):
    frames = make_frames(double, 5, streams=2)
    together = ReuseSession(double, ThresholdGate())
    together.knob = torch.tensor([-2.0, 3.0])
    apart = [ReuseSession(double, ThresholdGate()) for _ in range(2)]
    apart[0].knob, apart[1].knob = -2.0, 3.0
    for frame in frames:
        result = together.step(frame)
        for stream, session in enumerate(apart):
            assert_same(session.step(frame[stream]), result, slice(stream, stream + 1))
    assert result.spent[0] > result.spent[1]


def test_resetting_one_stream_makes_it_fresh_and_leaves_the_others(double, gate, make_frames):
    frames = make_frames(double, 6, streams=3)
    session, undisturbed = ReuseSession(double, gate), ReuseSession(double, gate)
    fresh = ReuseSession(double, gate, seed=1)  # stream 1 of a session with seed 0
    for frame in frames[:3]:
        session.step(frame)
        undisturbed.step(frame)
    session.reset(1)
    for frame in frames[3:]:
        result, whole = session.step(frame), undisturbed.step(frame)
        assert_same(fresh.step(frame[1]), result, slice(1, 2))
        for other in (0, 2):
            assert torch.equal(result.recompute[other], whole.recompute[other])
            assert (result.logits[other] - whole.logits[other]).abs().max() < 1e-9


def test_skipping_streams_compute_on_frames_of_their_own(double, make_frames):
    """Every second frame each; the stream that was reset after two frames is out of step."""
    frames = make_frames(double, 7, streams=2)
    session = ReuseSession(double, FrameSkipGate(0.5))
    computed = []
    for index, frame in enumerate(frames):
        if index == 3:
            session.reset(1)
        result = session.step(frame)
        computed.append(result.recompute.flatten(1).all(1).tolist())
        for stream in (0, 1):
            if computed[-1][stream]:
                seen = double.vit(frame[stream, None])[0]
                assert (result.logits[stream] - seen).abs().max() < 1e-9
        assert result.spent.tolist() == pytest.approx([float(done) for done in computed[-1]])

    first, second = zip(*computed, strict=True)
    assert first == (True, False, True, False, True, False, True)
    assert second == (True, False, True, True, False, True, False)


def test_hold_repeats_the_first_output_for_nothing(double, make_frames):
    session = ReuseSession(double, HoldGate())
    first, *later = [session.step(frame) for frame in make_frames(double, 3)]
    for result in later:
        assert torch.equal(result.logits, first.logits)
        assert torch.equal(result.patches, first.patches)
        assert not result.recompute.any() and result.macs.item() == 0


def test_a_cloned_state_continues_as_the_original_would(double, gate, make_frames):
    """The caches are written in place, so a clone must not share memory with the original."""
    frames = make_frames(double, 6, streams=2)
    session = ReuseSession(double, gate)
    for frame in frames[:3]:
        session.step(frame)
    copy = ReuseSession(double, gate)
    copy.state = session.state.clone()
    original = [session.step(frame) for frame in frames[3:]]
    for frame, expected in zip(frames[3:], original, strict=True):
        assert_same(copy.step(frame), expected)


def test_a_state_moved_to_a_device_keeps_its_values(double, gate, make_frames):
    session = ReuseSession(double, gate)
    for frame in make_frames(double, 2, streams=2):
        session.step(frame)
    moved = session.state.to("cpu")

    assert type(moved) is type(session.state)
    for ours, theirs in zip(moved.tensors(), session.state.tensors(), strict=True):
        assert torch.equal(ours, theirs)
    assert all(tensor.is_meta for tensor in session.state.to("meta").tensors())


@pytest.mark.parametrize(
    ("masks", "caches"),
    [(Masks.SHARED, 26), (Masks.NESTED, 37), (Masks.PER_BLOCK, 49)],
)
def test_caches_hold_what_the_documentation_says(masks, caches, make_backbone, make_frames):
    """26, 37 and 49 n d numbers for 12 blocks; see ``policy.reuse.compact``."""
    backbone = make_backbone(depth=12)
    nested = masks is Masks.NESTED
    gate = LearnedGate(48, 12) if nested else RandomGate(masks=masks)
    session = ReuseSession(backbone, gate)
    assert session.state_bytes == 0
    session.step(make_frames(backbone, 1, streams=2)[0])

    gate_state = 8 + 8 + 16 * 4 + 16  # frame, seed; age and last decision of 16 patches
    assert session.state_bytes == caches * 17 * 48 * 4 + gate_state


def test_only_gates_that_hold_keep_the_last_output(backbone, make_frames):
    session = ReuseSession(backbone, FrameSkipGate(0.5))
    session.step(make_frames(backbone, 1)[0])
    gate_state = 8 + 8 + 16 * 4 + 16
    outputs = (7 + 48 + 16 * 48) * 4  # logits, features, patch tokens

    assert session.state_bytes == (2 + 2 * 3) * 17 * 48 * 4 + gate_state + outputs


@pytest.mark.parametrize("execution", ["gathered", "compact", "masked"])
def test_a_stream_may_leave_inference_mode_and_enter_it_again(execution, backbone, make_frames):
    frames = make_frames(backbone, 6)
    inside, plain = (ReuseSession(backbone, ThresholdGate(0.5), execution=execution) for _ in "ab")
    inside.pace = plain.pace = 0.5
    for index, frame in enumerate(frames):
        with torch.inference_mode(index % 2 == 0):
            result = inside.step(frame)
        torch.testing.assert_close(result.logits, plain.step(frame).logits)


@pytest.mark.parametrize("execution", ["gathered", "compact", "masked"])
def test_serving_builds_no_graph(backbone, make_frames, execution):
    """A gate just out of training still requires gradients; a stream of days must not grow."""
    gate = LearnedGate(48, 3)
    session = ReuseSession(backbone, gate, execution=execution)
    for frame in make_frames(backbone, 3):
        result = session.step(frame)

    assert all(parameter.requires_grad for parameter in gate.parameters())
    assert not result.logits.requires_grad and not result.patches.requires_grad
    assert not any(tensor.requires_grad for tensor in session.state.tensors())


@pytest.mark.parametrize("execution", ["gathered", "compact", "masked"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_backbone_is_served_by_a_single_precision_gate(
    make_backbone, make_frames, execution, dtype
):
    frames = make_frames(make_backbone(), 4, streams=2)
    backbone = make_backbone().to(dtype)
    session = ReuseSession(backbone, LearnedGate(48, 3), execution=execution)
    for frame in frames.to(dtype):
        result = session.step(frame)

    assert result.logits.dtype == dtype and result.logits.isfinite().all()
    assert 0 < result.recompute[:, 0, 1:].float().mean() < 1


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("execution", ["gathered", "compact", "masked"])
def test_every_execution_runs_under_autocast(family, make_backbone, make_frames, execution):
    """Lightning validates under autocast too when it trains in mixed precision."""
    backbone = make_backbone(family)
    frames = make_frames(backbone, 3)
    session = ReuseSession(backbone, AlwaysRecompute(), execution=execution)
    with torch.autocast("cpu", torch.bfloat16):
        for frame in frames:
            logits = session.step(frame).logits.float()

    assert (logits - backbone.vit(frames[-1])).abs().max() < 0.5
    assert all(tensor.dtype == torch.float32 for tensor in session.state.caches.tensors())


@pytest.mark.parametrize("execution", ["compact", "gathered", "masked"])
def test_a_preview_shows_what_the_gate_will_see_and_changes_nothing(
    execution, backbone, make_frames, monkeypatch
):
    seen, embedded = [], []
    gate = ThresholdGate()
    decide, embed = gate.decide, backbone.embed
    monkeypatch.setattr(gate, "decide", lambda view: seen.append(view) or decide(view))
    session = ReuseSession(backbone, gate, execution=execution)
    plain = ReuseSession(backbone, ThresholdGate(), execution=execution)
    session.knob = plain.knob = 0.5
    for frame in make_frames(backbone, 4, streams=2):
        expected = plain.step(frame)
        if session.state is None:
            session.step(frame)
            continue
        # Copied, because compact and gathered write into what a view shows.
        view = session.preview(frame)
        tokens, reference = view.tokens.clone(), view.reference.clone()
        monkeypatch.setattr(backbone, "embed", lambda frames: embedded.append(frames))
        result = session.step(frame)
        monkeypatch.setattr(backbone, "embed", embed)
        assert torch.equal(result.logits, expected.logits)
        assert torch.equal(tokens, seen[-1].tokens)
        # The reference has been replaced where the frame was recomputed.
        kept = ~result.recompute[:, 0, 1:]
        assert torch.equal(reference[kept], seen[-1].reference[kept])
    assert not embedded, "what was previewed is not embedded again"


def test_a_preview_is_not_kept_for_another_frame(backbone, make_frames):
    session, plain = (ReuseSession(backbone, ThresholdGate()) for _ in range(2))
    frames = make_frames(backbone, 3)
    for other in (session, plain):
        other.step(frames[0])
    session.preview(frames[1])
    assert torch.equal(session.step(frames[2]).logits, plain.step(frames[2]).logits)


@pytest.mark.parametrize("inference", [False, True])
def test_a_preview_is_not_kept_for_a_buffer_that_is_written_to(inference, backbone, make_frames):
    old, new = make_frames(backbone, 2)
    session, other = (
        ReuseSession(backbone, AlwaysRecompute()),
        ReuseSession(backbone, ThresholdGate()),
    )
    with torch.inference_mode(inference):
        buffer = old.clone()
        session.preview(buffer)
        buffer.copy_(new)
        assert torch.equal(session.preview(buffer).tokens, other.preview(new).tokens)
        session.preview(buffer)
        buffer.copy_(old)
        assert torch.equal(session.step(buffer).logits, other.step(old).logits)


def test_a_preview_is_not_kept_for_another_number_of_streams(backbone, make_frames):
    session, other = (ReuseSession(backbone, ThresholdGate()) for _ in range(2))
    (two,), (three,) = (make_frames(backbone, 1, streams=streams) for streams in (2, 3))
    session.preview(two)
    other.step(three)
    session.state = other.state.clone()

    with pytest.raises(RegateError, match="the session serves 3 streams, got frames of 2"):
        session.step(two)


def test_a_preview_is_refused_like_a_frame(backbone):
    session = ReuseSession(backbone, ThresholdGate())
    with pytest.raises(RegateError, match="a frame for vit_tiny_patch16_224 must be"):
        session.preview(torch.zeros(3, 5, 5))
