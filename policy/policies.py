"""Policies by name: the same names in configs, tables, TensorBoard and files."""

from collections.abc import Callable

from datamodules.errors import RegateError
from policy.gates.base import Gate, Masks
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

DENSE = "dense"
"""The untouched model, which needs no gate: the reference that every other is held against."""

HEURISTICS: dict[str, Callable[[], Gate]] = {
    "always": AlwaysRecompute,
    "hold": HoldGate,
    "never": NeverRecompute,
    "random": RandomGate,
    "random-per-block": lambda: RandomGate(masks=Masks.PER_BLOCK),
    "periodic": PeriodicGate,
    "periodic-per-block": lambda: PeriodicGate(masks=Masks.PER_BLOCK),
    "frame-skip": FrameSkipGate,
    "threshold": ThresholdGate,
    "threshold-per-block": lambda: ThresholdGate(masks=Masks.PER_BLOCK),
    "top-r": TopRGate,
    "top-r-per-block": lambda: TopRGate(masks=Masks.PER_BLOCK),
    "cosine": CosineGate,
    "cosine-per-block": lambda: CosineGate(masks=Masks.PER_BLOCK),
}
"""Name alone: one mask, decided at the first block and shared by all. "-per-block": decided anew
at each block; the threshold's then has an offset for each block, found by calibration."""

LEARNED = ("gumbel",)
"""Trained policies, which come from gate files."""

POLICIES = (DENSE, *HEURISTICS, *LEARNED)


def build_gate(name: str, knob: float | None = None) -> Gate:
    """Make a heuristic gate by its policy name.

    Args:
        name: A key of ``HEURISTICS``.
        knob: Its setting; the class's default if None. A fraction of the patches for random,
            periodic and top-r, of the frames for frame-skip; the logarithm of the threshold for
            threshold and cosine.

    Raises:
        RegateError: If the name is no heuristic: unknown, learned, or the dense model.
    """
    if name in LEARNED:
        raise RegateError(f"{name} is a learned policy: give its gate file (.safetensors)")
    if name == DENSE:
        raise RegateError(
            "dense is the untouched model and has no gate: always is the gate that recomputes all"
        )
    if name not in HEURISTICS:
        raise RegateError(f"no policy {name!r}: choose one of {', '.join(HEURISTICS)}")
    gate = HEURISTICS[name]()
    gate.name = name
    if knob is not None:
        gate.knob = knob
    return gate
