"""The budgets an agent is trained for, each with what the calibrated threshold makes of it."""

import math

import torch
from torch import Tensor, nn

BINS = 8
LEAST_LOST = 1e-4
"""Quality; where the threshold loses hardly any, its curve says nothing."""
LEAST_ELASTICITY = 0.1


class BudgetBins(nn.Module):
    """Eight budgets, even in log, and the threshold's knob, price and unit at each.

    The price is what a MAC buys on the threshold's own curve: minus the slope of what it loses in
    what it spends. At that price, spending a little more or less along that curve gains nothing, so
    whatever raises ``quality − price · spent`` lies under the curve's tangent: better at equal
    MACs, and not merely elsewhere on the curve. The unit is the root mean square of what the
    threshold loses on a clip there; in it, all budgets weigh about the same.

    Args:
        lowest: Budget.
        highest: Budget.
    """

    budgets: Tensor
    knobs: Tensor
    prices: Tensor
    units: Tensor

    def __init__(self, lowest: float, highest: float) -> None:
        super().__init__()
        steps = torch.linspace(math.log(lowest), math.log(highest), BINS)
        self.register_buffer("budgets", steps.exp())
        # Not saved: they follow from the calibration clips, which a resumed run measures again.
        for name in ("knobs", "prices", "units"):
            self.register_buffer(name, torch.full((BINS,), torch.nan), persistent=False)

    def measured(self, knobs: Tensor, lost: Tensor) -> None:
        """Take in the threshold's curve.

        Args:
            knobs: Where it spends each budget, [bins].
            lost: Quality that it loses there, on the mean over each clip, [clips, bins].
        """
        lost = lost.to(self.budgets)
        # Not the mean: a rare clip that loses a hundred times as much would outweigh all others.
        self.units.copy_(lost.square().mean(0).sqrt().clamp_min(LEAST_LOST))
        self.knobs.copy_(knobs)
        mean = lost.mean(0).clamp_min(LEAST_LOST)
        # In logarithms the curve is nearly straight, and so is what is read between two budgets.
        slopes = torch.gradient(mean.log(), spacing=(self.budgets.log(),))[0]
        self.prices.copy_((-slopes).clamp_min(LEAST_ELASTICITY) * mean / self.budgets)
