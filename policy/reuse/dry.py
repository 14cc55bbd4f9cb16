"""Masks without the network: what a gate with one shared mask would recompute.

A shared mask is decided at the first block, from its input and the version of it that was last
recomputed. Neither depends on any block, so the masks of a whole video, and what they spend,
follow from the patch embedding alone. Calibration asks for nothing else and is an order of
magnitude faster for it; the masks are tested equal to those of the other executions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from backbones.vit import Backbone
from policy.reuse.base import FrameGate
from policy.state import Streams


@dataclass(frozen=True)
class DryState(Streams):
    """First block's input at the last recomputation, [s, n, d]."""

    reference: Tensor


class DryKV:
    """Follows the masks and computes no block; its output tokens are its input."""

    name = "kv"

    def fresh(self, backbone: Backbone, streams: int) -> DryState:
        """An empty reference."""
        return DryState(backbone.mean.new_zeros(streams, backbone.num_tokens, backbone.dim))

    def known(self, state: DryState) -> tuple[Tensor, Tensor]:
        """See ``Mechanism.known``; there is no memory here, and nobody who reads it."""
        return state.reference, state.reference

    def step(
        self, backbone: Backbone, tokens: Tensor, state: DryState, gate: FrameGate
    ) -> tuple[Tensor, DryState, Tensor]:
        """One frame; see ``Mechanism.step``. Gates that read ``memory`` cannot be run dry."""
        mask = gate.mask(0, tokens, state.reference, memory=tokens)
        reference = torch.where(mask.unsqueeze(-1), tokens, state.reference)
        return tokens, DryState(reference), mask.unsqueeze(1).expand(-1, backbone.depth, -1)
