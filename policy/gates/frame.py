"""Gates that decide for whole frames, before any token is computed."""

import torch
from torch import Tensor

from policy.gates.base import BlockView, Decision, all_patches
from policy.gates.heuristic import AlwaysRecompute, ShareGate
from policy.signals import due
from policy.state import GateState


class HoldGate(AlwaysRecompute):
    """Repeat the first frame's output for ever, at 0 MACs: what doing nothing is worth."""

    name = "hold"
    decides_per_token = False

    def hold(self, state: GateState, knob: Tensor, phase: float) -> Tensor:
        """Every stream."""
        return torch.ones_like(state.frame, dtype=torch.bool)


class FrameSkipGate(ShareGate):
    """Compute a share of the frames densely and repeat the last output on the others."""

    name = "frame-skip"
    decides_per_token = False

    def hold(self, state: GateState, knob: Tensor, phase: float) -> Tensor:
        """Streams whose share of dense frames is not yet due, bool [s]."""
        return ~due(state.frame, knob.double(), phase)

    def decide(self, view: BlockView) -> Decision:
        """All patches, on the frames that are computed."""
        return all_patches(view, True)
