"""What a session refuses, in which words, and that it goes on afterwards as if nothing had been."""

import pytest
import torch

from datamodules.errors import RegateError
from policy.gates import Masks, ThresholdGate
from policy.relax import Relaxation
from policy.session import ReuseSession


@pytest.fixture
def double(backbone):
    return backbone.double()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: f.index_fill(3, torch.tensor(5), torch.nan), "NaN or infinite values"),
        (lambda f: f / 0, "NaN or infinite values: drop it, or pass frames through backbone"),
        (lambda f: f.to(torch.uint8), r"must be torch.float64, got torch.uint8: pass frames"),
        (lambda f: f[..., :48], r"must be \[3, 64, 64\] .* got \[2, 3, 64, 48\]"),
        (lambda f: f[:, :1], r"must be \[3, 64, 64\] .* got \[2, 1, 64, 64\]"),
        (lambda f: f[None], r"got \[1, 2, 3, 64, 64\]"),
        (lambda f: f[:1], "serves 2 streams, got frames of 1: call session.reset"),
        (lambda f: f.numpy(), "must be a tensor, got ndarray: pass frames through"),
        (lambda f: f.to("meta"), "the frame is on meta, but vit_tiny_patch16_224 is on cpu"),
    ],
)
def test_a_bad_frame_is_named_and_forgotten(double, make_frames, spoil, sentence):
    first, second, third = make_frames(double, 3, streams=2)
    session, undisturbed = (ReuseSession(double, ThresholdGate()) for _ in range(2))
    for frame in (first, second):
        session.step(frame)
        undisturbed.step(frame)
    with pytest.raises(RegateError, match=sentence):
        session.step(spoil(third))

    result, expected = session.step(third), undisturbed.step(third)
    assert torch.equal(result.recompute, expected.recompute)
    assert torch.equal(result.logits, expected.logits)


def test_the_number_of_streams_may_change_after_a_reset(double, make_frames):
    frames = make_frames(double, 2, streams=2)
    session = ReuseSession(double, ThresholdGate())
    session.step(frames[0])
    session.reset()
    assert len(session.step(frames[1, :1]).logits) == 1


@pytest.mark.parametrize("stream", [-1, 2])
def test_a_stream_that_is_not_there_cannot_be_reset(double, make_frames, stream):
    session = ReuseSession(double, ThresholdGate())
    session.step(make_frames(double, 1, streams=2)[0])
    with pytest.raises(RegateError, match=f"no stream {stream} to reset: .* serves 2"):
        session.reset(stream)


def test_relaxed_decisions_need_the_masked_execution(backbone):
    with pytest.raises(ValueError, match='relaxed decisions need execution="masked"'):
        ReuseSession(backbone, ThresholdGate(), relaxation=Relaxation(1.0))


def test_masks_per_block_cannot_be_compact(backbone):
    gate = ThresholdGate(masks=Masks.PER_BLOCK)
    with pytest.raises(ValueError, match="masks decided per block are not nested"):
        ReuseSession(backbone, gate, execution="compact")


def test_an_unknown_execution_is_refused(backbone):
    with pytest.raises(ValueError, match=r"execution must be one of .*got 'dense'"):
        ReuseSession(backbone, ThresholdGate(), execution="dense")


def test_knobs_for_another_number_of_streams_are_refused(double, make_frames):
    session = ReuseSession(double, ThresholdGate())
    session.knob = torch.zeros(3)
    with pytest.raises(RegateError, match=r"serves 2 streams, but its knob has shape \[3\]"):
        session.step(make_frames(double, 1, streams=2)[0])


def test_a_knob_that_is_no_number_is_refused(backbone):
    session = ReuseSession(backbone, ThresholdGate())
    for knob in (float("nan"), torch.tensor([0.0, float("nan")])):
        with pytest.raises(RegateError, match="a knob is NaN: give a number, or a budget, which"):
            session.knob = knob
    assert session.knob == 0.0
    with pytest.raises(RegateError, match="a knob is NaN"):
        ReuseSession(backbone, ThresholdGate(float("nan")))
