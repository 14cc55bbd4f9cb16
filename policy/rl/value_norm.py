"""Keeps the critic's targets near mean 0 and spread 1, whatever the rewards' unit."""

import torch
from torch import Tensor, nn

LEAST_STD = 1e-4


class ValueNorm(nn.Module):
    """Running mean and spread of returns: a critic learns in their unit.

    All returns weigh the same, also those of long ago (Chan et al.'s parallel update), so the unit
    settles. Its buffers are saved with a checkpoint.
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

    def update(self, returns: Tensor) -> None:
        """Take in a batch of returns of any shape."""
        returns = returns.detach().double()
        count = returns.numel()
        total = self.count + count
        delta = returns.mean() - self.mean
        square = returns.var(correction=0) * count
        self.square += square + delta.square() * self.count * count / total
        self.mean += delta * count / total
        self.count.copy_(total)

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
