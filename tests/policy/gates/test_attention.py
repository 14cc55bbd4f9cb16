"""The threshold weighted by attention, against hand-computed scores."""

import math

import pytest
import torch

from policy.cost import BackboneMacs
from policy.gates import AttentionGate, ThresholdGate


def attended(*shares):
    """Of one stream, in the second half of the blocks; the first half is not read."""
    late = torch.tensor([shares])
    return torch.stack([torch.rand_like(late), late], dim=-1)


def test_four_times_the_attention_halves_the_threshold(view):
    seen = view([[1.9, 2.1, 1.1, 0.9]], math.log(2), attention=attended(1.0, 1.0, 4.0, 4.0) / 2.5)
    # Relative to the mean of 1: 0.4, 0.4, 1.6, 1.6.

    decision = AttentionGate().decide(seen)

    drift = torch.tensor([1.9, 2.1, 1.1, 0.9]).log()
    expected = drift + 0.5 * torch.tensor([0.4, 0.4, 1.6, 1.6]).log()
    assert decision.score[0].tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    thresholds = [2 / math.sqrt(relative) for relative in (0.4, 0.4, 1.6, 1.6)]
    wanted = [a > b for a, b in zip((1.9, 2.1, 1.1, 0.9), thresholds, strict=True)]
    assert decision.recompute[0].tolist() == wanted


def test_where_it_looks_everywhere_alike_it_is_the_threshold(view):
    seen = view([[0.5, 1.5, 2.5]], 0.0, attention=attended(0.2, 0.2, 0.2))

    ours, theirs = AttentionGate().decide(seen), ThresholdGate().decide(seen)

    assert torch.equal(ours.recompute, theirs.recompute)
    assert ours.score[0].tolist() == pytest.approx(theirs.score[0].tolist(), abs=1e-6)


def test_a_patch_without_attention_still_has_a_score(view):
    seen = view([[1.0, 1.0]], 0.0, attention=attended(0.0, 1.0))

    assert torch.isfinite(AttentionGate().decide(seen).score).all()


def test_its_macs_are_the_thresholds_and_the_class_tokens_products(backbone):
    macs = BackboneMacs.of(backbone)
    mask = torch.ones(1, backbone.depth, backbone.num_tokens, dtype=torch.bool)

    more = macs.gate(AttentionGate(), mask) - macs.gate(ThresholdGate(), mask)

    assert more.tolist() == [backbone.depth * backbone.dim * backbone.num_tokens]
