"""Puts the training loader back to where it was when a checkpoint was written."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

KEY = "training_loader"


class ResumeLoader(Callback):
    """Saves the state of the training loader and loads it when training starts.

    Lightning does so too, but only for a module that has not asked for
    ``trainer.estimated_stepping_batches`` in ``configure_optimizers``, as every schedule over the
    whole run does: the loader is then made before the checkpoint's loops are read, and a run
    resumed in mid-epoch would see the batches of that epoch again from the first.
    """

    def __init__(self) -> None:
        super().__init__()
        self._state: dict[str, Any] | None = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the loader's position."""
        loader = trainer.train_dataloader
        if loader is not None and hasattr(loader, "state_dict"):
            checkpoint[KEY] = loader.state_dict()

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep it until there is a loader."""
        self._state = checkpoint.get(KEY)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the position, before the first batch is asked for."""
        if self._state is not None and trainer.train_dataloader is not None:
            trainer.train_dataloader.load_state_dict(self._state)
            self._state = None
