"""Where the class token looks: the same in every execution, and what the model itself computes."""

import pytest
import torch

from datamodules.errors import RegateError
from policy.gates import AttentionGate, ThresholdGate
from policy.session import ReuseSession

EXECUTIONS = ("masked", "gathered", "compact")


def weights_of(backbone, frame):
    """Attention of the class token in each block of the untouched model, [l, s, n]."""
    seen, hooks = [], []
    for block in backbone.blocks:
        block.attn.fused_attn = False
        drop = block.attn.attn_drop
        hooks.append(drop.register_forward_hook(lambda *call: seen.append(call[2][:, :, 0])))
    backbone.vit(frame)
    for hook, block in zip(hooks, backbone.blocks, strict=True):
        hook.remove()
        block.attn.fused_attn = True
    return torch.stack(seen).mean(2)


@pytest.mark.parametrize("family", ["vit_tiny", "deit_distilled", "dinov2_registers"])
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_on_a_dense_frame_it_is_the_models_own(execution, family, make_backbone, make_frames):
    backbone = make_backbone(family).double()
    (frame,) = make_frames(backbone, 1, streams=2)
    session = ReuseSession(backbone, AttentionGate(), execution=execution)
    session.step(frame)

    patches = weights_of(backbone, frame)[..., backbone.num_prefix_tokens :]
    found = session.state.gate.attention
    assert found.shape == (2, 16, 2)
    for half, blocks in ((0, patches[:1]), (1, patches[1:])):  # of three blocks
        assert (found[..., half] - blocks.mean(0)).abs().max() < 1e-6


def test_executions_agree(make_backbone, make_frames):
    """Three streams that recompute few, some and most of the patches; one is reset half-way."""
    backbone = make_backbone().double()
    outcomes = {}
    for execution in EXECUTIONS:
        session = ReuseSession(backbone, AttentionGate(), execution=execution)
        session.knob = torch.tensor([1.4, 0.9, 0.0], dtype=torch.float64)
        steps = []
        for index, frame in enumerate(make_frames(backbone, 6, streams=3)):
            if index == 4:
                session.reset(1)
            result = session.step(frame)
            steps.append((result.recompute, result.logits, session.state.gate.attention.clone()))
        outcomes[execution] = [torch.stack(column) for column in zip(*steps, strict=True)]

    masks, logits, attention = outcomes.pop("masked")
    counts = masks[1:4].sum((0, 2, 3))
    assert counts[0] < counts[1] < counts[2], "streams must differ, or the test shows little"
    assert (attention[2] != attention[1]).any()
    for its_masks, its_logits, its_attention in outcomes.values():
        assert torch.equal(its_masks, masks)
        assert (its_logits - logits).abs().max() < 1e-9
        assert (its_attention - attention).abs().max() < 1e-9


def test_a_held_frame_and_other_gates_cost_nothing(backbone, make_frames):
    first, second = make_frames(backbone, 2)
    session = ReuseSession(backbone, AttentionGate())
    session.pace = 0.5
    session.step(first)
    before = session.state.gate.attention.clone()
    assert session.step(second).spent == 0

    assert torch.equal(session.state.gate.attention, before)
    plain = ReuseSession(backbone, ThresholdGate())
    plain.step(first)
    assert plain.state.gate.attention.shape == (1, 0, 2)


def test_a_model_without_a_class_token_is_refused(make_backbone):
    with pytest.raises(RegateError, match=r"reads where the class token looks, and .* has none"):
        ReuseSession(make_backbone("siglip"), AttentionGate())
