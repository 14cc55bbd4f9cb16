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
    """Mean spent over the calibration videos' later frames, at a series of settings.

    A budget picks the setting whose mean spent equals it; one stream may differ. A setting is the
    policy's knob and its pace, the share of frames that are looked at.

    Args:
        spent: Fractions of the dense frame's MACs, ascending.
        knobs: The policy's knob at each.
        floor: Smallest spent the policy can reach: embedding, head, prefix tokens, gate.
        source: What it was measured on, for people.
        paces: At each, in (0, 1]; none where every frame is looked at.

    Raises:
        ValueError: If there are no points, or ``spent`` does not ascend from above 0.
    """

    spent: tuple[float, ...]
    knobs: tuple[float, ...]
    floor: float
    source: str = ""
    paces: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check what ``knob`` relies on."""
        if not self.spent or len(self.spent) != len(self.knobs):
            raise ValueError("a calibration needs one knob per spent, and at least one of each")
        if self.paces and len(self.paces) != len(self.spent):
            raise ValueError("a calibration with paces needs one per spent")
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
        return self._read(budget, self.knobs)

    def pace(self, budget: float) -> float:
        """The share of frames to look at for a budget; as ``knob``."""
        return self._read(budget, self.paces or (1.0,) * len(self.spent))

    def _read(self, budget: float, column: tuple[float, ...]) -> float:
        check_budget(budget)
        if not self.reaches(budget):
            raise RegateError(
                f"budget {budget:g} is under this gate's floor of {self.lowest:.4g} (embedding, "
                f"head, prefix tokens and the gate itself cost {self.floor:.4g}): "
                f"ask for {self.lowest:.4g} or more"
            )
        return float(np.interp(np.log(budget), np.log(self.spent), column))

    def to_json(self) -> dict[str, Any]:
        """For a gate file's metadata."""
        return {
            "spent": list(self.spent),
            "knobs": list(self.knobs),
            "paces": list(self.paces),
            "floor": self.floor,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Inverse of ``to_json``."""
        return cls(
            tuple(value["spent"]),
            tuple(value["knobs"]),
            value["floor"],
            value["source"],
            tuple(value.get("paces", ())),  # files from before there were paces have none
        )


def check_budget(budget: float) -> None:
    """Refuse what is no fraction of a dense frame.

    Raises:
        RegateError: If the budget is outside (0, 1].
    """
    if not 0 < budget <= 1:
        raise RegateError(
            f"budget must be in (0, 1], the fraction of a dense frame's MACs; got {budget:g}"
        )
