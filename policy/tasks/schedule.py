"""The learning rate over a whole training, whose length must be known before it starts."""

import math

from pytorch_lightning import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

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
