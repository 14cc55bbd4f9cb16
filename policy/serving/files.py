"""What a run leaves on disk: numbers as JSON, frames as an overlay video."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TextIO

from datamodules.containers import average_rate, open_file
from datamodules.video import VideoFrame
from datamodules.video_writer import VideoWriter
from policy.atomic import atomic_write
from policy.serving.overlay import Caption, draw_overlay, enlargement
from policy.serving.rows import FrameRow
from policy.serving.serve import Served
from policy.serving.totals import Summary
from policy.session import ReuseSession

FALLBACK_FPS = 25.0
MOST_FPS = 120.0
"""Time stamps that lie closer are no clock."""


class RowsFile:
    """Writes rows as they come, so that a long run needs no memory for them."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._separator = '{"rows": [\n'

    def add(self, served: Served, row: FrameRow) -> None:
        """Append one frame."""
        self._file.write(self._separator + _strict(asdict(row)))
        self._separator = ",\n"

    def finish(self, summary: Summary, meta: Mapping[str, object]) -> None:
        """Append the rest; at least one frame must have come."""
        self._file.write(f'\n],\n"summary": {_strict(asdict(summary))},\n')
        self._file.write(f'"meta": {_strict(dict(meta))}}}\n')


@contextmanager
def rows_file(path: str | None) -> Iterator[RowsFile | None]:
    """A ``RowsFile`` that appears at ``path`` when the block has ended well; None for no path.

    Raises:
        RegateError: At once, if ``path`` cannot be written.
    """
    if path is None:
        yield None
        return
    with atomic_write(path) as temporary, temporary.open("w") as file:
        yield RowsFile(file)


class OverlayFile:
    """Draws served frames into a video.

    Args:
        writer: Where they go.
        session: Tells the geometry.
    """

    def __init__(self, writer: VideoWriter, session: ReuseSession) -> None:
        self._writer = writer
        self._session = session
        backbone = session.backbone
        factor = enlargement(backbone.image_size)
        height, width = backbone.image_size
        # The model's own view, cut from the original at a size that is pleasant to look at.
        self._view = replace(backbone.resize_crop, size=(factor * height, factor * width))

    def add(self, served: Served, row: FrameRow) -> None:
        """Append one frame."""
        backbone = self._session.backbone
        patches = served.result.recompute[0, :, backbone.num_prefix_tokens :]
        share = patches.double().mean(0).view(backbone.grid).cpu().numpy()
        image = self._view(served.frame.image).movedim(0, -1).numpy()
        self._writer.write(draw_overlay(image, share, self._caption(row)))

    def _caption(self, row: FrameRow) -> Caption:
        if row.probability is None:
            label, dense = f"frame {row.index}", ""
            if row.cosine is not None:
                dense = f"cosine to dense {row.cosine:.3f}"
        else:
            label, dense = f"{row.label} {row.probability:.0%}", ""
            if row.agrees is not None:
                dense = "= dense" if row.agrees else f"dense: {row.dense_label}"
        return Caption(
            label=label,
            spent=row.spent,
            budget=row.budget,
            macs=row.macs,
            dense_macs=self._session.macs.dense,
            dense=dense,
        )


def playing_rate(first: VideoFrame, second: VideoFrame | None) -> float:
    """Frames per second at which an overlay plays as fast as its source.

    Args:
        first: Of the source; where it is a file, the file's average rate is read.
        second: The next; else their distance counts, if it can be one.
    """
    if Path(first.name).is_file():
        with open_file(Path(first.name)) as container:
            return float(average_rate(container.streams.video[0]))
    if second is None or not 1 / MOST_FPS < second.time - first.time <= 1:
        return FALLBACK_FPS
    return 1 / (second.time - first.time)


def _strict(value: object) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)
