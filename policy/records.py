"""What one step of a session returns."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class FrameResult:
    """One frame of s streams, after the gate has decided and the backbone has run.

    Attributes:
        logits: [s, k].
        features: Pooled features before the classifier, [s, d].
        patches: Patch tokens after the final norm, [s, p, d].
        recompute: Which tokens each block computed, bool [s, l, n], prefix tokens included;
            all False on a frame that was held.
        spent: Fraction of the dense frame's MACs, gate included, float64 [s].
        macs: The same in MACs (1 MAC = 2 FLOPs), float64 [s].
        score: What the first block's gate compared, [s, p]; None where it was not asked.
        relaxed: In training, the decisions the gradient flows through, [s, l, p]; else None.
    """

    logits: Tensor
    features: Tensor
    patches: Tensor
    recompute: Tensor
    spent: Tensor
    macs: Tensor
    score: Tensor | None = None
    relaxed: Tensor | None = None
