"""The comparison as a table for the terminal, readable without colour when piped."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console, Group
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from policy.compare.legend import legend_lines, si, verdict_lines
from policy.compare.results import Results, Row, best_at

PIPED_WIDTH = 200  # columns; a file has no edge to wrap at
ALWAYS = 100  # a column of this rank never leaves


class Column(NamedTuple):
    """One column of the table; the lowest rank leaves first when the terminal is narrow."""

    header: str
    cell: Callable[[Row], str]
    rank: int
    metric: str | None = None  # absent from the table when no row has it


def terminal() -> Console:
    """A console on stdout, wide when stdout is not a terminal."""
    has_edge = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if has_edge else PIPED_WIDTH)


def render(results: Results, console: Console) -> Group:
    """Table, legend and verdicts, with as many columns as the console has room for."""
    present = {name for row in results.rows for name in row.metrics}
    columns = [column for column in _columns() if column.metric in {None, *present}]
    full = len(columns)
    table = _table(results, columns)
    unbounded = console.options.update(width=10_000)
    while Measurement.get(console, unbounded, table).maximum > console.width:
        least = min(columns, key=lambda column: column.rank)
        if least.rank == ALWAYS:
            break
        columns.remove(least)
        table = _table(results, columns)
    lines = legend_lines(results)
    if len(columns) < full:
        lines.append(f"{full - len(columns)} more columns in results.csv.")
    verdicts = verdict_lines(results)
    return Group(
        table,
        *(Text(line, style="dim") for line in lines),
        *(Text(line) for line in (["", *verdicts] if verdicts else [])),
    )


def _table(results: Results, columns: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=_title(results), title_justify="left", pad_edge=False)
    table.add_column("asked", justify="right", no_wrap=True)
    table.add_column("policy", no_wrap=True)
    for column in columns:
        table.add_column(column.header, justify="right", no_wrap=True)
    for budget in dict.fromkeys(row.budget for row in results.rows):
        best = None if budget is None else best_at(results.rows, budget)
        section = [row for row in results.rows if row.budget == budget]
        for index, row in enumerate(section):
            asked = "-" if budget is None else f"{budget:g}"
            mark = "* " if row.policy == best else "  "
            table.add_row(
                asked if index == 0 else "",
                mark + row.policy + (" †" if row.fallback else ""),
                *(column.cell(row) for column in columns),
                style=_style(row, row.policy == best),
            )
        table.add_section()
    return table


def _title(results: Results) -> str:
    words = [results.meta.get(key) for key in ("title", "data", "backbone")]
    return " · ".join(["Quality at matched compute", *(w for w in words if isinstance(w, str))])


def _style(row: Row, best: bool) -> str:
    colour = "cyan" if row.learned else "dim" if row.budget is None else "default"
    return f"bold {colour}" if best else colour


def _columns() -> list[Column]:
    return [
        Column("spent", _spent, ALWAYS),
        Column("MACs", lambda row: "" if row.macs is None else si(row.macs).strip(), 5),
        Column("KL", _value("kl"), ALWAYS, "kl"),
        Column("95 %", _interval("kl"), 11, "kl"),
        Column("agreement", _value("agreement"), ALWAYS, "agreement"),
        Column("95 %", _interval("agreement"), 10, "agreement"),
        Column("top-5", _value("agreement_top5"), 1, "agreement_top5"),
        Column("cosine", _value("cosine"), 8, "cosine"),
        Column("worst 5 %", _value("cosine_worst5"), 6, "cosine_worst5"),
        Column("pooled", _value("cosine_pooled"), 2, "cosine_pooled"),
        Column("flips", _value("excess_flips", "+.3f"), 4, "excess_flips"),
        Column("accuracy", _value("accuracy"), 9, "accuracy"),
        Column("ms", lambda row: _number(row.ms_mean, ".1f"), 7),
        Column("p95", lambda row: _number(row.ms_p95, ".1f"), 3),
        Column("state", _state, 3),
    ]


def _spent(row: Row) -> str:
    # The trailing blank keeps the digits of marked and unmarked rows in line.
    return _number(row.spent, ".3f") + ("~" if row.interpolated else " ")


def _state(row: Row) -> str:
    return "" if row.state_bytes is None else si(row.state_bytes) + "B"


def _value(metric: str, form: str = ".3f") -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        estimate = row.metrics.get(metric)
        return "-" if estimate is None else _number(estimate.value, form) or "-"

    return cell


def _interval(metric: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        estimate = row.metrics.get(metric)
        if estimate is None or estimate.interval is None:
            return ""
        low, high = estimate.interval
        return f"[{low:.3f}, {high:.3f}]"

    return cell


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
