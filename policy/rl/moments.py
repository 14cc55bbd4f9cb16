"""Mean and spread of numbers that several processes hold parts of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

Gather = Callable[[Tensor], Tensor]
"""A tensor of this process, [...] → those of all processes, [n, ...]."""


def alone(value: Tensor) -> Tensor:
    """A process without others, [...] → [1, ...]."""
    return value.unsqueeze(0)


@dataclass(frozen=True)
class Moments:
    """Of a set of numbers, float64 scalars.

    Attributes:
        count: How many.
        mean: Of them.
        square: Sum of their squared deviations from the mean.
    """

    count: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, values: Tensor, gather: Gather = alone) -> Self:
        """Of the values of all processes together, of any shape, equally many or not."""
        values = values.detach().double()
        count = torch.full_like(values.mean(), values.numel())
        own = torch.stack([count, values.mean(), values.var(correction=0) * count])
        return cls.pooled(*gather(own).unbind(1))

    @classmethod
    def pooled(cls, count: Tensor, mean: Tensor, square: Tensor) -> Self:
        """Of several sets, each [n] (Chan et al.'s parallel update)."""
        total = count.sum()
        middle = (count * mean).sum() / total
        return cls(total, middle, (square + count * (mean - middle).square()).sum())

    @property
    def std(self) -> Tensor:
        """Their spread."""
        return (self.square / self.count).sqrt()
