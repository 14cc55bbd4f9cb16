"""Read video files frame by frame, and never let a damaged one pass in silence."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame as Picture
from numpy.typing import NDArray

from datamodules.containers import VideoInfo, exact_rate, nothing_in, open_file, probe
from datamodules.decoding import Decoding
from datamodules.errors import RegateWarning
from datamodules.resample import Timed, resample

SEEK_SAVES = 256
"""Frames; to skip fewer, decoding and dropping them beats reading the file's packets first."""


@dataclass(frozen=True)
class VideoFrame:
    """One frame as a person would see it."""

    image: NDArray[np.uint8]
    """[h, w, 3], RGB, turned the way it is meant to be seen."""
    time: float
    """Seconds since the first frame."""
    index: int
    """Number of the frame, at the rate it was asked for."""
    name: str
    """The file or source it comes from; a new name is a new scene."""


def warn(message: str) -> None:
    """Tell the user while the run goes on."""
    warnings.warn(message, RegateWarning, stacklevel=2)


def read_frames(
    video: Path | str | VideoInfo,
    fps: float | None = None,
    start: int = 0,
    count: int | None = None,
    on_damage: Callable[[str], None] = warn,
) -> Iterator[VideoFrame]:
    """Yield the frames of a file, one by one.

    Whatever can be decoded of a damaged file comes through; then ``on_damage`` is told once.
    With ``count``, it is not told what lies behind the frames that were read.

    Args:
        video: The file, or what ``probe`` said of it, which spares reading it twice.
        fps: Frames per second to show it at, by its time stamps; None yields each picture.
        start: First frame wanted, counted at that rate.
        count: How many; None for all that follow.
        on_damage: Takes one sentence that names the file and the frames missing.

    Raises:
        RegateError: If the file cannot be opened, or no frame of it can be decoded.
    """
    rate = None if fps is None else exact_rate(fps)
    if count == 0:
        return
    path = video.path if isinstance(video, VideoInfo) else Path(video)
    pts: tuple[int, ...] = ()
    skipped = 0
    with open_file(path) as container:
        if start > SEEK_SAVES:
            info = video if isinstance(video, VideoInfo) else probe(path)
            stamp, skipped = info.key_before(start, rate)
            if skipped:
                pts = info.pts
                container.seek(stamp, stream=container.streams.video[0])
        decoding = Decoding(container, str(path), pts, skipped)
        taken = 0
        for index, shown in number(decoding.pictures(), rate, start):
            yield VideoFrame(to_image(shown.picture), float(shown.time), index, str(path))
            taken += 1
            if taken == count:
                break
        if not decoding.decoded:
            raise nothing_in(str(path))
        if damage := decoding.damage(complete=taken != count):
            on_damage(damage)


def number(
    pictures: Iterator[Timed[Picture]], rate: Fraction | None, start: int = 0
) -> Iterator[tuple[int, Timed[Picture]]]:
    """Number pictures at ``rate`` and leave out those before ``start``.

    With a rate, a picture comes once for each index at which it is on screen, timed by the
    index.
    """
    if rate is None:
        for shown in pictures:
            if shown.index >= start:
                yield shown.index, shown
        return
    for tick, shown in resample(pictures, rate, start):
        yield tick, replace(shown, time=tick / rate)


def to_image(picture: Picture) -> NDArray[np.uint8]:
    """Convert to RGB, uint8 [h, w, 3], and turn it the way it is meant to be seen."""
    image = np.asarray(picture.to_ndarray(format="rgb24"), dtype=np.uint8)
    turns = round(picture.rotation / 90) % 4  # the metadata counts counter-clockwise, as numpy
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
