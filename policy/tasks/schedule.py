"""What a schedule over the whole training needs to know before it starts."""

from pytorch_lightning import Trainer

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
