"""The bar that a command shows while something takes long."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar per task with its name, count and time left, gone when it is over.

    Nothing is shown, not even an empty line, where stdout is no terminal.
    """
    console = Console()  # of its own: a Trainer's bar may still be live on the shared one
    bar = Progress(
        TextColumn("{task.description:28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        transient=True,
        console=console,
        disable=not console.is_terminal,
    )
    if bar.disable:
        yield bar
        return
    with bar:
        yield bar
