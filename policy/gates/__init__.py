"""Gates: the policies that decide which tokens are recomputed."""

from policy.gates.base import BlockView, Carry, Decision, Gate, Masks
from policy.gates.frame import FrameSkipGate, HoldGate
from policy.gates.heuristic import (
    AlwaysRecompute,
    CosineGate,
    NeverRecompute,
    PeriodicGate,
    RandomGate,
    ThresholdGate,
    TopRGate,
)
from policy.gates.learned import LearnedGate
from policy.gates.steered import SteeredGate

__all__ = [
    "AlwaysRecompute",
    "BlockView",
    "Carry",
    "CosineGate",
    "Decision",
    "FrameSkipGate",
    "Gate",
    "HoldGate",
    "LearnedGate",
    "Masks",
    "NeverRecompute",
    "PeriodicGate",
    "RandomGate",
    "SteeredGate",
    "ThresholdGate",
    "TopRGate",
]
