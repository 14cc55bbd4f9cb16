"""MACs in closed form against torch's counter, and against sums done by hand."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from backbones import load_backbone
from policy.cost import BackboneMacs
from policy.gates import (
    AlwaysRecompute,
    LearnedGate,
    Masks,
    NeverRecompute,
    RandomGate,
    ThresholdGate,
)
from policy.session import ReuseSession


def counted_and_closed(backbone, gate, frames, execution):
    """MACs of the last frame by FlopCounterMode, and by the session."""
    session = ReuseSession(backbone, gate, execution=execution)
    for frame in frames[:-1]:
        session.step(frame)
    with FlopCounterMode(display=False) as counter:
        result = session.step(frames[-1])
    return counter.get_total_flops() / 2, result


@pytest.mark.parametrize(
    ("masks", "execution"),
    [
        (Masks.PER_BLOCK, "gathered"),
        (Masks.SHARED, "gathered"),
        (Masks.SHARED, "compact"),
    ],
)
def test_closed_form_equals_the_counter(family, masks, execution, make_backbone, make_frames):
    backbone = make_backbone(family)
    frames = make_frames(backbone, 3, streams=2)
    counted, result = counted_and_closed(backbone, RandomGate(0.4, masks), frames, execution)

    patches = result.recompute[..., backbone.num_prefix_tokens :]
    assert 0 < patches.float().mean() < 1
    assert result.macs.sum().item() == counted


def test_closed_form_equals_the_counter_on_the_dense_frame(family, make_backbone, make_frames):
    backbone = make_backbone(family)
    frame = make_frames(backbone, 1)[0]
    with FlopCounterMode(display=False) as counter:
        backbone(frame)

    assert BackboneMacs.of(backbone).dense == counter.get_total_flops() / 2
    result = ReuseSession(backbone, AlwaysRecompute()).step(frame)
    assert result.macs.item() == counter.get_total_flops() / 2


def test_a_learned_gates_matrix_work_is_counted_and_its_elementwise_work_declared(
    make_backbone, make_frames
):
    backbone = make_backbone()
    gate = LearnedGate(48, 3)
    for release in gate.releases:
        torch.nn.init.constant_(release[-1].bias, -0.2)  # so that later blocks see fewer patches
    session = ReuseSession(backbone, gate, execution="compact")
    frames = make_frames(backbone, 3)
    session.step(frames[0])
    session.knob = 0.4
    with FlopCounterMode(display=False) as counter:
        result = session.step(frames[1])

    admitted, then, last = result.recompute[0, :, 1:].sum(1).tolist()
    assert admitted > then > last > 0
    elementwise = 4 * 48 * 16  # 4 d for each of 16 patches
    assert result.macs.item() - elementwise == counter.get_total_flops() / 2


def test_the_drift_norm_costs_d_per_patch_and_deciding_block(make_backbone, make_frames):
    backbone = make_backbone()
    frames = make_frames(backbone, 2)
    for masks, blocks in ((Masks.SHARED, 1), (Masks.PER_BLOCK, 3)):
        gate = ThresholdGate(1.0, masks)
        counted, result = counted_and_closed(backbone, gate, frames, "gathered")

        assert result.macs.item() - counted == blocks * 16 * 48


def test_vit_tiny_costs_what_its_shapes_say():
    """224 px: 196 patches and a class token, width 192, 12 blocks, MLP ratio 4."""
    macs = BackboneMacs.of(load_backbone("vit_tiny_patch16_224", weights="random"))

    assert macs.embed == 196 * (16 * 16 * 3) * 192
    assert macs.head == 192 * 1000
    assert macs.rows == (12 * 192 * 192,) * 12
    assert macs.pairs == (2 * 192,) * 12
    assert macs.dense == macs.embed + macs.head + 12 * (197 * 12 * 192**2 + 2 * 197**2 * 192)


def test_the_first_frame_is_charged_as_dense_without_the_gate(backbone, make_frames):
    session = ReuseSession(backbone, ThresholdGate(1.0))
    assert session.step(make_frames(backbone, 1)[0]).spent.item() == pytest.approx(1, abs=1e-12)


def test_the_floor_is_what_never_spends(make_backbone, make_frames):
    backbone = make_backbone("dinov2_registers")
    macs = BackboneMacs.of(backbone)
    session = ReuseSession(backbone, NeverRecompute())
    first, second = make_frames(backbone, 2)
    session.step(first)
    by_hand = macs.embed + macs.head + 3 * 5 * float(macs.per_token[0])  # 5 prefix tokens

    assert session.step(second).macs.item() == by_hand
    assert macs.floor(NeverRecompute()) == by_hand / macs.dense
    assert macs.floor(ThresholdGate()) == (by_hand + 16 * 48) / macs.dense
