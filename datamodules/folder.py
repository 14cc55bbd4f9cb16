"""A folder of videos as a data module."""

from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader

from datamodules.base import ClipDataModule, Json, Split
from datamodules.camera import Camera
from datamodules.containers import VideoInfo, probe
from datamodules.disturbance import Disturbance
from datamodules.errors import RegateError
from datamodules.geometry import ResizeCrop
from datamodules.index import VideoEntry, find_videos
from datamodules.loader import eval_loader
from datamodules.records import Clip
from datamodules.splits import SplitOptions, split_groups
from datamodules.video import read_frames, warn
from datamodules.video_clips import Sampling, Video, VideoClips

DEFAULT_GEOMETRY = ResizeCrop((224, 224))
"""Where no backbone asks for another: clips of one batch need one size."""


class VideoFolder(ClipDataModule):
    """Clips out of video files: class folders, a CSV, or loose unlabelled files.

    Training takes a random window of each video in each epoch; calibration and test take the
    same centre window each time. A video that is too short is held on its last frame, one that
    cannot be read is left out; each with one warning that names it.

    Args:
        root: Folder with the videos; see data/README.md for what it may look like.
        csv: Table below ``root`` with the columns path and, as far as known, label, group and
            split.
        group_column: Name of the table's group column, if not "group". Videos of one group
            show one scene and stay on one side of the split.
        num_frames: Frames per clip.
        fps: Frames per second, by the videos' time stamps; None takes each picture.
        clips_per_video: Clips out of each video, per epoch.
        batch_size: Clips per batch.
        num_workers: Processes that decode beside the main one.
        seed: Fixes the order and the windows of training.
        split: How to deal out videos whose split is not stated.
        disturbance: Noise, Flicker or Recompression of all clips.
        camera: Shows the training clips mirrored, closer and through a moving window.

    Raises:
        RegateError: If a count is smaller than 1 or ``fps`` is not positive.
    """

    def __init__(
        self,
        root: str,
        csv: str | None = None,
        group_column: str | None = None,
        num_frames: int = 16,
        fps: float | None = None,
        clips_per_video: int = 1,
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
        split: SplitOptions = SplitOptions(),  # noqa: B008  # frozen
        disturbance: Disturbance | None = None,
        camera: Camera | None = None,
    ) -> None:
        """Check the arguments; the folder is read in ``setup``."""
        super().__init__(batch_size, num_workers, seed, disturbance)
        if num_frames < 1:
            raise RegateError(f"num_frames must be at least 1, got {num_frames}.")
        if clips_per_video < 1:
            raise RegateError(f"clips_per_video must be at least 1, got {clips_per_video}.")
        if fps is not None and not fps > 0:
            raise RegateError(f"fps must be above 0, got {fps}.")
        self.root = Path(root).expanduser()
        self.csv = csv
        self.group_column = group_column
        self.num_frames = num_frames
        self.fps = fps
        self.clips_per_video = clips_per_video
        self.split = split
        self.camera = camera
        filmed = camera is not None and camera.everywhere
        self.name = self.named(self.root.resolve().name + ("-filmed" if filmed else ""))
        self._entries: list[VideoEntry] = []
        self._videos: list[Video] = []
        self._clips: dict[tuple[Split | None, ResizeCrop], VideoClips] = {}

    def setup(self, stage: str | None = None) -> None:
        """Read the folder and look into each file, once.

        Raises:
            RegateError: If no video can be read.
        """
        if self._videos:
            return
        found = find_videos(self.root, self.csv, self.group_column)
        labels = sorted({entry.label for entry in found if entry.label is not None})
        entries, videos = [], []
        for entry in found:
            try:
                info = self._look_into(entry)
            except RegateError as error:
                _warn_in_first_process(f"left out: {error}")
                continue
            label = -1 if entry.label is None else labels.index(entry.label)
            entries.append(entry)
            videos.append(Video(info, entry.name, label, entry.group))
        if not videos:
            raise RegateError(
                f"none of the {len(found)} videos of {self.root} can be read; the warnings above "
                f"say why."
            )
        self.class_names = tuple(labels)
        self._entries, self._videos = entries, videos

    def undisturbed(self, split: Split) -> VideoClips:
        """The clips of one split.

        Raises:
            RegateError: If the split is, or would be, empty.
        """
        self.setup()
        return self._dataset(split)

    def has(self, split: Split) -> bool:
        """Whether a video is stated to be of the split, or dealt to it."""
        self.setup()
        return split in self._splits()

    def describe(self) -> dict[str, Json]:
        """Also where the clips came from and how they were cut."""
        return super().describe() | {
            "root": str(self.root),
            "csv": self.csv,
            "num_frames": self.num_frames,
            "fps": self.fps,
            "clips_per_video": self.clips_per_video,
            "split_seed": self.split.seed,
            "camera": None if self.camera is None else {**vars(self.camera)},
        }

    def predict_dataloader(self) -> DataLoader[Clip]:
        """Every video of the folder, whatever its split, exactly once."""
        self.setup()
        clips = self.disturbed(self._dataset(None))
        return eval_loader(clips, self.batch_size, self.num_workers)

    def _look_into(self, entry: VideoEntry) -> VideoInfo:
        """Probe a file and decode its first frame.

        Raises:
            RegateError: If it cannot be used.
        """
        info = probe(entry.path)
        for _ in read_frames(info, count=1):
            break
        if info.pictures < info.promised:
            _warn_in_first_process(
                f"{entry.path}: only {info.pictures} of {info.promised} frames are there; the "
                f"file is cut short, so fetch or export it again if you need the rest."
            )
        length = info.length(self.fps)
        if length < self.num_frames:
            _warn_in_first_process(
                f"{entry.path}: has {length} of the {self.num_frames} frames of a clip; its last "
                f"frame is held for the rest."
            )
        return info

    def _dataset(self, split: Split | None) -> VideoClips:
        """The clips of ``split``, or of all videos; the same object each time, for its cache."""
        geometry = self.resize_crop or DEFAULT_GEOMETRY
        if (split, geometry) not in self._clips:
            videos = self._videos if split is None else self._videos_of(split)
            sampling = Sampling(
                num_frames=self.num_frames,
                fps=self.fps,
                clips_per_video=self.clips_per_video,
                seed=self.seed,
                random=split == "train",
                camera=self._camera_of(split),
            )
            self._clips[split, geometry] = VideoClips(videos, sampling, geometry)
        return self._clips[split, geometry]

    def _camera_of(self, split: Split | None) -> Camera | None:
        if self.camera is None or split == "train" or self.camera.everywhere:
            return self.camera
        return None

    def _videos_of(self, split: Split) -> list[Video]:
        splits = self._splits()
        chosen = [video for video, its in zip(self._videos, splits, strict=True) if its == split]
        if not chosen:
            raise RegateError(
                f"{self.root} states no video for the {split} split; give every split at least "
                f"one, or state none at all."
            )
        return chosen

    def _splits(self) -> list[Split]:
        """The split of each video: the stated one, if any is stated, else dealt out."""
        stated = [entry.split for entry in self._entries if entry.split is not None]
        if not stated:
            dealt = split_groups([video.group for video in self._videos], self.split)
            return [dealt[video.group] for video in self._videos]
        of_group: dict[str, Split] = {}
        for entry in self._entries:
            if entry.split is None:
                raise RegateError(f"{entry.name} has no split while others do; state one for all.")
            if of_group.setdefault(entry.group, entry.split) != entry.split:
                raise RegateError(
                    f"group '{entry.group}' is stated to be in both {of_group[entry.group]} and "
                    f"{entry.split}; a group must stay on one side."
                )
        return stated


@rank_zero_only
def _warn_in_first_process(message: str) -> None:
    """Warn in the first process alone: all of them read the same folder."""
    warn(message)
