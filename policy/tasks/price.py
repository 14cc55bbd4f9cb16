"""What a MAC is worth, read off the knob."""

import torch
from torch import Tensor, nn

DECAY = 0.95
LEAST = 1e-6


class KnobPrice(nn.Module):
    """The price at which training neither raises nor lowers what is spent, one per budget.

    Raising a stream's knob a little saves MACs and costs distortion; the price is the ratio of
    the two, each a running mean over the clips at a budget. At this price a push on all patches
    alike cancels out, and what is left moves computation from where it buys little to where it
    buys much, at constant spending.

    The gradient of the knob is that of the decisions, with all its bias: straight-through
    gradients look at the ends, where a recomputed patch seems to have bought nothing, and put a
    MAC's worth at a third to a fifth of what the curve says. At the curve's own price, or under a
    dual variable that has to come down from it, a gate first learns to stop spending.

    Args:
        start: Prices before anything is measured, [b].
    """

    bought: Tensor
    saved: Tensor

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("bought", torch.empty_like(start))
        self.register_buffer("saved", torch.empty_like(start))
        self.restart(start)

    def restart(self, start: Tensor, weight: float = 0.02) -> None:
        """Forget what was measured; ``weight`` is what ``start`` counts for, in knob per spent."""
        self.saved.fill_(weight)
        self.bought.copy_(start * weight)

    def forward(self, bins: Tensor) -> Tensor:
        """Distortion per dense frame's MACs at some budgets, int64 [s] → [s]."""
        return (self.bought / self.saved.clamp_min(LEAST)).clamp_min(0)[bins]

    def update(self, bins: Tensor, bought: Tensor, saved: Tensor) -> None:
        """Take in a batch.

        Args:
            bins: Budget of each clip, int64 [s].
            bought: Derivative of its distortion in its knob, [s].
            saved: Minus that of its spent, [s].
        """
        for index, more, less in zip(bins.tolist(), bought, saved, strict=True):
            self.bought[index] = DECAY * self.bought[index] + (1 - DECAY) * more
            self.saved[index] = DECAY * self.saved[index] + (1 - DECAY) * less
