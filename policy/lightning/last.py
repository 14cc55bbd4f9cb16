"""Which checkpoints a run keeps so that it can always go on."""

from datetime import timedelta

from pytorch_lightning.callbacks import ModelCheckpoint


class KeepLast(ModelCheckpoint):
    """A class of its own, or its state would be taken for that of a user's ``ModelCheckpoint``."""


def keep_last() -> list[ModelCheckpoint]:
    """Write ``last.ckpt`` after each epoch, and every five minutes inside a long one.

    Two callbacks on one file, because Lightning allows one trigger each; the writing is atomic
    and each replaces the file whole. ``save_last=True`` would write every state twice, once
    under another name.
    """
    return [
        KeepLast(filename="last", enable_version_counter=False, **trigger)
        for trigger in ({"every_n_epochs": 1}, {"train_time_interval": timedelta(minutes=5)})
    ]


def keeps_last(callback: object) -> bool:
    """Whether a user's callback already takes care of it."""
    return isinstance(callback, ModelCheckpoint) and (
        bool(callback.save_last) or callback.filename == "last"
    )
