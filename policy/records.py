"""What one step of a session returns."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from policy.state import Streams


@dataclass(frozen=True)
class GuardReport(Streams):
    """What was decided over the gate's head, and what a spot check found.

    Attributes:
        cut: Whether a scene cut was seen, bool [s]. Like ``aged`` it begins a flush: the frame is
            dense, or, under a cap, it and the next ones recompute a part each.
        aged: Whether a patch has reached its age, bool [s].
        forced: Patches that were recomputed whatever the gate said, int64 [s]: all of them on a
            dense frame.
        pending: Patches that a flush has yet to reach, int64 [s].
        distance: Of what the gate would have put out to the dense model's output, which took its
            place, [s]: KL(dense ‖ gated) in nats, or 1 − cosine of the pooled features for a
            backbone without classifier. NaN where the frame was not checked.
        agrees: Whether both had the same top-1, 1 or 0, [s]; NaN where not checked or no classes.
        running: Running mean of ``distance`` over the stream's spot checks, [s]; NaN before any.
    """

    cut: Tensor
    aged: Tensor
    forced: Tensor
    pending: Tensor
    distance: Tensor
    agrees: Tensor
    running: Tensor

    @classmethod
    def nothing(cls, streams: int, device: torch.device) -> Self:
        """Of frames on which a gate alone decided."""
        none = torch.zeros(streams, dtype=torch.int64, device=device)
        unknown = torch.full((streams,), torch.nan, device=device)
        return cls(none.bool(), none.bool(), none, none, unknown, unknown, unknown)


@dataclass(frozen=True)
class FrameResult:
    """One frame of s streams, after the gate has decided and the backbone has run.

    Attributes:
        logits: [s, k].
        features: Pooled features before the classifier, [s, d].
        patches: Patch tokens after the final norm, [s, p, d].
        recompute: Which tokens each block computed, bool [s, l, n], prefix tokens included;
            all False on a frame that was held.
        spent: Fraction of the dense frame's MACs, gate and guard included, float64 [s].
        macs: The same in MACs (1 MAC = 2 FLOPs), float64 [s].
        guard: What the session's guard did.
        score: What the first block's gate compared, [s, p]; None where it was not asked.
        relaxed: In training, the decisions the gradient flows through, [s, l, p]; else None.
    """

    logits: Tensor
    features: Tensor
    patches: Tensor
    recompute: Tensor
    spent: Tensor
    macs: Tensor
    guard: GuardReport
    score: Tensor | None = None
    relaxed: Tensor | None = None
