"""Ctrl-C as the ordinary end of a stream that has none."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether somebody has asked for the end."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Let the frame in work be finished at the first Ctrl-C or SIGTERM; a second one breaks off.

    A video file that is not closed properly cannot be played, so the loop is asked to end instead
    of being cut. Outside the main thread, where Python allows no handlers, nothing changes.
    """
    interrupt = Interrupt()
    former: dict[int, signal.Handlers | int | Callable[..., object] | None] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        interrupt.asked = True
        restore()

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            former[number] = signal.signal(number, ask)
    except ValueError:
        pass
    try:
        yield interrupt
    finally:
        restore()
