"""Time against MACs, both over the dense model's, with the line that saved MACs would lie on."""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from policy.bench.floors import Floors
from policy.bench.rows import BenchRow
from policy.compare.figure_style import FAINT, INK, LEARNED

# Characters that fit above the panel and the legend beside it.
TITLE_WIDTH = 84

LOOKS = {
    "dense packed": (INK, "P"),
    "dense compiled": (INK, "X"),
    "everything": (INK, "D"),
    "shared": ("#3f6f9f", "o"),
    "shared compiled": ("#2a8a8a", "o"),
    "per block": ("#a98b55", "^"),
    "ragged": ("#7d6b91", "v"),
    "one by one": ("#9aa3a8", "x"),
    "learned": (LEARNED[0], "s"),
}


def draw_bench(rows: Sequence[BenchRow], floors: Floors, title: str) -> Figure:
    """Draw the rows that run blocks.

    Args:
        rows: The dense model's first.
        floors: Of the same run.
        title: Model, streams, machine, and how time was taken; broken where it is too long.
    """
    figure = Figure(figsize=(7.4, 4.8), layout="constrained", dpi=150)
    panel = figure.subplots()
    dense = rows[0]
    panel.plot([0, 1], [0, 1], color=FAINT, lw=1.2, ls="--", label="ideal: time as MACs", zorder=1)
    _floor(panel, dense.operations_floor_ms or 0.0, floors.bytes_ms, dense.ms_p50)
    panel.plot(1, 1, "*", color=INK, markersize=11, ls="", label="dense", zorder=4)
    for name, (colour, marker) in LOOKS.items():
        drawn = [row for row in rows if row.variant == name]
        if drawn:
            _variant(panel, drawn, colour, marker)
    panel.set_xlim(0, 1.05)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("MACs of the backbone ÷ dense", fontsize=9, color=INK)
    panel.set_ylabel("time, gate included ÷ dense (bars: quartiles)", fontsize=9, color=INK)
    panel.set_title(textwrap.fill(title, TITLE_WIDTH), fontsize=9.5, loc="left", color=INK)
    panel.tick_params(labelsize=8.5, colors=INK)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="#eceff1", lw=0.8)
    panel.set_axisbelow(True)
    figure.legend(loc="outside right center", frameon=False, fontsize=8.5, labelcolor=INK)
    return figure


def _floor(panel: Axes, operations_ms: float, bytes_ms: float, dense_ms: float) -> None:
    """The higher of both floors: flat where reading the weights takes longer than the MACs."""
    corner = min(bytes_ms / operations_ms, 1.0) if operations_ms else 1.0
    shares = [0.0, corner, 1.0]
    floor = [max(bytes_ms, share * operations_ms) / dense_ms for share in shares]
    panel.plot(shares, floor, color=FAINT, lw=1.2, ls=":", label="floor of this machine", zorder=1)


def _variant(panel: Axes, rows: Sequence[BenchRow], colour: str, marker: str) -> None:
    ratios = [row.time_ratio for row in rows]
    below = [row.time_ratio - row.time_ratio_low for row in rows]
    above = [row.time_ratio_high - row.time_ratio for row in rows]
    panel.errorbar(
        [row.macs_ratio for row in rows],
        ratios,
        yerr=[below, above],
        color=colour,
        marker=marker,
        markersize=5,
        lw=1.3,
        elinewidth=0.9,
        capsize=2,
        label=rows[0].variant,
        zorder=3,
    )
