"""KL against the frames since the dense one, one panel per budget, every policy's line."""

from collections.abc import Mapping
from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from policy.compare.figure_style import FAINT, INK, Look, in_order, looks, quiet, root_scale
from policy.compare.results import Results

ABREAST = 4
"""Panels side by side."""
REFERENCES = {"hold": "-.", "never": ":"}
"""Policies without a knob that drift: what no recomputation at all comes to."""


def draw_drift(results: Results) -> Figure:
    """Draw ``results.drift``: a flat line does not drift, a rising one does."""
    budgets = sorted({entry.budget for entry in results.drift if entry.budget is not None})
    panels: list[float | None] = [*budgets] or [None]
    rows, columns = ceil(len(panels) / ABREAST), min(len(panels), ABREAST)
    figure = Figure(figsize=(3.1 * columns + 2.3, 3.4 * rows + 0.4), layout="constrained", dpi=150)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    curves = in_order(results)
    styles = looks(curves)
    for panel, budget in zip(axes, panels, strict=False):
        _panel(panel, results, budget, styles)
    for panel in axes[len(panels) :]:
        panel.remove()
    top = max((value for entry in results.drift for value in entry.kl), default=1.0)
    root_scale(axes[0], top)
    handles = [Line2D([], [], label=name, **styles[name].line()) for name in styles]
    handles += [
        Line2D([], [], label=name, color=FAINT, ls=dashes, lw=1.1)
        for name, dashes in REFERENCES.items()
        if any(entry.policy == name for entry in results.drift)
    ]
    figure.legend(
        handles=handles, loc="outside right center", frameon=False, fontsize=8.5, labelcolor=INK,
        handlelength=2.6,
    )  # fmt: skip
    figure.suptitle(
        "KL to dense against frames since the dense one (lower is better, root scale)",
        x=0.01, ha="left", fontsize=10.5, color=INK,
    )  # fmt: skip
    return figure


def _panel(panel: Axes, results: Results, budget: float | None, styles: Mapping[str, Look]) -> None:
    for entry in results.drift:
        frames = range(1, len(entry.kl) + 1)
        if entry.policy in REFERENCES:
            panel.plot(frames, entry.kl, color=FAINT, ls=REFERENCES[entry.policy], lw=1.1)
        elif entry.budget == budget and entry.policy in styles:
            look = styles[entry.policy].line() | {"markersize": 3.0}
            panel.plot(frames, entry.kl, **look)
    if budget is not None:
        panel.set_title(f"budget {budget:g}", fontsize=9.5, loc="left", color=INK)
    panel.set_xlabel("frames since the dense one", fontsize=9, color=INK)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    quiet(panel)
