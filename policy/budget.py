"""From an asked budget to a policy's knob."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from datamodules.errors import RegateError

TOLERANCE = 0.01
"""Relative; how far from a budget the knob that calibration finds for it may spend."""


@dataclass(frozen=True)
class Calibration:
    """Mean spent over the calibration videos' later frames, at a series of knobs.

    A budget picks the knob whose mean spent equals it; one stream may differ.

    Args:
        spent: Fractions of the dense frame's MACs, ascending.
        knobs: The policy's knob at each.
        floor: Smallest spent the policy can reach: embedding, head, prefix tokens, gate.
        source: What it was measured on, for people.

    Raises:
        ValueError: If there are no points, or ``spent`` does not ascend from above 0.
    """

    spent: tuple[float, ...]
    knobs: tuple[float, ...]
    floor: float
    source: str = ""

    def __post_init__(self) -> None:
        """Check what ``knob`` relies on."""
        if not self.spent or len(self.spent) != len(self.knobs):
            raise ValueError("a calibration needs one knob per spent, and at least one of each")
        if self.spent[0] <= 0 or any(b <= a for a, b in pairwise(self.spent)):
            raise ValueError(f"calibrated spent must ascend from above 0, got {self.spent}")

    @property
    def lowest(self) -> float:
        """Smallest budget that can be asked for."""
        return self.spent[0]

    def reaches(self, budget: float) -> bool:
        """Whether a knob was found for budgets this low.

        A search ends close to its target, so that the lowest budget asked for may lie a little
        under the lowest point found for it.
        """
        return budget >= self.lowest * (1 - TOLERANCE)

    def knob(self, budget: float) -> float:
        """The knob for a budget, interpolated in log MACs; the most spending one beyond the table.

        Raises:
            RegateError: If the budget is outside (0, 1] or under what the policy reaches.
        """
        check_budget(budget)
        if not self.reaches(budget):
            raise RegateError(
                f"budget {budget:g} is under this gate's floor of {self.lowest:.4g} (embedding, "
                f"head, prefix tokens and the gate itself cost {self.floor:.4g}): "
                f"ask for {self.lowest:.4g} or more"
            )
        return float(np.interp(np.log(budget), np.log(self.spent), self.knobs))

    def to_json(self) -> dict[str, Any]:
        """For a gate file's metadata."""
        return {
            "spent": list(self.spent),
            "knobs": list(self.knobs),
            "floor": self.floor,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Inverse of ``to_json``."""
        return cls(tuple(value["spent"]), tuple(value["knobs"]), value["floor"], value["source"])


def check_budget(budget: float) -> None:
    """Refuse what is no fraction of a dense frame.

    Raises:
        RegateError: If the budget is outside (0, 1].
    """
    if not 0 < budget <= 1:
        raise RegateError(
            f"budget must be in (0, 1], the fraction of a dense frame's MACs; got {budget:g}"
        )
