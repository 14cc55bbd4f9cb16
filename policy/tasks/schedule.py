"""The learning rate over a whole training, whose length must be known before it starts."""

import math
from typing import Any

from pytorch_lightning import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from datamodules.errors import RegateError


def check_has_end(trainer: Trainer) -> None:
    """Refuse a training of no known length, whose step count would be infinite.

    Raises:
        RegateError: If neither epochs nor steps are limited; a limit of time says no number.
    """
    if trainer.max_epochs == trainer.max_steps == -1:
        raise RegateError(
            "max_epochs -1 without max_steps is a training without end, over which no schedule "
            "can be spread: give --trainer.max_epochs or --trainer.max_steps, which "
            "--trainer.max_time may still cut short"
        )


def check_rate(learning_rate: float) -> None:
    """Refuse a rate of which the optimizer would only complain once the data are read.

    Raises:
        RegateError: If it is under 0 or no number.
    """
    if not learning_rate >= 0:
        raise RegateError(
            f"learning_rate must be 0 or more, got {learning_rate:g}: 0.001 is a common start"
        )


class OneCycle(OneCycleLR):
    """torch's, by which a resumed training goes on at its place on the curve of its new length.

    torch's own takes the old length from the checkpoint, and fails where that has been passed.

    Args:
        optimizer: What steps.
        peak: Highest rate.
        steps: Until the end, where it stays.
    """

    def __init__(self, optimizer: Optimizer, peak: float, steps: int) -> None:
        super().__init__(optimizer, peak, max(1, steps))

    def step(self, epoch: int | None = None) -> None:
        """Move on, unless at the end."""
        if self.last_epoch < self.total_steps:
            super().step(epoch)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the place alone."""
        super().load_state_dict({"last_epoch": state_dict["last_epoch"]})


def cosine_to_zero(optimizer: Optimizer, steps: int) -> LambdaLR:
    """From the optimizer's rate to zero along half a cosine, where it stays.

    A resumed training that is longer or shorter than it was goes on at its place on the new curve;
    ``CosineAnnealingLR`` would take its old length from the checkpoint, and rise again beyond it.

    Args:
        optimizer: Its rates are the highest.
        steps: Until zero.
    """
    length = max(1, steps)
    return LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(step / length, 1))) / 2)
