"""Signals of a few patches, by hand."""

import math

import pytest
import torch

from policy.signals import (
    DRIFT_FLOOR,
    due,
    l2_drift,
    log_cosine_drift,
    log_drift,
    neighbourhood,
    ranks,
    uniform_noise,
)


def test_l2_drift_is_the_distance():
    tokens = torch.tensor([[[3.0, 4.0], [1.0, 1.0]]])
    assert l2_drift(tokens, torch.zeros_like(tokens)).tolist() == [
        pytest.approx([5.0, math.sqrt(2)])
    ]


def test_log_drift_of_a_still_patch_is_finite():
    still = torch.ones(1, 1, 2)
    assert log_drift(still, still).item() == pytest.approx(math.log(DRIFT_FLOOR))


@pytest.mark.parametrize(
    ("token", "distance"), [([0.0, 2.0], 1.0), ([-3.0, 0.0], 2.0), ([1.0, 1.0], 1 - 0.5**0.5)]
)
def test_cosine_drift_is_one_minus_the_cosine(token, distance):
    value = log_cosine_drift(torch.tensor([[token]]), torch.tensor([[[1.0, 0.0]]]))
    assert value.exp().item() == pytest.approx(distance, rel=1e-6)


def test_cosine_drift_of_equal_and_of_empty_patches_is_finite():
    for token in (torch.ones(1, 1, 2), torch.zeros(1, 1, 2)):
        assert log_cosine_drift(token, token).isfinite().all()


def test_neighbourhood_leaves_the_edge_of_the_frame_out():
    """Patches 1..6 on two rows of three: the corner 1 has the neighbours 2, 4 and 5."""
    mean, peak = neighbourhood(torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]), grid=(2, 3))
    assert mean.tolist() == [[3.0, 3.5, 4.0, 3.0, 3.5, 4.0]]
    assert peak.tolist() == [[5.0, 6.0, 6.0, 5.0, 6.0, 6.0]]


def test_a_rate_is_due_when_it_passes_a_whole_number():
    frames = torch.arange(1, 9)
    rate = torch.tensor(0.375, dtype=torch.float64)
    assert due(frames, rate, 0.0).int().tolist() == [0, 0, 1, 0, 0, 1, 0, 1]
    assert due(frames, rate, 0.75).int().tolist() == [1, 0, 0, 1, 0, 1, 0, 0]


def noise(seeds=(0,), frame=0, block=0, count=4096):
    return uniform_noise(torch.tensor(seeds), torch.tensor([frame] * len(seeds)), block, count)


def test_noise_is_uniform():
    values = torch.cat([noise(frame=frame) for frame in range(16)], dim=1)[0]
    counts = torch.histc(values, bins=16, min=0, max=1)

    assert values.min() >= 0 and values.max() < 1
    assert (counts / 4096 - 1).abs().max() < 0.08


def test_noise_depends_on_seed_frame_and_block_and_on_nothing_else():
    base = noise()
    assert torch.equal(base, noise())
    assert torch.equal(base[0], noise(seeds=(5, 0))[1])
    assert torch.equal(base[:, :9], noise(count=9))
    for other in (noise(seeds=(1,)), noise(frame=1), noise(block=1)):
        assert abs(torch.corrcoef(torch.cat([base, other]))[0, 1]) < 0.06


@pytest.mark.parametrize("seed", [-1, 2**31, 2**62])
def test_noise_takes_any_seed(seed):
    values = noise(seeds=(seed,))
    assert values.min() >= 0 and values.max() < 1 and values.std() > 0.25


def test_ranks_descend_and_of_equal_scores_the_first_leads():
    score = torch.tensor([[1.0, 3.0, 1.0, 2.0], [0.0, 0.0, 0.0, -1.0]])

    assert ranks(score).tolist() == [[2, 0, 3, 1], [0, 1, 2, 3]]
