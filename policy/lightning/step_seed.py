"""Makes the randomness of a training step depend on the seed and the step alone."""

import random

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class SeedEachStep(Callback):
    """Seeds torch, numpy and random before each training batch.

    Lightning does not save the state of the generators, so a resumed run would draw other noise
    than the run that was killed. Seeding by position needs nothing saved, and neither
    validation nor the number of loader processes can shift the noise of the next step.

    Args:
        seed: The run's seed, 0 or more.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Seed by (seed, epoch, batch, process); processes must not draw the same noise."""
        place = (self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        numbers = np.random.SeedSequence(place).generate_state(3)
        torch.manual_seed(int(numbers[0]))
        np.random.seed(int(numbers[1]))
        random.seed(int(numbers[2]))
