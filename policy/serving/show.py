"""What a run prints: a line per frame, or one live line, and the summary beside dense."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from policy.milliseconds import Latency
from policy.serving.rows import FrameRow, Sink
from policy.serving.serve import Served
from policy.serving.totals import Summary

LABEL_WIDTH = 24
HEADER = f"{'frame':>6} {'time':>8}  {'top-1':{LABEL_WIDTH}}      {'spent':>5} {'gated ms':>9}"
BUDGET_HEADER = f" {'budget':>7}"
DENSE_HEADER = f" {'dense ms':>9}  dense top-1"
FLUSHES = {"cut": "a scene cut", "age": "patches have reached their age"}


class Lines:
    """One plain line per frame, for a file, a pipe, or whoever wants them all."""

    def __init__(self, dense: bool, steered: bool = False) -> None:
        self._steered = steered
        budget = BUDGET_HEADER if steered else ""
        print(HEADER + budget + (DENSE_HEADER if dense else ""))

    def add(self, served: Served, row: FrameRow) -> None:
        """Print it at once: the reader of a live stream should not wait for a full buffer."""
        for event in events(row):
            print(f"-- {event}")
        print(frame_line(row, self._steered), flush=True)


class LiveLine:
    """The last frame in a line that is written over, beside the progress.

    Args:
        progress: Running.
        total: Frames to come; None where nobody knows.
        steered: Whether the budget follows the latency, and is shown.
    """

    def __init__(self, progress: Progress, total: int | None, steered: bool = False) -> None:
        self._progress = progress
        self._steered = steered
        self._task = progress.add_task("", total=total, line="")

    def add(self, served: Served, row: FrameRow) -> None:
        """Write over the line before."""
        for event in events(row):
            self._progress.console.print(f"[dim]{escape(event)}[/]")
        of = f" of {row.budget:.2f}" if self._steered else ""
        line = f"{escape(_label(row))}  spent {row.spent:.2f}{of}  {row.ms:.1f} ms"
        if row.dense_ms is not None:
            verdict = "" if row.agrees is None else " =" if row.agrees else " differs"
            line += f"  [dim]dense {row.dense_ms:.1f} ms{verdict}[/]"
        self._progress.update(self._task, advance=1, line=line)


@contextmanager
def showing(verbose: bool, dense: bool, total: int | None, steered: bool = False) -> Iterator[Sink]:
    """How frames are told of: live on a terminal, by lines elsewhere.

    Args:
        verbose: Lines on a terminal too.
        dense: Whether the dense model runs beside.
        total: Frames to come; None where nobody knows.
        steered: Whether the budget follows the latency, and is shown.
    """
    if verbose or not sys.stdout.isatty():
        yield Lines(dense, steered)
        return
    columns = (BarColumn(16), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[line]}"), transient=True) as progress:
        yield LiveLine(progress, total, steered)


def events(row: FrameRow) -> Iterator[str]:
    """What sets a frame apart from those before it, for people."""
    if row.restart and row.frame:
        yield f"{row.restart}: a new stream, its first frame is dense"
    if row.flush:
        yield f"frame {row.frame}: {FLUSHES[row.flush]}, all patches are computed again"
    if row.checked is not None:
        yield f"frame {row.frame}: spot check, {row.checked:.4f} from dense"


def frame_line(row: FrameRow, steered: bool = False) -> str:
    """A frame in one line, under ``HEADER``, with its budget where that is steered."""
    time = f"{row.time:.2f}s"
    line = f"{row.frame:>6} {time:>8}  {_label(row)} {row.spent:>5.2f} {row.ms:>9.1f}"
    if steered:
        line += f" {row.budget:>7.3f}"
    if row.dense_ms is not None:
        verdict = "" if row.agrees is None else "=" if row.agrees else row.dense_label
        line += f" {row.dense_ms:>9.1f}  {verdict}"
    return line.rstrip()


def print_summary(summary: Summary, title: str) -> None:
    """Print the run beside dense."""
    Console(highlight=False).print(_table(summary, title))


def _table(summary: Summary, title: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    table.add_column(f"{summary.frames} frames" + _ended(summary))
    table.add_column("gated", justify="right")
    table.add_column("dense", justify="right")
    table.add_row(
        f"spent, fraction of dense ({_asked(summary)})", _number(summary.spent, ".3f"), "1"
    )
    table.add_row("  largest on a frame", _number(summary.spent_max, ".3f"), "1")
    table.add_row("  with the first frame", _number(summary.spent_with_first, ".3f"), "1")
    table.add_row("MACs per frame", _macs(summary.macs), _macs(summary.dense_macs))
    for name in ("mean", "p50", "p95"):
        table.add_row(f"ms per frame, {name}", _ms(summary.ms, name), _ms(summary.dense_ms, name))
    if summary.target_ms is not None:
        over = "-" if summary.over_target is None else f"{summary.over_target:.1%}"
        table.add_row(f"  frames over {summary.target_ms:g} ms", over, "")
    table.add_row(
        "  and to resize and crop, p50", *[_ms(summary.preprocess_ms, "p50")] * 2, style="dim"
    )
    if summary.agreement is not None:
        table.add_row("agreement with dense top-1", f"{summary.agreement:.1%}", "100.0%")
        table.add_row("KL(dense ‖ gated), nats", _number(summary.kl, ".4f"), "0")
    if summary.cosine is not None:
        table.add_row("cosine with dense features", _number(summary.cosine, ".4f"), "1")
    if summary.flushes:
        table.add_row("flushes, at cuts and for age", str(summary.flushes), "–")
    if summary.checks:
        name = f"distance to dense at {summary.checks} spot checks"
        table.add_row(name, _number(summary.checked, ".4f"), "0")
    table.add_row("state kept between frames", f"{summary.state_bytes / 1e6:.2f} MB", "0")
    return table


def _asked(summary: Summary) -> str:
    if summary.budget_low is not None and summary.budget_high is not None:
        return f"budgets {summary.budget_low:.3g} to {summary.budget_high:.3g}"
    if summary.budget is None:
        return f"knob {summary.knob:g}"
    return f"{'hard' if summary.hard else 'asked'} {summary.budget:g}"


def _ended(summary: Summary) -> str:
    sources = f" of {summary.sources} sources" if summary.sources > 1 else ""
    return sources + (", interrupted" if summary.ended == "interrupt" else "")


def _label(row: FrameRow) -> str:
    """The class and its probability, in ``LABEL_WIDTH`` + 5 characters."""
    if row.probability is None:
        return " " * (LABEL_WIDTH + 5)
    name = row.label if len(row.label) <= LABEL_WIDTH else f"{row.label[: LABEL_WIDTH - 1]}…"
    return f"{name:{LABEL_WIDTH}} {row.probability:>4.0%}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _ms(latency: Latency | None, name: str) -> str:
    return "-" if latency is None else f"{getattr(latency, name):.1f}"


def _macs(macs: float | None) -> str:
    if macs is None:
        return "-"
    return f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:.1f} M"
