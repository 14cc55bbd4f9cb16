"""What every source of clips offers, whatever it reads."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from datamodules.disturbance import Disturbance
from datamodules.errors import RegateError
from datamodules.geometry import ResizeCrop
from datamodules.loader import TrainingLoader, eval_loader
from datamodules.records import Clip

Split = Literal["train", "calibration", "test"]
SPLITS: tuple[Split, ...] = ("train", "calibration", "test")

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


class ClipDataset(Dataset[Clip]):
    """The clips of one split, decoded when asked for.

    Indexing takes a *draw*: ``epoch * len(dataset) + index``. Calibration and test clips are
    the same in every epoch; training clips may differ by draw, and depend on nothing else.
    So no worker process holds state, and a resumed run sees what the killed one would have.
    """

    def __init__(self, names: Sequence[str], groups: Sequence[str]) -> None:
        """Take the clips' names and groups, in index order."""
        self.names = tuple(names)
        self.groups = tuple(groups)

    def __len__(self) -> int:
        """Clips per epoch."""
        return len(self.names)

    @abstractmethod
    def __getitem__(self, draw: int) -> Clip:
        """Decode or render one clip."""


class DisturbedClips(ClipDataset):
    """Clips of another dataset, disturbed; each keeps its frames as they were in ``clean``.

    Args:
        clips: As they are.
        disturbance: Applied to the frames of each.
    """

    def __init__(self, clips: ClipDataset, disturbance: Disturbance) -> None:
        """Take over the names and groups."""
        super().__init__(clips.names, clips.groups)
        self.clips = clips
        self.disturbance = disturbance

    def __getitem__(self, draw: int) -> Clip:
        """Disturb one clip."""
        clip = self.clips[draw]
        return clip._replace(frames=self.disturbance(clip.frames, clip.name), clean=clip.frames)


class ClipDataModule(LightningDataModule):
    """Clips in three splits: to train a gate, to calibrate it, to compare it.

    Set ``resize_crop`` to the backbone's before ``setup``.

    Args:
        batch_size: Clips per batch.
        num_workers: Processes that decode beside the main one; 0 decodes in it.
        seed: Fixes the order and the content of the training clips.
        disturbance: Of the frames of all splits; None leaves them as they are.
    """

    name: str = ""
    """For run names and tables, for example "synthetic"."""
    class_names: tuple[str, ...] = ()
    """Empty when the clips are unlabelled."""
    resize_crop: ResizeCrop | None = None
    """The backbone's geometry; None keeps the frames at their native size."""

    def __init__(
        self,
        batch_size: int,
        num_workers: int,
        seed: int,
        disturbance: Disturbance | None = None,
    ) -> None:
        """Check the arguments that all sources share."""
        super().__init__()
        if batch_size < 1:
            raise RegateError(f"batch_size must be at least 1, got {batch_size}.")
        if num_workers < 0:
            raise RegateError(f"num_workers must be 0 or more, got {num_workers}.")
        if seed < 0:
            raise RegateError(f"seed must be 0 or more, got {seed}.")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.disturbance = disturbance
        self.name = self.named(self.name)

    def dataset(self, split: Split) -> ClipDataset:
        """The clips of one split, disturbed if so asked; calls ``setup`` if nobody has."""
        return self.disturbed(self.undisturbed(split))

    @abstractmethod
    def undisturbed(self, split: Split) -> ClipDataset:
        """The clips of one split as they are; calls ``setup`` if nobody has."""

    def disturbed(self, clips: ClipDataset) -> ClipDataset:
        """Clips under the disturbance of this data, if there is one."""
        return clips if self.disturbance is None else DisturbedClips(clips, self.disturbance)

    def named(self, source: str) -> str:
        """Name of this data: a source's, with the disturbance, so that runs do not mix."""
        return source if self.disturbance is None else f"{source}-{self.disturbance}"

    def has(self, split: Split) -> bool:
        """Whether there are clips of a split: what is only compared on needs none to train on."""
        return True

    def describe(self) -> dict[str, Json]:
        """What a results file needs to say which clips were used.

        Returns:
            Name, seed, disturbance, clips and groups per split, and per split the sha256 over the
            sorted clip names; of the splits that there are.
        """
        datasets = {split: self.dataset(split) for split in SPLITS if self.has(split)}
        return {
            "name": self.name,
            "seed": self.seed,
            "disturbance": None if self.disturbance is None else {**self.disturbance.describe()},
            "clips": {split: len(clips) for split, clips in datasets.items()},
            "groups": {split: len(set(clips.groups)) for split, clips in datasets.items()},
            "fingerprint": {split: _sha256(clips.names) for split, clips in datasets.items()},
        }

    def train_dataloader(self) -> DataLoader[Clip]:
        """Training clips, shuffled by (seed, epoch), resumable in mid-epoch."""
        if getattr(self.trainer, "overfit_batches", 0):
            # Lightning wants the same few clips in each epoch, and would refuse another sampler.
            return eval_loader(self.dataset("train"), self.batch_size, self.num_workers)
        return TrainingLoader(self.dataset("train"), self.batch_size, self.num_workers, self.seed)

    def val_dataloader(self) -> DataLoader[Clip]:
        """The calibration clips, in order."""
        return eval_loader(self.dataset("calibration"), self.batch_size, self.num_workers)

    def test_dataloader(self) -> DataLoader[Clip]:
        """The test clips, in order."""
        return eval_loader(self.dataset("test"), self.batch_size, self.num_workers)

    def predict_dataloader(self) -> DataLoader[Clip]:
        """Every test clip exactly once, in order, also when several processes share them."""
        return eval_loader(self.dataset("test"), self.batch_size, self.num_workers)


def _sha256(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()
