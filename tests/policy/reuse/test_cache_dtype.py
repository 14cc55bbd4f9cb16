"""Keys and values in half precision: half the bytes, an error that is small and does not grow."""

import pytest
import torch

from datamodules.errors import RegateError
from policy.gates import LearnedGate, Masks, RandomGate, ThresholdGate
from policy.session import ReuseSession

HALF = [torch.float16, torch.bfloat16]


def errors(backbone, dtype, execution, frames, share=0.2):
    """Largest difference of the logits to those of caches in single precision, per frame."""
    masks = Masks.SHARED if execution == "compact" else Masks.PER_BLOCK
    sessions = [
        ReuseSession(backbone, RandomGate(share, masks), execution=execution, cache_dtype=cache)
        for cache in (None, dtype)
    ]
    found = []
    for frame in frames:
        single, half = (session.step(frame) for session in sessions)
        assert torch.equal(single.recompute, half.recompute)
        found.append((single.logits - half.logits).abs().max())
    return torch.stack(found)


def moving(backbone, count):
    """Frames that wander: each a little further from the one before."""
    generator = torch.Generator().manual_seed(0)
    shape = (backbone.in_chans, *backbone.image_size)
    frame = torch.randn(shape, generator=generator)
    for _ in range(count):
        frame = 0.99 * frame + 0.14 * torch.randn(shape, generator=generator)
        yield frame


@pytest.mark.parametrize("count", [120, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_the_error_stays_what_it_was(make_backbone, count, dtype, bound):
    backbone = make_backbone()
    found = errors(backbone, dtype, "compact", moving(backbone, count))
    third = count // 3

    assert 0 < found.max() < bound
    assert found[-third:].mean() < 1.3 * found[:third].mean()


@pytest.mark.parametrize("execution", ["gathered", "compact"])
@pytest.mark.parametrize("dtype", HALF)
def test_every_family_is_near_its_caches_in_single_precision(
    family, make_backbone, make_frames, execution, dtype
):
    backbone = make_backbone(family)
    found = errors(backbone, dtype, execution, make_frames(backbone, 4, streams=2), share=0.5)
    assert 0 < found.max() < 0.05


@pytest.mark.parametrize("gate", [ThresholdGate(), LearnedGate(48, 3)], ids=["shared", "nested"])
@pytest.mark.parametrize("dtype", HALF)
def test_only_keys_and_values_are_halved(backbone, make_frames, gate, dtype):
    whole, half = (ReuseSession(backbone, gate, cache_dtype=cache) for cache in (None, dtype))
    for frame in make_frames(backbone, 3, streams=2):
        whole.step(frame)
        half.step(frame)
    caches = half.state.caches

    assert {tensor.dtype for tensor in (*caches.keys, *caches.values)} == {dtype}
    assert {tensor.dtype for tensor in (caches.reference, *caches.sums)} == {torch.float32}
    numbers = backbone.num_tokens * backbone.dim
    assert whole.state_bytes - half.state_bytes == 2 * backbone.depth * numbers * 2


@pytest.mark.parametrize("dtype", [torch.int8, torch.float64, torch.float32])
def test_other_dtypes_are_refused(backbone, dtype):
    with pytest.raises(RegateError) as refused:
        ReuseSession(backbone, ThresholdGate(), cache_dtype=dtype)
    assert str(refused.value) == (
        f"keys and values can be cached in torch.float16 or torch.bfloat16, not in {dtype}: give "
        "one of them, or None for the weights' own dtype"
    )


@pytest.mark.parametrize("execution", ["masked", "dry"])
def test_training_and_dry_runs_have_no_such_cache(backbone, execution):
    with pytest.raises(ValueError, match=f"execution '{execution}' keeps no cache in torch.float1"):
        ReuseSession(backbone, ThresholdGate(), execution=execution, cache_dtype=torch.float16)
