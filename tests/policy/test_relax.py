"""Relaxed decisions: whole numbers forward, a sigmoid's gradient backward, logistic noise."""

import math

import pytest
import torch

from policy.relax import Relaxation, annealed_temperature


def gradient(relaxation, logits):
    logits = logits.clone().requires_grad_()
    relaxation(logits).sum().backward()
    return logits.grad


def test_hard_decisions_are_exactly_zero_or_one():
    logits = torch.tensor([-50.0, -1e-7, 0.0, 1e-7, 0.3, 50.0])
    assert Relaxation(0.7)(logits).tolist() == [0, 0, 0, 1, 1, 1]


def test_soft_decisions_are_the_sigmoid_at_the_temperature():
    logits = torch.tensor([-2.0, 0.0, 2.0])
    decisions = Relaxation(temperature=2.0, hard=False)(logits)
    assert decisions.tolist() == pytest.approx([1 / (1 + math.e), 0.5, math.e / (1 + math.e)])


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_hard_and_soft_have_the_same_gradient(temperature):
    logits = torch.linspace(-4, 4, 101)
    hard = gradient(Relaxation(temperature), logits)
    soft = gradient(Relaxation(temperature, hard=False), logits)

    assert torch.equal(hard, soft)
    assert hard[50] == pytest.approx(0.25 / temperature)  # sigmoid'(0) = 1/4


@pytest.mark.parametrize("logit", [-1e4, 1e4, math.inf, -math.inf])
def test_gradients_stay_finite_at_the_ends(logit):
    assert gradient(Relaxation(0.1), torch.tensor([logit])).isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_noise_is_logistic(scale):
    """Mean 0, variance scale² π² / 3, and P(noise < scale) = sigmoid(1)."""
    relaxation = Relaxation(1.0, scale, generator=torch.Generator().manual_seed(0))
    noise = relaxation.noise(torch.zeros(400_000))

    assert noise.mean() == pytest.approx(0, abs=0.01 * scale)
    assert noise.var() == pytest.approx((math.pi * scale) ** 2 / 3, rel=0.01)
    assert (noise < scale).float().mean() == pytest.approx(1 / (1 + math.exp(-1)), abs=0.003)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_noise_is_finite_in_every_precision(dtype):
    noise = Relaxation(1.0).noise(torch.zeros(200_000, dtype=dtype))
    assert noise.dtype == dtype and noise.isfinite().all()


def test_noise_is_that_of_the_generator():
    draws = [
        Relaxation(1.0, generator=torch.Generator().manual_seed(3)).noise(torch.zeros(5))
        for _ in range(2)
    ]
    assert torch.equal(*draws)


def test_noise_of_scale_zero_is_none():
    assert Relaxation(1.0, noise_scale=0.0).noise(torch.zeros(9)).abs().max() == 0


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match=f"temperature must be > 0, got {temperature}"):
        Relaxation(temperature)


def test_a_noise_scale_must_not_be_negative():
    with pytest.raises(ValueError, match=r"noise_scale must be >= 0, got -0\.5"):
        Relaxation(1.0, noise_scale=-0.5)


@pytest.mark.parametrize(
    ("progress", "expected"), [(-1, 4.0), (0, 4.0), (0.5, 1.0), (1, 0.25), (2, 0.25)]
)
def test_temperature_anneals_geometrically(progress, expected):
    assert annealed_temperature(4.0, 0.25, progress) == pytest.approx(expected)
