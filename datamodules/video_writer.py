"""Write MP4 video that every browser plays, whole or not at all."""

import os
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.frame import VideoFrame as Picture
from av.video.stream import VideoStream
from numpy.typing import NDArray

from datamodules.containers import exact_rate
from datamodules.errors import RegateError


class VideoWriter:
    """Collects frames into an H.264 file that appears at ``path`` when the last is written.

    Until then they go to a temporary file beside it, which is removed if anything fails: a
    killed run leaves the former file, never half of one.

    Example::

        with VideoWriter("overlay.mp4", fps=10) as writer:
            for image in images:  # uint8 [h, w, 3]
                writer.write(image)

    Args:
        path: Where the video goes; ".mp4" is what players expect.
        fps: Frames per second.

    Raises:
        RegateError: If the folder cannot be written to, or ``fps`` is not positive.
    """

    def __init__(self, path: Path | str, fps: float) -> None:
        """Make the temporary file, so that a folder that is read-only fails at once."""
        self.path = Path(path)
        self.rate: Fraction = exact_rate(fps)
        self.frames = 0
        self._size: tuple[int, int] | None = None
        self._stream: VideoStream | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(
                prefix=f".{self.path.stem}-", suffix=".mp4", dir=self.path.parent
            )
        except OSError as error:
            raise RegateError(
                f"cannot write {self.path} ({(error.strerror or str(error)).lower()}); "
                f"choose a folder that can be written to."
            ) from error
        os.close(handle)
        self._temporary = Path(name)
        self._container = av.open(name, "w", format="mp4", options={"movflags": "faststart"})

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append ``image``, uint8 [h, w, 3] RGB, as large as the first.

        Odd sizes, which H.264 cannot hold, are padded by repeating the last row or column.

        Raises:
            RegateError: If the size differs from the first frame's.
        """
        height, width = image.shape[:2]
        if self._stream is None:
            self._size = (height, width)
            self._stream = self._open_stream(height + height % 2, width + width % 2)
        if (height, width) != self._size:
            raise RegateError(
                f"{self.path}: a frame of {height}x{width} cannot follow frames of "
                f"{self._size[0] if self._size else 0}x{self._size[1] if self._size else 0}; "
                f"write each size to its own file."
            )
        padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = Picture.from_ndarray(padded, format="rgb24")
        picture.pts = self.frames
        picture.time_base = 1 / self.rate
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def close(self) -> None:
        """Finish the file and move it to its place; without a frame, leave nothing."""
        if self._stream is None:
            self.discard()
            return
        self._container.mux(self._stream.encode(None))
        self._container.close()
        # mkstemp's files are private; give this one the mode of an ordinary new file.
        mask = os.umask(0)
        os.umask(mask)
        self._temporary.chmod(0o666 & ~mask)
        os.replace(self._temporary, self.path)

    def discard(self) -> None:
        """Forget what was written."""
        self._container.close()
        self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the file, or discard it if the block failed."""
        if kind is None:
            self.close()
        else:
            self.discard()

    def _open_stream(self, height: int, width: int) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=self.rate)
        assert isinstance(stream, VideoStream)  # PyAV's type covers sound as well
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast"}
        return stream
