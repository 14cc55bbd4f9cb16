"""Decisions that a gradient can pass through: logistic noise, and probes at the middle."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Relaxation:
    """How a logit becomes a decision in training.

    As in the binary case of Gumbel-softmax (https://arxiv.org/abs/1611.01144) a patch is
    recomputed where logit and logistic noise are above 0, and the slope of a sigmoid says how
    far a logit moves a decision. What it does not say is what the decision is *worth*, the
    difference L(1) − L(0) of the loss with and without it. Straight-through takes the derivative
    where the decision happens to stand; but the loss is flat around a patch that is recomputed
    already, so that recomputing seems to buy nothing there. The derivative at one half is the
    difference, exactly so for a quadratic loss. Some patches are therefore *probes*: half
    recomputed, and the only ones with a gradient. They are drawn more often the less decided they
    are, in proportion to the sigmoid's slope, which their gradient would be weighted by otherwise.

    Args:
        temperature: Of the sigmoid.
        noise_scale: Of the logistic noise; 0 decides without noise.
        probes: Share of the patches drawn as probes where the logit is 0, in [0, 1].
        generator: Where noise and draws come from; torch's default if None.

    Raises:
        ValueError: If the temperature is not positive, the noise scale is negative, or the share
            of probes is outside [0, 1].
    """

    temperature: float
    noise_scale: float = 1.0
    probes: float = 0.3
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        """Check the ranges where they are first known."""
        if self.temperature <= 0:
            raise ValueError(f"temperature must be > 0, got {self.temperature}")
        if self.noise_scale < 0:
            raise ValueError(f"noise_scale must be >= 0, got {self.noise_scale}")
        if not 0 <= self.probes <= 1:
            raise ValueError(f"probes must be in [0, 1], got {self.probes}")

    def noise(self, like: Tensor) -> Tensor:
        """Logistic noise of the shape of ``like``: one sample per patch, shared by its blocks."""
        uniform = self._uniform(like).clamp(1e-6, 1 - 1e-6)
        noise: Tensor = self.noise_scale * (uniform.log() - (-uniform).log1p())
        return noise.to(like.dtype)

    def __call__(self, logit: Tensor, share: float = 1.0) -> Tensor:
        """Decisions for noisy logits of any shape: 0 or 1, and one half where probed.

        Args:
            logit: Any shape.
            share: Of the probes, where several blocks draw among the same patches.
        """
        undecided = 1 - torch.tanh(logit.detach() / (2 * self.temperature)).square()
        probed = self._uniform(logit) < share * self.probes * undecided
        middle = 0.5 + (logit - logit.detach()) / (4 * self.temperature)
        return torch.where(probed, middle, (logit > 0).to(middle.dtype))

    def _uniform(self, like: Tensor) -> Tensor:
        # In float32 always: in half precision 1 - 1e-6 is 1, and its noise would be infinite.
        return torch.rand(
            like.shape, generator=self.generator, device=like.device, dtype=torch.float32
        )


def annealed_temperature(start: float, end: float, progress: float) -> float:
    """Geometric from ``start`` to ``end`` as ``progress`` goes from 0 to 1."""
    progress = min(max(progress, 0.0), 1.0)
    return math.exp((1 - progress) * math.log(start) + progress * math.log(end))
