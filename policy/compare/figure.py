"""Quality against compute, one panel per metric, every policy's curve."""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from policy.compare.figure_style import (
    FAINT,
    INK,
    Look,
    in_order,
    looks,
    reference_look,
    root_scale,
)
from policy.compare.records import METRICS
from policy.compare.results import PlotCurve, Results, Row, best_heuristic

PANELS = ("kl", "agreement", "accuracy")
LEFTMOST = 0.3  # of the lowest budget


def draw(results: Results) -> Figure:
    """Draw the comparison.

    Args:
        results: Of ``policy.compare.matched.compare``.

    Returns:
        A figure with a panel for KL, agreement and, where there are labels, accuracy.
    """
    shown = [name for name in PANELS if any(name in row.metrics for row in results.rows)]
    figure = Figure(figsize=(4.7 * len(shown) + 2.3, 4.6), layout="constrained", dpi=150)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    curves = in_order(results)
    styles = looks(curves)
    banded = best_heuristic(results.area, results.rows)
    for panel, metric in zip(axes, shown, strict=True):
        _budget_lines(panel, results)
        for curve in reversed(curves):  # the best on top
            _curve(panel, curve, metric, styles[curve.policy], banded)
        _references(panel, results, metric)
        _axes(panel, results, curves, metric)
    figure.legend(
        handles=_handles(curves, styles, results), loc="outside right center", frameon=False,
        fontsize=8.5, labelcolor=INK, handlelength=2.6,
    )  # fmt: skip
    figure.suptitle(_title(results), x=0.01, ha="left", fontsize=10.5, color=INK)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _curve(panel: Axes, curve: PlotCurve, metric: str, look: Look, banded: str | None) -> None:
    points = [
        (spent, value)
        for spent, value in zip(curve.spent, curve.metrics.get(metric, ()), strict=False)
        if spent > 0 and value is not None
    ]
    if not points:
        return
    x, y = zip(*points, strict=True)
    panel.plot(x, y, **look.line())
    if not curve.learned and curve.policy != banded:
        return  # bands of all would hide each other
    band = [
        (spent, *interval)
        for spent, interval in zip(curve.band_spent, curve.band.get(metric, ()), strict=False)
        if interval is not None
    ]
    if band:
        spent, low, high = zip(*band, strict=True)
        panel.fill_between(spent, low, high, color=look.color, alpha=0.13, lw=0)


def _budget_lines(panel: Axes, results: Results) -> None:
    for budget in _budgets(results):
        panel.axvline(budget, color=FAINT, lw=0.8, ls=(0, (1, 2.5)), zorder=0)


def _references(panel: Axes, results: Results, metric: str) -> None:
    """Policies without a knob: a level for dense and for hold, a point for the others."""
    for row in _without_knob(results):
        value = row.metrics[metric].value if metric in row.metrics else None
        if value is None or not row.spent:
            if row.policy == "hold" and value is not None:
                panel.axhline(value, color=FAINT, lw=0.9, ls="-.", zorder=1)
            continue
        if row.policy == "dense":
            panel.axhline(value, color=INK, lw=0.8, zorder=1, alpha=0.55)
        # Dense lies in the corner of the panel, where clipping would cut the star.
        inside = row.policy != "dense"
        panel.plot(row.spent, value, clip_on=inside, **reference_look(row.policy).line())


def _axes(panel: Axes, results: Results, curves: Sequence[PlotCurve], metric: str) -> None:
    left = _left_edge(results)
    panel.set_xscale("log")
    panel.set_xlim(left, 1.06)
    ticks = sorted({*_budgets(results), 1.0})
    panel.xaxis.set_major_locator(FixedLocator(ticks))
    panel.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    panel.xaxis.set_minor_locator(NullLocator())
    label, higher, _ = METRICS[metric]
    reading = "higher is better" if higher else "lower is better"
    if metric == "kl":
        root_scale(panel, max((v for c in curves for v in _visible(c, metric, left)), default=1.0))
        reading += ", root scale"
    panel.set_title(f"{label} ({reading})", fontsize=9.5, loc="left", color=INK)
    panel.set_xlabel("spent: fraction of dense MACs (log)", fontsize=9, color=INK)
    panel.tick_params(labelsize=8.5, colors=INK)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", color="#eceff1", lw=0.8)
    panel.set_axisbelow(True)


def _left_edge(results: Results) -> float:
    """Room for the lowest budget, and for ``never`` unless it would push all to the right."""
    lowest = min(_budgets(results), default=0.1)
    points = [row.spent for row in _without_knob(results) if row.spent]
    return 0.85 * min([lowest, *(spent for spent in points if spent > LEFTMOST * lowest)])


def _visible(curve: PlotCurve, metric: str, left: float) -> list[float]:
    pairs = zip(curve.spent, curve.metrics.get(metric, ()), strict=False)
    return [value for spent, value in pairs if value is not None and spent >= left]


def _handles(
    curves: Sequence[PlotCurve], styles: dict[str, Look], results: Results
) -> list[Line2D]:
    """One legend entry per policy, references last."""
    handles = [
        Line2D([], [], label=curve.policy, **styles[curve.policy].line()) for curve in curves
    ]
    for row in _without_knob(results):
        if row.spent:
            look = reference_look(row.policy).line()
            handles.append(Line2D([], [], label=row.policy, **look))
        elif row.policy == "hold":
            handles.append(Line2D([], [], label="hold (0 MACs)", color=FAINT, ls="-.", lw=0.9))
    return handles


def _without_knob(results: Results) -> list[Row]:
    return [row for row in results.rows if row.budget is None]


def _budgets(results: Results) -> list[float]:
    return sorted({row.budget for row in results.rows if row.budget is not None})


def _title(results: Results) -> str:
    meta = results.meta
    words = [meta.get(key) for key in ("title", "data", "backbone", "split")]
    named = [word for word in words if isinstance(word, str)]
    counts = f"{meta.get('clips')} videos in {meta.get('groups')} groups"
    band = "bands: 95 %" if meta.get("resamples") else "no bands"
    return " · ".join(["Quality against compute", *named, counts, band])
