"""What a MAC is worth, read off the knob."""

import torch
from torch import Tensor, nn

DECAY = 0.98
LEAST = 1e-6


class KnobPrice(nn.Module):
    """The price at which training neither raises nor lowers what is spent.

    Raising a stream's knob a little saves MACs and costs distortion; the price is the ratio of
    the two, running means over the clips. At this price a push on all patches alike cancels out,
    and what is left moves computation from where it buys little to where it buys much, at
    constant spending.

    The gradient of the knob is that of the decisions, with all its bias: straight-through
    gradients look at the ends, where a recomputed patch seems to have bought nothing, and put a
    MAC's worth at a third to a fifth of what the threshold's curve says. At the curve's own
    price, or under a dual variable that has to come down from it, a gate first learns to stop
    spending. How the worth goes with the budget is taken from the curve, and the one factor
    between the two is measured: single clips differ too much to measure each budget apart.

    Args:
        curve: Slope of the threshold's curve at each budget, distortion per dense frame, [b].
    """

    curve: Tensor
    bought: Tensor
    expected: Tensor

    def __init__(self, curve: Tensor) -> None:
        super().__init__()
        self.register_buffer("curve", curve.clone())
        self.register_buffer("bought", torch.zeros((), dtype=curve.dtype))
        self.register_buffer("expected", torch.zeros((), dtype=curve.dtype))

    def forward(self, bins: Tensor) -> Tensor:
        """Distortion per dense frame's MACs at some budgets, int64 [s] → [s]."""
        if self.expected <= LEAST:
            return self.curve[bins]
        return self.curve[bins] * (self.bought / self.expected).clamp_min(0)

    def update(self, bins: Tensor, bought: Tensor, saved: Tensor, weight: Tensor) -> None:
        """Take in a batch.

        Args:
            bins: Budget of each clip, int64 [s].
            bought: Derivative of its distortion in its knob, [s].
            saved: Minus that of its spent, [s].
            weight: Of its clip in the loss, [s].
        """
        for mean, values in (
            (self.bought, bought * weight),
            (self.expected, self.curve[bins] * saved * weight),
        ):
            mean.mul_(DECAY).add_((1 - DECAY) * values.mean())
