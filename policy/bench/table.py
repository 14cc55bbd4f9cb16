"""The benchmark as a table for the terminal."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from policy.bench.rows import BenchRow
from policy.compare.legend import si


class Column(NamedTuple):
    """One column; what is further right leaves first when the terminal is narrow."""

    header: str
    cell: Callable[[BenchRow], str]


COLUMNS = (
    Column("variant", lambda row: row.variant),
    Column("tokens", lambda row: "" if row.fraction is None else f"{row.fraction:g}"),
    Column("MACs", lambda row: f"{row.macs_ratio:.3f}"),
    Column("time", lambda row: f"{row.time_ratio:.3f}"),
    Column("quartiles", lambda row: f"{row.time_ratio_low:.3f}, {row.time_ratio_high:.3f}"),
    Column("efficiency", lambda row: _number(row.efficiency, ".2f")),
    Column("over floor", lambda row: _number(row.time_over_floor, ".2f")),
    Column("ms p50", lambda row: f"{row.ms_p50:.2f}"),
    Column("p95", lambda row: f"{row.ms_p95:.2f}"),
    Column("spread", lambda row: f"{row.spread:.2f}"),
    Column("frames/s", lambda row: f"{row.frames_per_s:.1f}"),
    Column("state", lambda row: f"{si(row.state_bytes)}B"),
    Column("peak", lambda row: f"{si(row.peak_bytes)}B"),
)


def print_rows(rows: Sequence[BenchRow], title: str, console: Console) -> None:
    """Print as many columns as the console has room for, and say where the others are."""
    unbounded = console.options.update(width=10_000)
    shown = len(COLUMNS)
    table = _table(rows, title, shown)
    while Measurement.get(console, unbounded, table).maximum > console.width and shown > 1:
        shown -= 1
        table = _table(rows, title, shown)
    console.print(table)
    if shown < len(COLUMNS):
        print(f"{len(COLUMNS) - shown} more columns in a wider terminal, and all in --json.")


def _table(rows: Sequence[BenchRow], title: str, shown: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for index, column in enumerate(COLUMNS[:shown]):
        table.add_column(column.header, justify="right" if index else "left", no_wrap=True)
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        ends = after is None or after.fraction != row.fraction
        table.add_row(*(column.cell(row) for column in COLUMNS[:shown]), end_section=ends)
    return table


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
