"""Keeps the critic's targets near mean 0 and spread 1, whatever the rewards' unit."""

import torch
from torch import Tensor, nn

from policy.rl.moments import Gather, Moments, alone

LEAST_STD = 1e-4


class ValueNorm(nn.Module):
    """Running mean and spread of returns: a critic learns in their unit.

    All returns weigh the same, also those of long ago and of other processes, so the unit settles
    and is one for all. Its buffers are saved with a checkpoint.
    """

    count: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        # Sum of squared deviations from the mean.
        self.register_buffer("square", torch.zeros((), dtype=torch.float64))

    def update(self, returns: Tensor, gather: Gather = alone) -> None:
        """Take in a batch of returns of any shape, and those of the other processes."""
        new = Moments.of(returns, gather)
        pooled = Moments.pooled(
            torch.stack([self.count, new.count]),
            torch.stack([self.mean, new.mean]),
            torch.stack([self.square, new.square]),
        )
        self.count.copy_(pooled.count)
        self.mean.copy_(pooled.mean)
        self.square.copy_(pooled.square)

    @property
    def std(self) -> Tensor:
        """Spread of the returns seen; 1 before any, and never 0."""
        std = (self.square / self.count.clamp_min(1)).sqrt().clamp_min(LEAST_STD)
        return torch.where(self.count > 0, std, 1.0)

    def forward(self, returns: Tensor) -> Tensor:
        """Returns in the critic's unit."""
        return ((returns - self.mean) / self.std).to(returns.dtype)

    def inverse(self, values: Tensor) -> Tensor:
        """What the critic says, in the unit of rewards."""
        return (values * self.std + self.mean).to(values.dtype)
