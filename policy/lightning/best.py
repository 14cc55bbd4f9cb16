"""The checkpoint that validation ranks highest, which is not always the last."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from policy.lightning.checkpoint_io import AtomicCheckpointIO


class KeepBest(ModelCheckpoint):
    """Writes ``best.ckpt`` after each validation whose metric is the lowest so far.

    Args:
        monitor: Tag of the metric. A validation without it, or at which it is NaN, is no best.
    """

    def __init__(self, monitor: str) -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode="min",
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, if there is anything to compare; Lightning would take the first NaN for a best."""
        score = trainer.callback_metrics.get(str(self.monitor))
        if score is not None and torch.isfinite(score):
            super().on_validation_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best so far, also where the run's folder was moved.

        Lightning would forget it then. What is in the file counts: it may have been written after
        the checkpoint that the run goes on from.
        """
        ours = Path(str(self.dirpath)) / f"{self.filename}{self.FILE_EXTENSION}"
        theirs = Path(state_dict["best_model_path"])
        path = ours if ours.is_file() else theirs
        if not path.is_file():
            return
        kept = AtomicCheckpointIO().load_checkpoint(path)
        score = kept["callbacks"][self.state_key]["best_model_score"]
        if path is theirs and score != state_dict["best_model_score"]:
            return  # a run in another folder has got further since
        self.best_model_path = self.kth_best_model_path = str(path)
        self.best_model_score = self.kth_value = score
        self.best_k_models = {str(path): score}


def keeps_best(callback: object) -> bool:
    """Whether a user's callback already ranks checkpoints."""
    return isinstance(callback, ModelCheckpoint) and callback.monitor is not None


def load_best(trainer: Trainer, module: nn.Module, prefix: str) -> str:
    """Go back to the weights that validation ranked first, where it ranked any.

    Args:
        trainer: Of the run that is over.
        module: A part of what it trained.
        prefix: Of that part's tensors in a checkpoint.

    Returns:
        Which weights the module has now, for people.
    """
    best = next(filter(_has_best, trainer.checkpoint_callbacks), None)
    if not isinstance(best, ModelCheckpoint):
        return "the last, since no validation ranked any"
    checkpoint = trainer.strategy.checkpoint_io.load_checkpoint(best.best_model_path)
    weights = checkpoint["state_dict"]
    module.load_state_dict({name: weights[prefix + name] for name in module.state_dict()})
    return (
        f"of epoch {checkpoint['epoch'] + 1} (step {checkpoint['global_step']}), where "
        f"{best.monitor} was {'lowest' if best.mode == 'min' else 'highest'}, "
        f"{best.best_model_score:.4f}"
    )


def _has_best(callback: object) -> bool:
    if not isinstance(callback, ModelCheckpoint) or callback.monitor is None:
        return False
    score = callback.best_model_score
    # Lightning's own callback keeps NaN as infinity.
    return score is not None and bool(score.isfinite()) and Path(callback.best_model_path).is_file()
