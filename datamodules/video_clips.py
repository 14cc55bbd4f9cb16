"""Windows of frames out of video files, as a dataset."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from datamodules.base import ClipDataset
from datamodules.camera import Camera
from datamodules.containers import VideoInfo
from datamodules.geometry import ResizeCrop
from datamodules.records import Clip
from datamodules.video import read_frames, warn

CACHE_BYTES = 2**30
"""Of decoded calibration or test clips kept in memory, per split."""


@dataclass(frozen=True)
class Video:
    """A readable video of an index.

    Args:
        info: What its packets say.
        name: Unique in the index.
        label: Class number, -1 if unlabelled.
        group: The scene.
    """

    info: VideoInfo
    name: str
    label: int
    group: str


@dataclass(frozen=True)
class Sampling:
    """How clips are cut out of videos.

    Args:
        num_frames: Frames per clip; a shorter video is held on its last frame.
        fps: Frames per second; None takes each picture.
        clips_per_video: Windows per video and epoch.
        seed: Fixes the random windows.
        random: Draw windows anew in each epoch, for training; else they are spread evenly, one
            alone in the centre.
        camera: Films the windows; None shows them as they are.
    """

    num_frames: int
    fps: float | None
    clips_per_video: int
    seed: int
    random: bool
    camera: Camera | None = None


class VideoClips(ClipDataset):
    """Clips of one split, decoded when asked for.

    Even windows are kept in memory once decoded, up to ``CACHE_BYTES``: each validation of a
    training passes over them. What does not fit is decoded again; nothing is evicted, since in
    a cyclic sweep that would evict each clip just before its next use.

    Args:
        videos: In index order.
        sampling: How clips are cut.
        resize_crop: Applied to each frame.
    """

    def __init__(
        self, videos: Sequence[Video], sampling: Sampling, resize_crop: ResizeCrop
    ) -> None:
        """Name the clips; a video's name serves where there is one clip of each."""
        self.videos = tuple(videos)
        self.sampling = sampling
        self.resize_crop = resize_crop
        windows = range(sampling.clips_per_video)
        suffixes = ["" if len(windows) == 1 else f"#{window}" for window in windows]
        super().__init__(
            [video.name + suffix for video in videos for suffix in suffixes],
            [video.group for video in videos for _ in suffixes],
        )
        self._cache: dict[int, Clip] = {}
        self._cached_bytes = 0
        self._told: set[str] = set()

    def __getitem__(self, draw: int) -> Clip:
        """Decode one clip, or take it from memory.

        Raises:
            RegateError: If its file can no longer be read.
        """
        index = draw % len(self)
        if index in self._cache:
            return self._cache[index]
        video = self.videos[index // self.sampling.clips_per_video]
        frames = self._film(self._window(video.info, self._start(video.info, draw)), draw)
        labels = torch.full((len(frames),), video.label, dtype=torch.int64)
        clip = Clip(frames, labels, self.names[index], self.groups[index])
        self._keep(index, clip)
        return clip

    def _start(self, info: VideoInfo, draw: int) -> int:
        """First frame of the clip."""
        free = max(0, info.length(self.sampling.fps) - self.sampling.num_frames)
        if self.sampling.random:
            return int(np.random.default_rng([self.sampling.seed, draw]).integers(free + 1))
        window, windows = draw % self.sampling.clips_per_video, self.sampling.clips_per_video
        return (2 * window + 1) * free // (2 * windows)

    def _window(self, info: VideoInfo, start: int) -> list[NDArray[np.uint8]]:
        """Images [h, w, 3] from ``start``; the last one is held if there are too few."""
        fps, wanted = self.sampling.fps, self.sampling.num_frames
        tell = self._tell_once(str(info.path))
        found = [frame.image for frame in read_frames(info, fps, start, wanted, on_damage=tell)]
        if not found:  # the file is damaged from here on: take the last good frame
            for frame in read_frames(info, fps, on_damage=tell):
                last = frame
            found = [last.image]
        return found + [found[-1]] * (wanted - len(found))

    def _film(self, images: list[NDArray[np.uint8]], draw: int) -> Tensor:
        """Frames [t, c, h, w], each by itself: their size may change in mid-stream."""
        if self.sampling.camera is None:
            return torch.stack([self.resize_crop(image) for image in images])
        # An even window keeps its film in another selection of videos too.
        key = [draw, 1] if self.sampling.random else _digest(self.names[draw % len(self)])
        rng = np.random.default_rng([self.sampling.seed, *key])
        return self.sampling.camera.film(images, self.resize_crop.size, rng)

    def _keep(self, index: int, clip: Clip) -> None:
        # A worker process and its memory are gone after one pass.
        if self.sampling.random or get_worker_info() is not None:
            return
        size = clip.frames.numel()  # uint8
        if self._cached_bytes + size <= CACHE_BYTES:
            self._cached_bytes += size
            self._cache[index] = clip

    def _tell_once(self, path: str) -> Callable[[str], None]:
        def tell(message: str) -> None:
            if path not in self._told:
                self._told.add(path)
                warn(message)

        return tell


def _digest(name: str) -> list[int]:
    return [int.from_bytes(hashlib.sha256(name.encode()).digest()[:16])]
