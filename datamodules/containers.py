"""Open video files and addresses, and learn what a file holds without decoding it."""

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from datamodules.errors import RegateError
from datamodules.resample import TOLERANCE, Timed, resample

VIDEO_SUFFIXES = frozenset(
    ".3gp .264 .265 .avi .flv .gif .h264 .h265 .hevc .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts "
    ".ogv .ts .webm .wmv .y4m".split()
)
PLACEHOLDER_BYTES = 1
"""AVI marks "no new picture" by packets of a single byte."""
FALLBACK_RATE = Fraction(25)
"""Frames per second where a raw stream does not say; FFmpeg's own choice."""


@dataclass(frozen=True)
class VideoInfo:
    """What a file's packets tell.

    Args:
        path: The file.
        rate: Frames per second, on average.
        time_base: Unit of the time stamps, seconds.
        pts: Time stamps of the pictures, ascending; empty if some lack one (raw streams).
        key_pts: Those at which decoding can start, ascending.
        pictures: Packets that hold a picture.
        promised: Pictures that the container claims to hold; 0 if it does not say.
    """

    path: Path
    rate: Fraction
    time_base: Fraction
    pts: tuple[int, ...]
    key_pts: tuple[int, ...]
    pictures: int
    promised: int

    def length(self, fps: float | None) -> int:
        """Frames that ``read_frames`` yields at ``fps``, if all can be decoded."""
        if fps is None:
            return self.pictures
        step = 1 / self.rate
        times = [(pts - self.pts[0]) * self.time_base for pts in self.pts]
        times = times or [index * step for index in range(self.pictures)]
        shown = (Timed(None, time, step, index) for index, time in enumerate(times))
        return sum(1 for _ in resample(shown, exact_rate(fps)))

    def key_before(self, start: int, rate: Fraction | None) -> tuple[int, int]:
        """Find the last key picture from which frame ``start`` can be decoded.

        Returns:
            Its time stamp and its number; number 0 means that seeking would not help.
        """
        if not self.pts:
            return 0, 0
        if rate is None:
            wanted = self.pts[min(start, len(self.pts) - 1)]
        else:
            wanted = self.pts[0] + int((start / rate + TOLERANCE) / self.time_base)
        key = bisect_right(self.key_pts, wanted) - 1
        if key < 0:
            return 0, 0
        return self.key_pts[key], bisect_left(self.pts, self.key_pts[key])


def exact_rate(fps: float) -> Fraction:
    """Make a rate exact, so that counting by it cannot drift.

    Raises:
        RegateError: If ``fps`` is not positive, not finite, or under 0.001.
    """
    if not fps > 0:
        raise RegateError(f"fps must be above 0, got {fps}.")
    if not 0.001 <= fps < math.inf:
        raise RegateError(f"fps must be finite and at least 0.001, got {fps:g}.")
    return Fraction(fps).limit_denominator(1001)


def open_container(source: str, label: str, **settings: Any) -> InputContainer:  # noqa: ANN401
    """Open anything that FFmpeg can read.

    Args:
        source: Path or address.
        label: What to call it in an error.
        settings: Passed on to ``av.open``.

    Raises:
        RegateError: If it cannot be opened or has no video in it.
    """
    try:
        container: InputContainer = av.open(source, **settings)
    except (av.FFmpegError, OSError) as error:
        reason = (error.strerror or str(error)).lower()
        raise RegateError(
            f"cannot open {label} ({reason}); check that it is there and holds a video."
        ) from error
    if not container.streams.video:
        container.close()
        raise RegateError(f"{label} has no video stream; give one that has.")
    return container


def open_file(path: Path) -> InputContainer:
    """Open a video file.

    Raises:
        RegateError: If it is missing, empty, not a video, or has no video stream.
    """
    if not path.is_file():
        raise RegateError(f"there is no file {path}; check the path.")
    if not path.stat().st_size:
        raise RegateError(f"{path} is empty (0 bytes); fetch or export it again.")
    # A colon in a file name would be taken for a protocol without the prefix.
    return open_container(f"file:{path}", str(path))


def nothing_in(label: str) -> RegateError:
    """The error for a source of which not one frame can be decoded."""
    return RegateError(f"no frame of {label} can be decoded; it is damaged, so replace it.")


def holds_picture(packet: "Packet[VideoStream] | Packet[Stream]") -> bool:
    """Whether a picture is to be expected of ``packet``."""
    return packet.size > PLACEHOLDER_BYTES and not packet.is_discard


def average_rate(stream: VideoStream) -> Fraction:
    """Frames per second of ``stream``."""
    return stream.average_rate or stream.guessed_rate or FALLBACK_RATE


def probe(path: Path | str) -> VideoInfo:
    """Read a file's packets, without decoding them.

    Raises:
        RegateError: If the file cannot be opened, has no video stream, or no picture in it.
    """
    path = Path(path)
    with open_file(path) as container:
        stream = container.streams.video[0]
        packets, placeholders = [], 0
        try:
            for packet in container.demux(stream):
                if holds_picture(packet):
                    packets.append((packet.pts, packet.is_keyframe))
                elif packet.size:
                    placeholders += 1
        except av.FFmpegError:
            pass  # cut short, which the count of pictures against the promise tells
        if not packets:
            raise nothing_in(str(path))
        pts = sorted(stamp for stamp, _ in packets if stamp is not None)
        usable = len(set(pts)) == len(packets)
        keys = sorted(stamp for stamp, is_key in packets if is_key and stamp is not None)
        rate = average_rate(stream)
        return VideoInfo(
            path=path,
            rate=rate,
            time_base=stream.time_base or 1 / rate,
            pts=tuple(pts) if usable else (),
            key_pts=tuple(keys) if usable else (),
            pictures=len(packets),
            promised=max(0, stream.frames - placeholders),
        )
