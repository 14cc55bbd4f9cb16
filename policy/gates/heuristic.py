"""Gates without weights: the policies that a learned gate has to beat."""

import math

import torch
from torch import Tensor

from datamodules.errors import RegateError
from policy.gates.base import BlockView, Carry, Decision, Gate, Masks, all_patches
from policy.relax import Relaxation
from policy.signals import (
    COSINE_FLOOR,
    DRIFT_FLOOR,
    due,
    log_cosine_drift,
    log_drift,
    ranks,
    uniform_noise,
)

# Golden ratio: consecutive patches get phases that are spread as evenly as can be.
GOLDEN = 0.6180339887498949


class AlwaysRecompute(Gate):
    """Recompute every token: equals the untouched model."""

    name = "always"

    def decide(self, view: BlockView) -> Decision:
        """All patches."""
        return all_patches(view, True)


class NeverRecompute(Gate):
    """Recompute the prefix tokens only: the cheapest that still looks at each frame."""

    name = "never"

    def decide(self, view: BlockView) -> Decision:
        """No patch."""
        return all_patches(view, False)


class ShareGate(Gate):
    """A gate whose knob is the share of patches it recomputes.

    Args:
        fraction: In [0, 1].
        masks: One mask for all blocks, or one per block.

    Raises:
        RegateError: If the fraction is outside [0, 1].
    """

    knob_range = (1.0, 0.0)

    def __init__(self, fraction: float = 0.25, masks: Masks = Masks.SHARED) -> None:
        if not 0 <= fraction <= 1:
            raise RegateError(
                f"{type(self).__name__} takes a fraction of the patches in [0, 1], got {fraction}"
            )
        super().__init__(masks, knob=fraction)


class RandomGate(ShareGate):
    """Recompute each patch with a probability, independently; the session's seed decides."""

    name = "random"

    def decide(self, view: BlockView) -> Decision:
        """Bernoulli(knob) per patch."""
        count = view.tokens.shape[1]
        noise = uniform_noise(view.state.seed, view.state.frame, view.block, count)
        return Decision(noise < view.knob.unsqueeze(1))


class PeriodicGate(ShareGate):
    """Refresh each patch at regular intervals, patches taking turns.

    With fraction f a patch is due whenever f · (frame + phase) passes a whole number; phases
    spread the work evenly over frames.
    """

    name = "periodic"

    def decide(self, view: BlockView) -> Decision:
        """The patches whose turn it is."""
        count = view.tokens.shape[1]
        patch = torch.arange(count, device=view.tokens.device, dtype=torch.float64)
        phase = torch.frac((patch + view.block) * GOLDEN)
        rate = view.knob.double().unsqueeze(1)  # [s, 1]
        return Decision(due(view.state.frame.unsqueeze(1), rate, phase))


class TopRGate(ShareGate):
    """Recompute the fixed share of patches that drifted most.

    The top-r policy of Eventful Transformers (https://arxiv.org/abs/2308.13494, section 4). The
    fraction of a patch that a frame cannot spend is carried to the next, so that the mean is met.
    """

    name = "top-r"
    gives_score = True

    def decide(self, view: BlockView) -> Decision:
        """The top-r patches by drift."""
        score = log_drift(view.tokens, view.reference)
        asked = view.knob.double() * score.shape[1]
        frame = view.state.frame.double()
        count = ((frame + 1) * asked).floor() - (frame * asked).floor()
        return Decision(ranks(score) < count.unsqueeze(1), score)

    def macs(self, block: int, dim: int) -> float:
        """The drift's norm: d per patch."""
        return float(dim)


class ThresholdGate(Gate):
    """Recompute a patch once it has drifted further than a threshold.

    The threshold policy of Eventful Transformers (https://arxiv.org/abs/2308.13494, section 4).
    The knob is the threshold's logarithm.

    Args:
        threshold: L2 distance in the units of the block's input; strictly further recomputes.
        masks: One mask for all blocks, or one per block.
        offsets: Per block, added to the log threshold; found by calibration. None means none.

    Raises:
        RegateError: If the threshold is negative.
    """

    name = "threshold"
    knob_range = (-9.0, 9.0)
    gives_score = True
    # Drift is floored for its logarithm; above the floor, a still patch is under threshold 0.
    least_threshold = 2 * DRIFT_FLOOR

    def __init__(
        self,
        threshold: float = 1.0,
        masks: Masks = Masks.SHARED,
        offsets: list[float] | None = None,
    ) -> None:
        if threshold < 0:
            raise RegateError(f"threshold must be >= 0, got {threshold}")
        super().__init__(masks, knob=math.log(max(threshold, self.least_threshold)))
        self.offsets = offsets

    def drift(self, view: BlockView) -> Tensor:
        """Logarithm of what the threshold is compared with, [s, p]."""
        return log_drift(view.tokens, view.reference)

    def score(self, view: BlockView) -> Tensor:
        """Log drift, relative to the block's own offset, [s, p]."""
        drift = self.drift(view)
        return drift - self.offsets[view.block] if self.offsets else drift

    def decide(self, view: BlockView) -> Decision:
        """The patches beyond the threshold."""
        score = self.score(view)
        return Decision(score > view.knob.unsqueeze(1), score)

    def macs(self, block: int, dim: int) -> float:
        """The drift's norm: d per patch."""
        return float(dim)


class KeptThreshold(ThresholdGate):
    """The threshold with one mask, over the caches of a nested gate: it releases nothing.

    Same decisions and MACs as the threshold with a shared mask. It is what a learned gate falls
    back to, in mid-stream too.
    """

    def __init__(self) -> None:
        super().__init__(masks=Masks.NESTED)

    def decide(self, view: BlockView) -> Decision:
        """The patches beyond the threshold, which stay for all blocks."""
        score = self.score(view)
        admitted = score > view.knob.unsqueeze(1)
        carry = Carry(score, score.new_zeros(*score.shape, 0), torch.zeros_like(score), admitted)
        return Decision(admitted, score, carry)

    def release(
        self, block: int, tokens: Tensor, carry: Carry, relaxation: Relaxation | None
    ) -> Decision:
        """None."""
        return Decision(carry.decision, carry.score, carry)

    def macs(self, block: int, dim: int) -> float:
        """The drift's norm at the first block."""
        return 0.0 if block else super().macs(block, dim)


class CosineGate(ThresholdGate):
    """Recompute a patch once 1 − cosine with its cached version exceeds a threshold."""

    name = "cosine"
    knob_range = (-20.0, 1.0)
    least_threshold = 2 * COSINE_FLOOR

    def drift(self, view: BlockView) -> Tensor:
        """Log of 1 − cosine, [s, p]."""
        return log_cosine_drift(view.tokens, view.reference)

    def macs(self, block: int, dim: int) -> float:
        """Two norms and a dot product: 3 d per patch."""
        return 3.0 * dim
