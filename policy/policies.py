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
    "threshold-paced": ThresholdGate,
    "top-r": TopRGate,
    "top-r-per-block": lambda: TopRGate(masks=Masks.PER_BLOCK),
    "cosine": CosineGate,
    "cosine-per-block": lambda: CosineGate(masks=Masks.PER_BLOCK),
}
"""Name alone: one mask, decided at the first block and shared by all. "-per-block": decided anew
at each block; the threshold's then has an offset for each block, found by calibration."""

PACED = "-paced"
"""Suffix of a policy that looks at a share of the frames, chosen per budget by calibration, and
repeats its output on the others (``policy.budgets.pacing``). A gate file is served paced."""

LEARNED = ("gumbel", "ppo", "reinforce")
"""Trained policies, which come from gate files."""

POLICIES = (DENSE, *HEURISTICS, *LEARNED, *(f"{name}{PACED}" for name in LEARNED))


def family(policy: str) -> str:
    """The learned policy or heuristic whose gate a paced one runs; itself for the others."""
    return policy.removesuffix(PACED)


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
    if family(name) in LEARNED:
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
