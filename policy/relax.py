"""Differentiable decisions: logistic noise, temperature, straight-through."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Relaxation:
    """How a logit becomes a decision that a gradient can pass through.

    The binary case of Gumbel-softmax (https://arxiv.org/abs/1611.01144): logistic noise on the
    logit, a sigmoid at a temperature, and, when ``hard``, the rounded value in the forward pass
    with the sigmoid's gradient in the backward pass.

    Args:
        temperature: Of the sigmoid; lower is closer to a step.
        noise_scale: Of the logistic noise; 0 decides without noise.
        hard: Round in the forward pass.
        generator: Where the noise comes from; torch's default if None.

    Raises:
        ValueError: If the temperature is not positive or the noise scale is negative.
    """

    temperature: float
    noise_scale: float = 1.0
    hard: bool = True
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        """Check the ranges where they are first known."""
        if self.temperature <= 0:
            raise ValueError(f"temperature must be > 0, got {self.temperature}")
        if self.noise_scale < 0:
            raise ValueError(f"noise_scale must be >= 0, got {self.noise_scale}")

    def noise(self, like: Tensor) -> Tensor:
        """Logistic noise of the shape of ``like``: one sample per token, shared by its blocks."""
        # In float32 always: in half precision 1 - 1e-6 is 1, and its noise would be infinite.
        uniform = torch.rand(
            like.shape, generator=self.generator, device=like.device, dtype=torch.float32
        ).clamp(1e-6, 1 - 1e-6)
        noise: Tensor = self.noise_scale * (uniform.log() - (-uniform).log1p())
        return noise.to(like.dtype)

    def __call__(self, logit: Tensor) -> Tensor:
        """Decision in [0, 1] for noisy logits of any shape; exactly 0 or 1 when ``hard``."""
        soft = torch.sigmoid(logit / self.temperature)
        if not self.hard:
            return soft
        return (logit > 0).to(soft.dtype) + (soft - soft.detach())


def annealed_temperature(start: float, end: float, progress: float) -> float:
    """Geometric from ``start`` to ``end`` as ``progress`` goes from 0 to 1."""
    progress = min(max(progress, 0.0), 1.0)
    return math.exp((1 - progress) * math.log(start) + progress * math.log(end))
