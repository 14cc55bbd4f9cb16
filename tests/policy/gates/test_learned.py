"""The learned gate: starts as the threshold heuristic, stays nested, small and cheap."""

import math

import pytest
import torch
from safetensors.torch import save

from backbones import load_backbone
from policy.cost import BackboneMacs
from policy.gates import LearnedGate, ThresholdGate
from policy.relax import Relaxation
from policy.session import ReuseSession


def shaken(gate, scale=0.2):
    """The same gate with noise on every weight, the zero layers included."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return gate


@pytest.mark.parametrize("threshold", [0.5, 1.5, 2.5])
def test_untrained_it_is_the_threshold_heuristic_with_one_shared_mask(
    backbone, make_frames, threshold
):
    ours = ReuseSession(backbone, LearnedGate(48, 3))
    ours.knob = math.log(threshold)
    theirs = ReuseSession(backbone, ThresholdGate(threshold))
    shares = []
    for frame in make_frames(backbone, 12, streams=2):
        result, expected = ours.step(frame), theirs.step(frame)
        assert torch.equal(result.recompute, expected.recompute)
        shares.append(result.recompute[..., 1:].float().mean())

    assert min(shares) < 0.7 and max(shares) == 1


def test_its_masks_are_nested_whatever_its_weights(backbone, make_frames):
    gate = shaken(LearnedGate(48, 3), scale=0.5)
    session = ReuseSession(backbone, gate)
    session.knob = 0.5
    released = 0
    for frame in make_frames(backbone, 8, streams=2):
        first, second, third = session.step(frame).recompute.unbind(1)
        assert torch.equal(first & second, second) and torch.equal(second & third, third)
        released += int((first & ~third).sum())

    assert released > 0


def test_it_takes_at_most_100_kb_for_vit_base():
    gate = LearnedGate(dim=768, depth=12)
    assert len(save(gate.state_dict())) <= 100_000


@pytest.mark.parametrize("name", ["vit_tiny", "vit_small", "vit_base"])
def test_it_costs_at_most_a_hundredth_of_the_block_it_decides_for(name):
    backbone = load_backbone(f"{name}_patch16_224", weights="random")
    macs = BackboneMacs.of(backbone)
    gate = LearnedGate(backbone.dim, backbone.depth)
    block = float(macs.per_token[0]) * macs.num_tokens
    per_block = [gate.macs(index, backbone.dim) * 196 for index in range(12)]

    assert max(per_block) <= 0.01 * block
    assert sum(per_block) <= 0.01 * macs.dense


def test_gradients_reach_every_weight(backbone, make_frames):
    """Through the probes and the caches, over three frames."""
    gate = shaken(LearnedGate(48, 3))
    generator = torch.Generator().manual_seed(0)
    relaxation = Relaxation(temperature=1.0, probes=1.0, generator=generator)
    session = ReuseSession(backbone, gate, execution="masked", relaxation=relaxation)
    session.knob = 0.5
    loss = torch.zeros(())
    # Enough patches that some are admitted whole and probed as late as at the last block.
    for frame in make_frames(backbone, 4, streams=8):
        result = session.step(frame)
        loss = loss + result.logits.square().mean() + result.relaxed.mean()
    loss.backward()

    for name, parameter in gate.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        assert parameter.grad.isfinite().all(), name
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_decisions_of_training_are_what_is_reported_and_probes_halves(backbone, make_frames):
    session = ReuseSession(
        backbone, LearnedGate(48, 3), execution="masked", relaxation=Relaxation(2.0, probes=1.0)
    )
    session.knob = 0.5
    for frame in make_frames(backbone, 3):
        result = session.step(frame)

        whole = result.relaxed != 0.5  # all on the first frame, which is dense
        assert result.relaxed.dtype == torch.float32
        assert torch.equal(result.relaxed[whole], result.recompute[..., 1:][whole].float())
    assert not whole.all()


def test_without_noise_training_decides_as_serving_does(make_backbone, make_frames):
    backbone = make_backbone().double()
    gate = shaken(LearnedGate(48, 3)).double()
    still = Relaxation(temperature=0.5, noise_scale=0.0, probes=0.0)
    training = ReuseSession(backbone, gate, execution="masked", relaxation=still)
    serving = ReuseSession(backbone, gate)
    training.knob = serving.knob = 0.5
    for frame in make_frames(backbone, 5, streams=2):
        trained, served = training.step(frame), serving.step(frame)

        assert torch.equal(trained.recompute, served.recompute)
        assert (trained.logits - served.logits).abs().max() < 1e-9


def test_frames_on_which_everything_is_forced_do_not_ask_the_gate(backbone, make_frames):
    calls = []
    gate = LearnedGate(48, 3)
    gate.decide = lambda view: calls.append("decide")
    result = ReuseSession(backbone, gate).step(make_frames(backbone, 1)[0])

    assert not calls and result.score is None and result.recompute.all()


def test_a_stream_just_reset_is_recomputed_whatever_the_gate_says(backbone, make_frames):
    gate = LearnedGate(48, 3)
    frames = make_frames(backbone, 2, streams=2)
    for execution in ("masked", "gathered", "compact"):
        session = ReuseSession(backbone, gate, execution=execution)
        session.knob = 20.0
        session.step(frames[0])
        session.reset(0)
        recompute = session.step(frames[1]).recompute[..., 1:]

        assert recompute[0].all() and not recompute[1].any()


def test_its_reported_score_is_relative_to_no_knob(view):
    """So that calibration can start from the score's quantiles."""
    gate = LearnedGate(dim=4, depth=2)
    scores = [gate.decide(view([[1.0, math.e]], knob)).score for knob in (0.0, 3.0)]
    for score in scores:
        assert score.tolist() == [pytest.approx([0.0, 1.0], abs=1e-6)]
