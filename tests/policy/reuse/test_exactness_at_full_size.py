"""The same equalities at real width, depth and image size; the errors printed are for the docs."""

import pytest
import torch

from backbones import load_backbone
from policy.gates import AlwaysRecompute
from policy.session import ReuseSession

MODELS = {
    "vit_tiny_patch16_224": 224,
    "vit_small_patch16_224": 224,
    "vit_base_patch16_224": 224,
    "deit_small_patch16_224": 224,
    "deit_tiny_distilled_patch16_224": 224,
    "deit3_small_patch16_224": 224,
    "vit_small_patch14_dinov2": 126,
    "vit_small_patch14_reg4_dinov2": 126,
    "vit_base_patch16_siglip_224": 224,
    "vit_base_patch16_clip_224": 224,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=["f64", "f32"]
)
@pytest.mark.parametrize("name", MODELS)
def test_executions_agree_at_full_size(name, dtype, tolerance, perturb, make_frames, run_all):
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        backbone = load_backbone(name, weights="random", image_size=MODELS[name])
        perturb(backbone.vit)
    backbone.to(dtype)
    frames = make_frames(backbone, 3, streams=3)

    dense = {}
    for execution in ("gathered", "compact"):
        session = ReuseSession(backbone, AlwaysRecompute(), execution=execution)
        pairs = [(session.step(frame[:1]).logits, backbone.vit(frame[:1])) for frame in frames[:2]]
        dense[execution] = max((ours - timms).abs().max().item() for ours, timms in pairs)
    reused = {}
    for kind in ("per-block", "nested"):
        outcomes = run_all(backbone, kind, frames)
        masked = outcomes.pop("masked")
        for execution, other in outcomes.items():
            assert torch.equal(other.recompute, masked.recompute)
            reused[kind, execution] = (other.logits - masked.logits).abs().max().item()

    print(f"\n{name} {dtype}: dense {dense}, reused {reused}")
    assert max(dense.values()) < tolerance
    assert max(reused.values()) < tolerance
