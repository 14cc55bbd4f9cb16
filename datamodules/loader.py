"""Loaders whose order depends on (seed, epoch) alone and which resume in mid-epoch."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from datamodules.errors import RegateError
from datamodules.records import Clip, collate


class DrawSampler(DistributedSampler[int]):
    """Shuffled draws of one epoch: ``epoch * len(dataset) + index``, shared out by process.

    A draw carries its epoch to the worker processes, which hold no state of their own. Being
    a ``DistributedSampler`` keeps Lightning from putting its own in this one's place.

    Args:
        dataset: Sized, map-style.
        seed: With the epoch, all that the order depends on.
    """

    def __init__(self, dataset: Dataset[Clip], seed: int) -> None:
        """Take this process's share, if torch.distributed runs."""
        distributed = dist.is_available() and dist.is_initialized()
        super().__init__(
            dataset,
            num_replicas=dist.get_world_size() if distributed else 1,
            rank=dist.get_rank() if distributed else 0,
            seed=seed,
        )
        self.skip = 0
        """Draws of this process to leave out of the next pass: those a killed run has used."""

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch; what another had used, which may have been cut short, says nothing of it.

        Args:
            epoch: Counted from 0.
        """
        if epoch != self.epoch:
            self.skip = 0
        super().set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        """Yield what is left of the epoch for this process."""
        offset = self.epoch * len(self.dataset)  # type: ignore[arg-type]
        draws = [offset + index for index in super().__iter__()]
        return iter(draws[self.skip :])


class TrainingLoader(DataLoader[Clip]):
    """Batches of training clips; its state is the epoch and the clips used of it.

    Lightning saves ``state_dict`` with each checkpoint and loads it before the first batch.
    torchdata's ``StatefulDataLoader`` would do for the position, but not for the epoch: Lightning
    makes the iterator of a resumed run before it tells the sampler which epoch it is in.

    Args:
        dataset: Sized, map-style, indexed by draw.
        batch_size: Clips per batch and process.
        num_workers: Decoding processes.
        seed: See ``DrawSampler``.
    """

    def __init__(
        self, dataset: Dataset[Clip], batch_size: int, num_workers: int, seed: int
    ) -> None:
        """Start before the first batch of epoch 0."""
        self.draws = DrawSampler(dataset, seed)
        super().__init__(
            dataset,
            batch_size=batch_size,
            sampler=self.draws,
            num_workers=num_workers,
            collate_fn=collate,
            # Order must not hang on how much randomness the model has used so far.
            generator=torch.Generator().manual_seed(seed),
        )
        self._used = 0  # batches of the running epoch handed out by this process

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator serves as well
        """Yield the batches left of the epoch.

        Being a generator, it asks the sampler only at the first batch, when its epoch is set.
        """
        self._used = self.draws.skip // self._batch
        for batch in super().__iter__():
            self._used += 1
            self.draws.skip = 0
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Epoch, and clips of it that all processes together have used."""
        used = self._used * self._batch * self.draws.num_replicas
        return {"epoch": self.draws.epoch, "clips": used}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Make the next pass go on where ``state`` was saved."""
        epoch, clips = state["epoch"], state["clips"]
        used = clips // (self._batch * self.draws.num_replicas)
        if used >= len(self):  # saved at the end of an epoch
            epoch, used = epoch + 1, 0
        self.draws.set_epoch(epoch)
        self.draws.skip = used * self._batch
        self._used = used

    @property
    def _batch(self) -> int:
        assert self.batch_size is not None  # we always give one; DataLoader types it optional
        return self.batch_size


def eval_loader(dataset: Dataset[Clip], batch_size: int, num_workers: int) -> DataLoader[Clip]:
    """Every clip once, in order.

    Plain on purpose: Lightning shares it out, and for ``predict`` without repeats.

    Raises:
        RegateError: If there are more processes than clips, on which Lightning asserts.
    """
    processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    clips = len(dataset)  # type: ignore[arg-type]
    if clips < processes:
        raise RegateError(
            f"{clips} clips cannot be shared by {processes} processes; "
            f"start at most {clips} (--trainer.devices {clips})."
        )
    return DataLoader(dataset, batch_size=batch_size, num_workers=num_workers, collate_fn=collate)
