"""Everything a comparison leaves behind: JSON, CSV, figure, TensorBoard runs and the table."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from policy.compare.drift_figure import draw_drift
from policy.compare.figure import draw, png
from policy.compare.records import Sweep
from policy.compare.results import Results
from policy.compare.table import render, terminal
from policy.compare.tensorboard import write_tensorboard
from policy.compare.writing import replace_file, write_clips, write_csv, write_drift, write_json

FILES = (
    "results.json",
    "results.csv",
    "clips.csv",
    "drift.csv",
    "curve.png",
    "drift.png",
    "tensorboard",
)


def write_report(
    results: Results, sweeps: Sequence[Sweep], out: Path, console: Console | None = None
) -> list[Path]:
    """Write all forms of the results into ``out`` and print the table.

    Args:
        results: Of ``policy.compare.matched.compare``.
        sweeps: That they were made of.
        out: Folder, made if absent; earlier results in it are replaced.
        console: Where the table goes; stdout by default.

    Returns:
        What was written, in the order of ``FILES``.

    Raises:
        RegateError: If ``out`` cannot be written.
    """
    paths = {name: out / name for name in FILES}
    # First the files that cannot be made again without running the sweeps.
    write_json(results, paths["results.json"])
    write_csv(results, paths["results.csv"])
    write_clips(sweeps, paths["clips.csv"])
    write_drift(results, paths["drift.csv"])
    print_table(results, console)
    replace_file(paths["curve.png"], png(draw(results)))
    replace_file(paths["drift.png"], png(draw_drift(results)))
    write_tensorboard(results, paths["tensorboard"])
    return list(paths.values())


def print_table(results: Results, console: Console | None = None) -> None:
    """Print the table, its legend and the verdicts."""
    console = console or terminal()
    console.print(render(results, console))
