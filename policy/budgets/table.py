"""From an asked budget to a policy's knob."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from datamodules.errors import RegateError
from policy.budgets.risk import Risk

TOLERANCE = 0.01
"""Relative; how far from a budget the knob that calibration finds for it may spend."""
SAME_POINT = 0.02
"""Relative; a budget this close to a calibrated point is that point's."""


@dataclass(frozen=True)
class Verdict:
    """A gate against the heuristic that it contains, at the MACs of one calibrated point.

    Attributes:
        budget: Fraction of the dense frame's MACs at which both are read.
        difference: KL of the gate minus that of the heuristic, nats; None where one of the two
            does not reach the budget.
        interval: Of the difference, 95 %, over groups of clips; None where there is none.
    """

    budget: float
    difference: float | None
    interval: tuple[float, float] | None

    @property
    def favours(self) -> bool:
        """Whether the gate is better, with the whole interval."""
        return self.interval is not None and self.interval[1] < 0


@dataclass(frozen=True)
class Fallback:
    """The heuristic that serves where a gate was not found to be better, and the evidence.

    Attributes:
        calibration: The heuristic's own.
        verdicts: One per point of the gate's calibration, by ascending budget.
        clips: That the two were compared on.
        groups: Of the clips.
    """

    calibration: "Calibration"
    verdicts: tuple[Verdict, ...]
    clips: int
    groups: int

    def favours(self, budget: float) -> bool:
        """Whether the gate is better at a budget: at its point, or at both beside it."""
        at = self._at(budget)
        if at is not None:
            return at.favours
        below = [verdict for verdict in self.verdicts if verdict.budget < budget][-1:]
        above = [verdict for verdict in self.verdicts if verdict.budget > budget][:1]
        return all(verdict.favours for verdict in below + above)

    def _at(self, budget: float) -> Verdict | None:
        """The verdict at a budget's own point; None between two points."""
        near = [v for v in self.verdicts if abs(v.budget / budget - 1) <= SAME_POINT]
        return min(near, key=lambda verdict: abs(verdict.budget - budget), default=None)

    def why(self, budget: float) -> str:
        """The evidence at a budget, for a note."""
        at = self._at(budget)
        over = f"over {self.clips} calibration clips in {self.groups} groups"
        if at is None:
            return f"between calibrated points not all of which favour it {over}"
        if at.difference is None or at.interval is None:
            return f"no interval of the difference {over}"
        low, high = at.interval
        return f"KL {at.difference:+.3g} [{low:+.3g}, {high:+.3g}] beside it {over}"

    def told(self, gate: str) -> str:
        """Who serves which budgets and why, for people.

        Args:
            gate: Name of the gate's policy.
        """
        over = f"over {self.clips} calibration clips in {self.groups} groups"
        better = [f"{verdict.budget:.2g}" for verdict in self.verdicts if verdict.favours]
        if not better:
            return (
                f"the threshold serves every budget: {over}, {gate} is nowhere found closer "
                "to dense"
            )
        if len(better) == len(self.verdicts):
            return f"{gate} serves every budget: {over}, it is closer to dense than the threshold"
        return (
            f"{gate} serves budgets around {', '.join(better)}, where {over} it is closer to "
            "dense than the threshold, which serves the others"
        )

    def to_json(self) -> dict[str, Any]:
        """For a gate file's metadata."""
        return {**asdict(self), "calibration": self.calibration.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Inverse of ``to_json``."""
        verdicts = (
            Verdict(v["budget"], v["difference"], v["interval"] and tuple(v["interval"]))
            for v in value["verdicts"]
        )
        table = Calibration.from_json(value["calibration"])
        return cls(table, tuple(verdicts), value["clips"], value["groups"])


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
        fallback: What serves where the policy is not better than the heuristic that it contains;
            None where that was not asked.
        risk: The lowest budget that keeps a limit on failing videos; None where none was asked.

    Raises:
        ValueError: If there are no points, or ``spent`` does not ascend from above 0.
    """

    spent: tuple[float, ...]
    knobs: tuple[float, ...]
    floor: float
    source: str = ""
    paces: tuple[float, ...] = ()
    fallback: Fallback | None = None
    risk: Risk | None = None

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

    def falls_back(self, budget: float) -> bool:
        """Whether knob and pace for a budget are those of the heuristic."""
        fallback = self.fallback
        return (
            fallback is not None
            and not fallback.favours(budget)
            and fallback.calibration.reaches(budget)
        )

    def knob(self, budget: float) -> float:
        """The knob for a budget, interpolated in log MACs; the most spending one beyond the table.

        It is the heuristic's where ``falls_back`` says so, and likewise the pace.

        Raises:
            RegateError: If the budget is outside (0, 1] or under what the policy reaches.
        """
        table = self._serving(budget)
        return table._read(budget, table.knobs)

    def pace(self, budget: float) -> float:
        """The share of frames to look at for a budget; as ``knob``."""
        table = self._serving(budget)
        return table._read(budget, table.paces or (1.0,) * len(table.spent))

    def unpaced_knob(self, budget: float) -> float:
        """The knob where every frame is looked at and may spend a budget; as ``knob`` otherwise.

        A point spends ``spent / pace`` on a frame that it looks at, and is read at that. Left out
        are points that spend as much there as a later one, which looks at more frames. Budgets
        under the lowest are as the lowest.

        Raises:
            RegateError: If the budget is outside (0, 1].
        """
        check_budget(budget)
        table = self._serving(max(budget, self.lowest))
        each = np.divide(table.spent, table.paces or 1.0)
        later = np.minimum.accumulate(np.append(each, np.inf)[::-1])[-2::-1]
        kept = each < later
        return float(np.interp(np.log(budget), np.log(each[kept]), np.array(table.knobs)[kept]))

    def _serving(self, budget: float) -> "Calibration":
        check_budget(budget)
        if self.fallback is not None and self.reaches(budget) and self.falls_back(budget):
            return self.fallback.calibration
        return self

    def _read(self, budget: float, column: tuple[float, ...]) -> float:
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
            "fallback": self.fallback.to_json() if self.fallback else None,
            "risk": self.risk.to_json() if self.risk else None,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Inverse of ``to_json``."""
        # Older files have no paces, and neither of these.
        fallback, risk = value.get("fallback"), value.get("risk")
        return cls(
            tuple(value["spent"]),
            tuple(value["knobs"]),
            value["floor"],
            value["source"],
            tuple(value.get("paces", ())),
            Fallback.from_json(fallback) if fallback else None,
            Risk.from_json(risk) if risk else None,
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
