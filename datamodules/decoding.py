"""One pass over the pictures of an opened video, and what went wrong on the way."""

from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.frame import VideoFrame as Picture

from datamodules.containers import average_rate, holds_picture
from datamodules.resample import Timed


class Decoding:
    """Decodes what can be decoded, and keeps count.

    FFmpeg does not always say that something is missing: with some threading modes and in some
    containers a cut file simply ends. So the count is compared with what was promised.

    Args:
        container: Opened, at its beginning, or sought.
        label: What to call it in messages.
        pts: Time stamps of all pictures, ascending, if the container was sought.
        skipped: Pictures left out by seeking.
    """

    def __init__(
        self,
        container: InputContainer,
        label: str,
        pts: tuple[int, ...] = (),
        skipped: int = 0,
    ) -> None:
        """Nothing is decoded before ``pictures`` is iterated."""
        self.container = container
        self.stream = container.streams.video[0]
        self.label = label
        self.decoded = 0
        self.lost = 0  # packets and pictures that were read but could not be decoded
        self._pts = pts
        self._skipped = skipped
        self._seen = 0  # packets that hold a picture
        self._placeholders = 0
        self._end = Fraction(0)  # of the last picture, seconds since the container's zero

    def pictures(self) -> Iterator[Timed[Picture]]:
        """Yield the pictures that can be decoded, in the order they are shown."""
        step = 1 / average_rate(self.stream)
        base = self.stream.time_base or step
        origin = self._pts[0] if self._pts else None
        for picture in self._decoded():
            index = self.decoded
            if picture.pts is None:  # raw streams have no clock
                time = index * step
            else:
                origin = picture.pts if origin is None else origin
                time = (picture.pts - origin) * base
                self._end = picture.pts * base + step
                if self._skipped:
                    index = bisect_left(self._pts, picture.pts)
            self.decoded += 1
            duration = picture.duration * base if picture.duration else step
            yield Timed(picture, time, duration, index)

    def damage(self, complete: bool) -> str | None:
        """Say what is missing.

        Args:
            complete: Whether ``pictures`` was read to its end; if not, only what was lost on
                the way is known.

        Returns:
            One sentence, or None if nothing is missing.
        """
        wanted = self._promised() - self._skipped if complete else self.decoded + self.lost
        if self.decoded >= wanted:
            return None
        return (
            f"{self.label}: only {self.decoded} of {wanted} frames could be decoded; the file is "
            f"damaged or cut short, so fetch or export it again if you need the rest."
        )

    def _lose(self) -> None:
        # Just after a seek, pictures that lean on those before it are lost, but not wanted.
        self.lost += self.decoded > 0 or not self._skipped

    def _promised(self) -> int:
        """Pictures that the container says, or its packets or duration suggest, it has."""
        if self.stream.frames:
            return self.stream.frames - self._placeholders
        return max(self._seen + self._skipped, self._promised_by_duration())

    def _decoded(self) -> Iterator[Picture]:
        """Yield decoded pictures up to the end, or to where the file cannot be read further."""
        try:
            for packet in self.container.demux(self.stream):
                self._seen += holds_picture(packet)
                self._placeholders += packet.size > 0 and not holds_picture(packet)
                try:
                    pictures = packet.decode()
                except av.FFmpegError:
                    self._lose()
                    continue  # the next packet may be sound
                for picture in pictures:
                    assert isinstance(picture, Picture)  # PyAV's type covers sound as well
                    if picture.is_corrupt:  # made up in part: missing, not decoded
                        self._lose()
                    else:
                        yield picture
        except av.FFmpegError:
            yield from self.stream.decode(None)  # what the decoder still holds

    def _promised_by_duration(self) -> int:
        """Pictures that fit the duration in the header; 0 if it says nothing about the video."""
        rate = average_rate(self.stream)
        duration = _tagged_duration(self.stream.metadata.get("DURATION", ""))
        if duration is None:
            only_video = len(self.container.streams) == 1  # sound may last longer
            if not (only_video and self.container.duration):
                return 0
            duration = Fraction(self.container.duration, av.time_base)
        missing = (duration - self._end) * rate
        # Half a picture may be rounding, and a picture's duration may be unequal to the rate.
        return self._skipped + self.decoded + int(missing) if missing > 1.5 else 0


def _tagged_duration(tag: str) -> Fraction | None:
    """Seconds from Matroska's "00:00:05.000000000"."""
    try:
        hours, minutes, seconds = tag.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
    except ValueError:
        return None
