"""The compiled execution against the compact one it is made of; no C++ compiler is needed."""

import copy
from functools import partial

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from policy.gates import AlwaysRecompute, Masks, RandomGate, ThresholdGate
from policy.reuse.compiled import padded
from policy.reuse.selection import Selection
from policy.session import ReuseSession


@pytest.fixture
def programs(monkeypatch):
    """Traced as it would be for a compiler, whole or not at all, and counted."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    yield counter
    torch._dynamo.reset()


def run(backbone, frames, execution, knob, cache_dtype=None):
    gate = RandomGate(masks=Masks.SHARED)
    session = ReuseSession(backbone, gate, execution=execution, cache_dtype=cache_dtype)
    session.knob = torch.tensor(knob).to(backbone.mean)
    results = []
    for index, frame in enumerate(frames):
        if index == 4:
            session.reset(1)
        results.append(session.step(frame))
    return results


def differences(some, others, field):
    return max(
        float((getattr(one, field) - getattr(other, field)).abs().max())
        for one, other in zip(some, others, strict=True)
    )


@pytest.mark.parametrize("knob", [[0.1, 0.5, 0.9], [0.0, 0.5, 0.02]], ids=["uneven", "some-none"])
@pytest.mark.parametrize("family", ["vit_tiny", "siglip", "dinov2_registers"])
def test_a_compiled_session_equals_a_compact_one(
    family, knob, make_backbone, make_frames, programs
):
    backbone = make_backbone(family).double()
    frames = make_frames(backbone, 6, streams=3)

    compiled, compact = (run(backbone, frames, name, knob) for name in ("compiled", "compact"))

    counts = [tuple(result.recompute[:, 0].sum(1).tolist()) for result in compiled[1:4]]
    assert len({count for each in counts for count in each}) > 2
    for ours, theirs in zip(compiled, compact, strict=True):
        assert torch.equal(ours.recompute, theirs.recompute)
        assert torch.equal(ours.spent, theirs.spent)
    for field in ("logits", "features", "patches"):
        assert differences(compiled, compact, field) < 1e-9


def test_one_program_serves_all_counts(make_backbone, make_frames, programs):
    backbone = make_backbone()
    session = ReuseSession(backbone, RandomGate(masks=Masks.SHARED), execution="compiled")
    counts = set()
    for frame, knob in zip(make_frames(backbone, 8), torch.linspace(0, 1, 8), strict=True):
        session.knob = float(knob)
        counts.add(int(session.step(frame).recompute[0, 0].sum()))

    assert len(counts) > 4
    assert programs.frame_count == 1


def test_recomputing_everything_is_the_untouched_model(make_backbone, make_frames, programs):
    backbone = make_backbone().double()
    session = ReuseSession(backbone, AlwaysRecompute(), execution="compiled")
    for frame in make_frames(backbone, 2, streams=2):
        assert (session.step(frame).logits - backbone.vit(frame)).abs().max() < 1e-9


def test_either_execution_goes_on_from_the_state_of_the_other(make_backbone, make_frames, programs):
    backbone = make_backbone().double()
    frames = make_frames(backbone, 4)
    gate = RandomGate(0.4, Masks.SHARED)
    ours = ReuseSession(backbone, gate, execution="compiled")
    theirs = ReuseSession(backbone, gate, execution="compact")
    for frame in frames[:2]:
        expected = theirs.step(frame)
    ours.state = theirs.state.clone()

    for frame in frames[2:]:
        expected, result = theirs.step(frame), ours.step(frame)
        assert (result.logits - expected.logits).abs().max() < 1e-9


def test_half_precision_caches_are_those_of_the_compact_session(
    make_backbone, make_frames, programs
):
    backbone = make_backbone()
    frames = make_frames(backbone, 4, streams=2)
    ours, theirs = (
        run(backbone, frames, name, [0.2, 0.5], torch.bfloat16) for name in ("compiled", "compact")
    )
    assert differences(ours, theirs, "logits") < 2e-2  # one rounding of bfloat16 apart
    exact = run(backbone, frames, "compact", [0.2, 0.5])
    assert differences(ours, exact, "logits") > 1e-5, "nothing was halved"


def test_a_session_that_has_run_can_be_copied(make_backbone, make_frames, programs):
    backbone = make_backbone()
    first, second = make_frames(backbone, 2)
    session = ReuseSession(backbone, ThresholdGate(0.0), execution="compiled")
    session.step(first)
    other = copy.deepcopy(session)
    assert (session.step(second).logits - other.step(second).logits).abs().max() < 1e-6


def test_rows_are_padded_with_the_last_of_their_stream():
    rows = torch.tensor([0, 3, 5, 20, 21, 22, 23, 24, 25, 26, 27, 39])  # of two streams of 20
    chosen = Selection(torch.empty(0), rows, torch.empty(0), counts=[3, 9])

    assert padded(chosen, 20).tolist() == [
        [0, 3, *[5] * 14],
        [20, 21, 22, 23, 24, 25, 26, 27, *[39] * 8],
    ]
    assert padded(chosen, 10).shape == (2, 10), "no more than a stream has"


def test_masks_that_differ_from_block_to_block_are_refused(backbone):
    with pytest.raises(ValueError, match="only a shared mask has rows of one shape, not a per"):
        ReuseSession(backbone, ThresholdGate(masks=Masks.PER_BLOCK), execution="compiled")


@pytest.mark.slow
def test_the_program_that_is_really_compiled_computes_the_same(make_backbone, make_frames):
    backbone = make_backbone()
    frames = make_frames(backbone, 6, streams=3)
    knob = [0.1, 0.5, 0.9]
    compiled, compact = (run(backbone, frames, name, knob) for name in ("compiled", "compact"))
    assert differences(compiled, compact, "logits") < 1e-5
    assert differences(compiled, compact, "patches") < 1e-4
