"""The synthetic clips as a data module."""

import hashlib
from typing import Literal, get_args

import torch

from datamodules.base import SPLITS, ClipDataModule, ClipDataset, Json, Split
from datamodules.disturbance import Disturbance
from datamodules.errors import RegateError
from datamodules.geometry import ResizeCrop
from datamodules.records import Clip
from datamodules.synthetic.pictures import regions
from datamodules.synthetic.render import FRAME_SIDE, Recipe, render

PLAIN_EVERY = 4
"""Every fourth clip is plain."""

Kind = Literal["all", "plain", "busy"]


class SyntheticClips(ClipDataModule):
    """A handwritten digit moves over a photograph; the label is the digit shown.

    Three clips of four are busy: camera noise, lighting that drifts and flickers, one to three
    distractors that move but do not matter, and in half of them the digit changes its class in
    mid-clip. The fourth is plain: only the digit moves. Digits and photograph regions of the
    splits are disjoint. A clip's group is its photograph region.

    Frames are 96 x 96 RGB. ``resize_crop`` only lends its size and interpolation: nothing is
    cropped away, since the digit may be at the edge.

    Args:
        num_frames: Frames per clip.
        train_clips: Clips per epoch. Each epoch draws new ones.
        calibration_clips: Clips to calibrate on; the same in every epoch, as for the test.
        test_clips: Clips to compare on. 48 show each of the 12 test regions four times.
        batch_size: Clips per batch.
        num_workers: Processes that render beside the main one.
        seed: Fixes every clip.
        disturbance: Noise, Flicker or Recompression of all clips, on top of what busy ones have.
        test_kind: Which of the test clips to keep: all, or the plain or the busy ones alone.

    Raises:
        RegateError: If a count is smaller than 1, or there is no such kind.
    """

    name = "synthetic"
    class_names = tuple(str(digit) for digit in range(10))

    def __init__(
        self,
        num_frames: int = 16,
        train_clips: int = 1024,
        calibration_clips: int = 48,
        test_clips: int = 96,
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
        disturbance: Disturbance | None = None,
        test_kind: Kind = "all",
    ) -> None:
        """Check the counts; nothing is rendered before it is asked for."""
        super().__init__(batch_size, num_workers, seed, disturbance)
        counts = {
            "num_frames": num_frames,
            "train_clips": train_clips,
            "calibration_clips": calibration_clips,
            "test_clips": test_clips,
        }
        for argument, count in counts.items():
            if count < 1:
                raise RegateError(f"{argument} must be at least 1, got {count}.")
        if test_kind not in get_args(Kind):
            raise RegateError(f"test_kind must be all, plain or busy, got {test_kind!r}.")
        self.num_frames = num_frames
        self.test_kind = test_kind
        self.num_clips: dict[Split, int] = {
            "train": train_clips,
            "calibration": calibration_clips,
            "test": test_clips,
        }

    def describe(self) -> dict[str, Json]:
        """Also how long the clips are, and of which kind the test clips."""
        return super().describe() | {"num_frames": self.num_frames, "test_kind": self.test_kind}

    def undisturbed(self, split: Split) -> ClipDataset:
        """The clips of one split."""
        resize = None
        if self.resize_crop and self.resize_crop.size != (FRAME_SIDE, FRAME_SIDE):
            wanted = self.resize_crop
            resize = ResizeCrop(wanted.size, 1.0, wanted.interpolation, "squash")
        clips = SyntheticDataset(split, self.num_clips[split], self.num_frames, self.seed, resize)
        return (
            clips if split != "test" or self.test_kind == "all" else OneKind(clips, self.test_kind)
        )


class SyntheticDataset(ClipDataset):
    """The synthetic clips of one split, rendered when asked for.

    Args:
        split: Which digits and photograph regions to use.
        num_clips: Clips per epoch.
        num_frames: Frames per clip.
        seed: With split and draw, fixes a clip.
        resize: Applied to the frames; None keeps them at 96 x 96.
    """

    def __init__(
        self,
        split: Split,
        num_clips: int,
        num_frames: int,
        seed: int,
        resize: ResizeCrop | None = None,
    ) -> None:
        """Name the clips."""
        self.split: Split = split
        self.num_frames = num_frames
        self.seed = seed
        self.resize = resize
        kinds = ["busy"] * num_clips
        kinds[::PLAIN_EVERY] = ["plain"] * len(kinds[::PLAIN_EVERY])
        names = [f"{split}/{kind}/{index:04d}" for index, kind in enumerate(kinds)]
        found = regions(split)
        # The extra step per round keeps plain clips from falling on the same regions each time.
        self.region_of = [(index + index // len(found)) % len(found) for index in range(num_clips)]
        super().__init__(names, [found[region].name for region in self.region_of])

    def __getitem__(self, draw: int) -> Clip:
        """Render one clip; training clips are new in each epoch."""
        index = draw % len(self)
        recipe = Recipe(
            split=self.split,
            seed=self.seed,
            draw=draw if self.split == "train" else index,
            region=self.region_of[index],
            plain=index % PLAIN_EVERY == 0,
        )
        images, labels = render(recipe, self.num_frames)
        if self.resize is None:
            frames = torch.from_numpy(images).movedim(-1, -3).contiguous()
        else:
            frames = self.resize(images)
        return Clip(frames, torch.from_numpy(labels), self.names[index], self.groups[index])


class OneKind(ClipDataset):
    """The plain or the busy clips of a split that has no draws.

    Args:
        clips: Of both kinds.
        kind: To keep.
    """

    def __init__(self, clips: ClipDataset, kind: Kind) -> None:
        """Keep their names and groups."""
        self.clips = clips
        self.places = [place for place, name in enumerate(clips.names) if f"/{kind}/" in name]
        names = [clips.names[place] for place in self.places]
        super().__init__(names, [clips.groups[place] for place in self.places])

    def __getitem__(self, draw: int) -> Clip:
        """Render one of them."""
        return self.clips[self.places[draw % len(self)]]


def generator_fingerprint() -> str:
    """Sha256 over the bytes of a few clips of each split.

    A test pins it: results and shipped weights hold for these clips only, so the generator must
    not change unnoticed.
    """
    digest = hashlib.sha256()
    for split in SPLITS:
        clips = SyntheticDataset(split, num_clips=6, num_frames=16, seed=0)
        for index in range(len(clips)):
            clip = clips[index]
            digest.update(clip.frames.numpy().tobytes())
            digest.update(clip.labels.numpy().tobytes())
    return digest.hexdigest()
