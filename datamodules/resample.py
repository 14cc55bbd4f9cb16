"""Show pictures with uneven time stamps at an even rate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

PictureT = TypeVar("PictureT")

TOLERANCE = Fraction(1, 1000)
"""Seconds. Matroska rounds time stamps to the millisecond, which must not change the choice."""


@dataclass(frozen=True)
class Timed(Generic[PictureT]):
    """A picture and when it is shown."""

    picture: PictureT
    time: Fraction
    """Seconds since the first picture."""
    duration: Fraction
    """Seconds; matters for the last picture alone."""
    index: int
    """Number of the picture in its file."""


def resample(
    pictures: Iterable[Timed[PictureT]], rate: Fraction, start: int = 0
) -> Iterator[tuple[int, Timed[PictureT]]]:
    """Hold each picture until the next: tick k shows what is on screen at k / ``rate`` seconds.

    Exact arithmetic, so that the same file gives the same frames everywhere. Pictures at
    ``rate`` come out as they went in.

    Args:
        pictures: In the order they are shown.
        rate: Ticks per second.
        start: First tick wanted.

    Yields:
        Tick and the picture shown at it.
    """
    tick = start
    shown: Timed[PictureT] | None = None
    for picture in pictures:
        while shown is not None and tick / rate + TOLERANCE < picture.time:
            yield tick, shown
            tick += 1
        shown = picture
    while shown is not None and tick / rate + TOLERANCE < shown.time + shown.duration:
        yield tick, shown
        tick += 1
