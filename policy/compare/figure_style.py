"""What all figures share: looks (learned policies prominent, per block dashed), order, scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator

from policy.compare.records import FloatArray
from policy.compare.results import PlotCurve, Results
from policy.policies import family

CLOSEST_TICKS = 0.09  # of the axis
INK, FAINT = "#26323c", "#aab2b9"
LEARNED = ("#d1263f", "#e27a00", "#0a7d6b", "#6a3fb5")
PER_BLOCK = "-per-block"
FAMILIES: Mapping[str, tuple[str, str]] = {  # muted colour and marker
    "threshold": ("#3f6f9f", "o"),
    "cosine": ("#6f9a83", "s"),
    "top-r": ("#a98b55", "^"),
    "random": ("#8b8f94", "X"),
    "periodic": ("#9b82ab", "D"),
    "frame-skip": ("#b07f7f", "v"),
}
OTHER_FAMILY = ("#7b8791", "P")
REFERENCES: Mapping[str, str] = {"dense": "*", "always": "|", "never": "_"}


@dataclass(frozen=True)
class Look:
    """How one policy is drawn."""

    color: str
    marker: str
    width: float = 1.1
    size: float = 4.0
    dashed: bool = False
    hollow: bool = False
    zorder: float = 2.0

    def line(self) -> dict[str, Any]:
        """Keyword arguments of ``Axes.plot`` and ``Line2D``, for which matplotlib has Any."""
        return {
            "color": self.color,
            "marker": self.marker,
            "linewidth": self.width,
            "markersize": self.size,
            "linestyle": ("--" if self.dashed else "-") if self.width else "",
            "markerfacecolor": "white" if self.hollow else self.color,
            "zorder": self.zorder,
        }


def in_order(results: Results) -> list[PlotCurve]:
    """Curves with a knob: learned ones first, then from the least area under KL to the most."""
    area = {entry.policy: entry.metrics["kl"].value for entry in results.area if entry.metrics}

    def rank(curve: PlotCurve) -> tuple[bool, float]:
        value = area.get(curve.policy)
        return not curve.learned, float("inf") if value is None else value

    return sorted((curve for curve in results.curves if len(curve.spent) > 1), key=rank)


def looks(curves: Sequence[PlotCurve]) -> dict[str, Look]:
    """One look per policy; the learned ones take their colours in the order given.

    A policy and itself with a pace share a colour, and the paced line is dashed.
    """
    learned = [curve.policy for curve in curves if curve.learned]
    families = list(dict.fromkeys(family(policy) for policy in learned))
    found = {}
    for curve in curves:
        if curve.learned:
            base = family(curve.policy)
            colour = LEARNED[families.index(base) % len(LEARNED)]
            paced = base != curve.policy and base in learned
            found[curve.policy] = Look(
                colour, "o", width=2.4, size=5, dashed=paced, hollow=paced, zorder=5
            )
        else:
            per_block = curve.policy.endswith(PER_BLOCK)
            colour, marker = FAMILIES.get(curve.policy.removesuffix(PER_BLOCK), OTHER_FAMILY)
            found[curve.policy] = Look(colour, marker, dashed=per_block, hollow=per_block)
    return found


def reference_look(policy: str) -> Look:
    """A point for a policy without a knob."""
    size = 11 if policy == "dense" else 9
    return Look(INK, REFERENCES.get(policy, "."), width=0, size=size, zorder=6)


def quiet(panel: Axes) -> None:
    """Of a panel beside others: faint lines to read values by, no frame, small ticks."""
    panel.tick_params(labelsize=8.5, colors=INK)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", color="#eceff1", lw=0.8)
    panel.set_axisbelow(True)


def root_scale(panel: Axes, top: float) -> None:
    """A linear axis presses the good policies together; a log one has no room for dense at 0."""
    top = 1.05 * (top or 1.0)
    panel.set_yscale("function", functions=(_signed_root, np.square))
    panel.set_ylim(0, top)
    ticks = [0.0]
    for tick in (step * 10.0**power for power in range(-6, 4) for step in (1, 2, 5)):
        if tick <= top and np.sqrt(tick / top) - np.sqrt(ticks[-1] / top) > CLOSEST_TICKS:
            ticks.append(tick)
    panel.yaxis.set_major_locator(FixedLocator(ticks))
    panel.yaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))


def _signed_root(values: FloatArray) -> FloatArray:
    return np.sign(values) * np.sqrt(np.abs(values))
