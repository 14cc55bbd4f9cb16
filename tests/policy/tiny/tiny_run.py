"""A task and data small enough to be trained in every test of the command line.

The loss uses random noise and logs every batch, so that a run that repeats, skips or reorders
one step ends with other weights and another log.
"""

import os
from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.errors import RegateError
from datamodules.loader import TrainingLoader, eval_loader
from datamodules.records import Clip, ClipBatch
from policy.lightning.best import load_best


class TinyClips(Dataset[Clip]):
    """Clip i of length 2 shows the value i; the draw's epoch is in its name."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, draw: int) -> Clip:
        frames = torch.full((2, 1, 1, 1), draw % self.count, dtype=torch.uint8)
        return Clip(frames, torch.zeros(2, dtype=torch.long), f"clip{draw}", "all")


class TinyData(LightningDataModule):
    """Args as a user would write them.

    Args:
        root: Any word.
        count: Clips.
    """

    name = "tiny"

    def __init__(self, root: str = "here", count: int = 6) -> None:
        super().__init__()
        self.root = root
        self.count = count

    def train_dataloader(self):
        return TrainingLoader(TinyClips(self.count), batch_size=1, num_workers=0, seed=3)

    def val_dataloader(self):
        return eval_loader(TinyClips(3), batch_size=1, num_workers=0)

    test_dataloader = predict_dataloader = val_dataloader


class TinyTask(LightningModule):
    """One weight pulled towards the clips' values, with noise.

    Args:
        target: Multiplies the clips' values.
        lr: Step size.
        nan_at: Global step at which the loss becomes NaN; -1 never.
        log: File that gets a line per batch.
        nan_rank: The process it happens in.
        kill_at: Global step in whose middle the process kills itself, as `kill -9` would; -1 never.
    """

    run_name = "point/pull"

    def __init__(
        self,
        target: float,
        lr: float = 0.1,
        nan_at: int = -1,
        log: Path | None = None,
        kill_at: int = -1,
        nan_rank: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.target, self.lr, self.kill_at = target, lr, kill_at
        self.nan_at, self.nan_rank = nan_at, nan_rank
        self.journal = log
        self.weight = torch.nn.Parameter(torch.zeros(3))
        if target < 0:
            raise RegateError(f"target must be >= 0, got {target}.")

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        if self.global_step == self.kill_at:
            os.kill(os.getpid(), 9)
        loss = (self.weight - self.target * batch.frames.float().mean() - torch.randn(3)).square()
        if (self.global_step, self.global_rank) == (self.nan_at, self.nan_rank):
            loss = loss * float("nan")
        self.log("train/loss", loss.mean(), on_step=True, batch_size=1)
        self.write(f"{self.current_epoch} {batch_idx} {batch.names[0]} {loss.mean():.6f}")
        return loss.mean()

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        torch.randn(5)  # validation uses noise too, and must not shift that of training
        self.log("val/weight", self.weight.mean(), batch_size=1, sync_dist=True)

    def test_step(self, batch: ClipBatch, batch_idx: int) -> None:
        self.log("test/target", self.target, batch_size=1)
        self.log("test/weight", self.weight.mean(), batch_size=1)

    def predict_step(self, batch: ClipBatch, batch_idx: int) -> None:
        self.write(f"predict {self.global_rank} {batch.names[0]}")

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def write(self, line: str) -> None:
        if self.journal is not None:
            with self.journal.open("a") as file:
                file.write(line + "\n")


class RankedTask(TinyTask):
    """TinyTask whose validations give what they are told to.

    Args:
        scores: Of each epoch, in order.
        target: As of TinyTask.
    """

    ranked_by = "val/score"

    def __init__(self, scores: list[float], target: float = 2.0) -> None:
        super().__init__(target)
        self.scores = scores

    def on_validation_epoch_end(self) -> None:
        self.log("val/score", self.scores[self.current_epoch], sync_dist=True)

    def on_fit_end(self) -> None:
        print(f"weights: {load_best(self.trainer, self, '')}")
        self.write(f"end {self.weight.tolist()}")
