"""How often a budget lets a video go wrong: what was promised, and what it rests on."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from datamodules.errors import RegateError


@dataclass(frozen=True)
class RiskLimit:
    """What is asked for: few videos that differ from the dense model on many frames.

    Attributes:
        risk: Most that the share of failing videos may be, in (0, 1).
        confidence: Probability, over the draw of the calibration videos, that the promise holds,
            in (0, 1).
        tolerance: A video fails where the share of its later frames with another top-1 than
            dense is above this, in [0, 1).

    Raises:
        RegateError: If a value is out of its range.
    """

    risk: float
    confidence: float = 0.95
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges where they are first known."""
        for name in ("risk", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise RegateError(f"{name} must be between 0 and 1, got {getattr(self, name):g}")
        if not 0 <= self.tolerance < 1:
            raise RegateError(
                f"tolerance must be in [0, 1), a share of a video's frames; got {self.tolerance:g}"
            )


@dataclass(frozen=True)
class BudgetTest:
    """One step of the test sequence.

    Attributes:
        budget: Fraction of the dense frame's MACs.
        failures: Videos whose disagreement was above the tolerance.
        p: Of so few failures, if the risk were above the limit.
    """

    budget: float
    failures: int
    p: float


@dataclass(frozen=True)
class Risk:
    """The lowest budget that keeps a limit, and the evidence.

    Attributes:
        limit: That was asked for.
        budget: The lowest that passed; None if the highest did not.
        videos: Tested on, each of a group of its own.
        tested: From the highest budget down to the first that did not pass.
    """

    limit: RiskLimit
    budget: float | None
    videos: int
    tested: tuple[BudgetTest, ...]

    @property
    def passed(self) -> tuple[float, ...]:
        """The budgets of which the promise holds, ascending."""
        lowest = self.budget
        if lowest is None:
            return ()
        return tuple(sorted(step.budget for step in self.tested if step.budget >= lowest))

    def told(self) -> str:
        """The result in one line, for people."""
        limit = self.limit
        promise = (
            f"at most {limit.risk:.3g} of videos like these differ from dense in top-1 on more "
            f"than {limit.tolerance:.3g} of their frames (confidence {limit.confidence:.3g})"
        )
        if self.budget is None:
            first = self.tested[0]
            return (
                f"risk: no budget can be shown to keep it so that {promise}: at {first.budget:.3g} "
                f"{first.failures} of {self.videos} did"
            )
        failures = {step.budget: step.failures for step in self.tested}[self.budget]
        return (
            f"risk: budget {self.budget:.4g} is the lowest at which {promise}: {failures} of "
            f"{self.videos} did"
        )

    def to_json(self) -> dict[str, Any]:
        """For a gate file's metadata."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Inverse of ``to_json``."""
        tested = tuple(BudgetTest(**step) for step in value["tested"])
        return cls(RiskLimit(**value["limit"]), value["budget"], value["videos"], tested)
