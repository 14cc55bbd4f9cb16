"""Frames from anything a person would name: files, folders, cameras, network streams, a pipe."""

import glob
import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from av.container import InputContainer

from datamodules.containers import (
    VIDEO_SUFFIXES,
    exact_rate,
    nothing_in,
    open_container,
)
from datamodules.decoding import Decoding
from datamodules.errors import RegateError
from datamodules.video import VideoFrame, number, read_frames, to_image, warn

OPEN_SECONDS, READ_SECONDS = 10.0, 30.0
"""How long a network source may take to answer, and to send the next packet."""


def open_source(source: str, fps: float | None = None) -> Iterator[VideoFrame]:
    """Open a source and iterate over its frames as they come.

    A change of ``VideoFrame.name`` is a change of file: whoever keeps state resets it then. A
    size change within a file or stream simply arrives.

    Args:
        source: A video file; a folder or a glob, whose files come in natural order; a camera
            number ("0" is /dev/video0); an ``rtsp://``, ``http://`` or ``https://`` address; or
            "-", standard input, best as MPEG-TS.
        fps: Frames per second to show it at; None yields each picture.

    Raises:
        RegateError: At once, if the source cannot be opened or has no frame.
    """
    if fps is not None:
        exact_rate(fps)  # refuse it before a camera is opened
    frames = _frames(source, fps)
    first = next(frames, None)
    if first is None:
        raise nothing_in(source)
    return chain([first], frames)


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts "clip2" before "clip10"."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)


def video_files(folder: Path) -> list[Path]:
    """Files below ``folder`` that are videos by their name, in natural order; none is hidden."""
    names = {
        path.relative_to(folder).as_posix()
        for path in _below(folder)
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
    }
    return [folder / name for name in sorted(names, key=natural_key)]


def source_files(source: str) -> list[Path]:
    """Files that a source stands for, in the order they are read; none of a camera or a stream.

    Args:
        source: As in ``open_source``.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        return video_files(path)
    found = (Path(name) for name in glob.glob(str(path), recursive=True))
    return sorted((f for f in found if f.is_file()), key=lambda f: natural_key(f.as_posix()))


def _below(folder: Path) -> Iterator[Path]:
    """Files below a folder, also behind links to folders, but each folder once."""
    seen: set[Path] = set()
    # Links wait until all that lies below the folder itself is seen: that keeps its own name.
    waiting = [folder]
    while waiting:
        for place, folders, files in os.walk(waiting.pop(0)):
            here = Path(place)
            real = here.resolve()
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            waiting += [here / name for name in folders if (here / name).is_symlink()]
            yield from (here / name for name in files if not name.startswith("."))


def _frames(source: str, fps: float | None) -> Iterator[VideoFrame]:
    if source == "-":
        return _live(open_container("pipe:0", "standard input"), "-", fps)
    if re.match(r"(rtsps?|https?)://", source):
        # Over UDP, frames go missing without a word.
        options = {"rtsp_transport": "tcp"} if source.startswith("rtsp") else {}
        timeout = (OPEN_SECONDS, READ_SECONDS)
        return _live(open_container(source, source, options=options, timeout=timeout), source, fps)
    path = Path(source).expanduser()
    if path.is_file():
        return read_frames(path, fps)
    if path.is_dir():
        return _several(source_files(source), source, fps)
    if source.isdigit():
        return _camera(int(source), fps)
    if glob.has_magic(source):
        return _several(source_files(source), source, fps)
    raise RegateError(
        f"there is no video at '{source}'; give a file, a folder, a glob, a camera number, an "
        f"rtsp:// or http:// address, or - for standard input."
    )


def _several(files: list[Path], source: str, fps: float | None) -> Iterator[VideoFrame]:
    """One file after another; one that cannot be read is left out, not the end of the run."""
    if not files:
        raise RegateError(f"'{source}' matches no video file; check the path.")
    unreadable = 0
    for path in files:
        try:
            yield from read_frames(path, fps)
        except RegateError as error:
            unreadable += 1
            warn(f"left out: {error}")
    if unreadable == len(files):
        raise RegateError(
            f"none of the {len(files)} video files of '{source}' can be read; check that they are "
            f"videos."
        )


def _camera(camera: int, fps: float | None) -> Iterator[VideoFrame]:
    device = Path(f"/dev/video{camera}")
    if not device.exists():
        raise RegateError(f"there is no camera {camera} ({device}); connect one or give a file.")
    label = f"camera {camera} ({device})"
    return _live(open_container(str(device), label, format="v4l2"), str(camera), fps)


def _live(container: InputContainer, name: str, fps: float | None) -> Iterator[VideoFrame]:
    """Frames of a source that is read once, from here on."""
    rate = None if fps is None else exact_rate(fps)
    with container:
        decoding = Decoding(container, "standard input" if name == "-" else name)
        for index, shown in number(decoding.pictures(), rate):
            yield VideoFrame(to_image(shown.picture), float(shown.time), index, name)
        if decoding.decoded and (damage := decoding.damage(complete=True)):
            warn(damage)
