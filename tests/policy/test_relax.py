"""Relaxed decisions: 0, 1, and probes at one half; logistic noise."""

import math

import pytest
import torch

from policy.relax import Relaxation, annealed_temperature


def drawn(logits, **settings):
    """Decisions and the gradient of their sum."""
    logits = logits.clone().requires_grad_()
    relaxation = Relaxation(**settings, generator=torch.Generator().manual_seed(0))
    decisions = relaxation(logits)
    decisions.sum().backward()
    return decisions.detach(), logits.grad


def test_without_probes_decisions_are_exactly_zero_or_one():
    logits = torch.tensor([-50.0, -1e-7, 0.0, 1e-7, 0.3, 50.0])
    decisions, gradient = drawn(logits, temperature=0.7, probes=0.0)

    assert decisions.tolist() == [0, 0, 0, 1, 1, 1]
    assert not gradient.any()


def test_probes_are_halves_and_alone_have_a_gradient():
    logits = torch.linspace(-2, 2, 1001)
    decisions, gradient = drawn(logits, temperature=0.5, probes=0.6)
    probed = decisions == 0.5

    assert 100 < probed.sum() < 600
    assert torch.equal(decisions[~probed], (logits[~probed] > 0).float())
    assert torch.equal(gradient, torch.where(probed, 1 / (4 * 0.5), 0.0))


@pytest.mark.parametrize("logit", [0.0, 0.5, -1.0, 2.0])
def test_probes_are_drawn_in_proportion_to_the_slope_of_the_sigmoid(logit):
    temperature, probes = 0.5, 0.8
    decisions, _ = drawn(torch.full((200_000,), logit), temperature=temperature, probes=probes)
    certainty = 1 / (1 + math.exp(-logit / temperature))

    share = (decisions == 0.5).float().mean()
    assert share == pytest.approx(probes * 4 * certainty * (1 - certainty), abs=0.004)


def test_the_gradient_is_what_a_decision_is_worth():
    """A quadratic loss of twelve decisions, whose differences are known.

    One probe at a time gives L(1) - L(0) exactly, whichever way it was decided. Straight-through
    does not: with curvature c it is off by c / 2, down where a patch is recomputed already.
    """
    generator = torch.Generator().manual_seed(1)
    half = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    curvature, slope = half @ half.T / 12, torch.randn(12, generator=generator).double()

    def loss(decisions):
        return 0.5 * decisions @ curvature @ decisions + slope @ decisions

    logits = torch.randn(12, generator=generator, dtype=torch.float64)
    hard = (logits > 0).double()
    temperature = 0.7
    for patch in range(12):
        with_it, without = hard.clone(), hard.clone()
        with_it[patch], without[patch] = 1, 0
        worth = loss(with_it) - loss(without)

        logit = logits[patch].clone().requires_grad_()
        draws = Relaxation(temperature, probes=1.0, generator=generator)(logit.expand(500))
        probe = draws[draws == 0.5][0]
        place = torch.arange(12) == patch
        (gradient,) = torch.autograd.grad(loss(torch.where(place, probe, hard)), logit)
        assert 4 * temperature * gradient == pytest.approx(float(worth), abs=1e-12)

        at_its_end = hard.clone().requires_grad_()
        (straight,) = torch.autograd.grad(loss(at_its_end), at_its_end)
        bias = float(straight[patch] - worth)
        side = 1 if hard[patch] else -1
        assert bias == pytest.approx(side * float(curvature[patch, patch]) / 2, abs=1e-12)


def test_many_probes_at_once_are_right_on_average():
    """Probes disturb each other, but not to one side: the means over draws are the worths."""
    generator = torch.Generator().manual_seed(2)
    half = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    curvature, slope = half @ half.T / 8, torch.randn(8, generator=generator).double()
    logits = torch.zeros(20_000, 8, dtype=torch.float64, requires_grad=True)
    relaxation = Relaxation(1.0, probes=0.5, generator=generator)

    # Coin flips for what is not probed: half of each patch is recomputed on average.
    noisy = logits + 1e-3 * torch.randn(20_000, 8, generator=generator)
    decisions = relaxation(noisy)
    loss = 0.5 * ((decisions @ curvature) * decisions).sum(1) + decisions @ slope
    (gradient,) = torch.autograd.grad(loss.sum(), logits)

    probed = gradient != 0
    mean = 4 * gradient.sum(0) / probed.sum(0)
    worth = curvature @ torch.full((8,), 0.5, dtype=torch.float64) + slope
    assert mean.tolist() == pytest.approx(worth.tolist(), abs=0.05)


@pytest.mark.parametrize("logit", [-1e4, 1e4, math.inf, -math.inf])
def test_gradients_stay_finite_at_the_ends(logit):
    decisions, gradient = drawn(torch.tensor([logit]), temperature=0.1)
    assert decisions.item() == float(logit > 0) and gradient.item() == 0


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


@pytest.mark.parametrize("probes", [-0.1, 1.5])
def test_a_share_of_probes_is_a_share(probes):
    with pytest.raises(ValueError, match=rf"probes must be in \[0, 1\], got {probes}"):
        Relaxation(1.0, probes=probes)
