"""Training a small backbone from scratch, for the embedded default."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from safetensors.torch import save_file
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from backbones.loading import untrained
from backbones.preprocessing import Preprocessing, check_channels, resolve
from datamodules.errors import RegateError
from datamodules.records import ClipBatch
from policy.atomic import atomic_write
from policy.tasks.schedule import OneCycle, check_has_end, check_rate


class BackboneTask(LightningModule):
    """Supervised training of a timm model on single frames of labelled clips.

    Not a part of gating: it exists so that the weights shipped with this project can be made
    again by one command. ``fit`` ends by writing ``backbone.safetensors`` into the run's folder.

    Args:
        backbone: timm's name of the model, whose classifier has one output per class.
        learning_rate: Peak of a one-cycle schedule.
        weight_decay: Of AdamW.
        label_smoothing: In [0, 1).
        preprocessing: What happens to an image first; the model's own by default.

    Raises:
        RegateError: If the model is unknown or cannot be gated, or a value does not fit it
            or is outside its range.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str = "regate_vit_digits",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.05,
        label_smoothing: float = 0.1,
        preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
    ) -> None:
        check_rate(learning_rate)
        if not weight_decay >= 0:
            raise RegateError(f"weight_decay must be 0 or more, got {weight_decay:g}")
        if not 0 <= label_smoothing < 1:
            raise RegateError(f"label_smoothing must be in [0, 1), got {label_smoothing:g}")
        super().__init__()
        self.save_hyperparameters()
        self.run_name = f"{backbone}/backbone"
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.model = untrained(backbone, preprocessing.image_size)
        # The data must deliver frames in this geometry.
        self.resize_crop, mean, std = resolve(self.model, preprocessing)
        check_channels(backbone, self.model.in_chans, mean, std)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        self.accuracy = MulticlassAccuracy(self.model.num_classes, average="micro")

    def setup(self, stage: str) -> None:
        """Refuse a training without end, or clips without labels, before anything is computed."""
        if stage == "fit":
            check_has_end(self.trainer)
        if stage != "predict":
            self._check_classes()

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 frames [b, c, h, w] → logits [b, k]."""
        logits: Tensor = self.model((frames / 255 - self.mean) / self.std)
        return logits

    def training_step(self, batch: ClipBatch, batch_index: int) -> Tensor:
        """Cross-entropy over all frames of the batch."""
        frames, labels = _labelled(batch)
        loss = F.cross_entropy(self(frames), labels, label_smoothing=self.label_smoothing)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(frames))
        return loss

    def validation_step(self, batch: ClipBatch, batch_index: int) -> None:
        """Top-1 accuracy over frames."""
        frames, labels = _labelled(batch)
        self.accuracy(self(frames), labels)
        self.log("val/accuracy", self.accuracy, prog_bar=True, batch_size=len(frames))

    def test_step(self, batch: ClipBatch, batch_index: int) -> None:
        """Top-1 accuracy over frames."""
        frames, labels = _labelled(batch)
        self.accuracy(self(frames), labels)
        self.log("test/accuracy", self.accuracy, batch_size=len(frames))

    def predict_step(self, batch: ClipBatch, batch_index: int) -> list[dict[str, Any]]:
        """One record per clip: name, top-1 of each frame."""
        top1 = self(batch.frames.flatten(0, 1)).argmax(-1).view(len(batch.names), -1)
        rows = zip(batch.names, top1.tolist(), strict=True)
        return [{"name": name, "top1": row} for name, row in rows]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with a one-cycle schedule over the whole run."""
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = OneCycle(optimizer, self.learning_rate, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    @rank_zero_only
    def on_fit_end(self) -> None:
        """Write the weights where ``load_backbone(weights=FILE)`` can read them."""
        if getattr(self.trainer, "fast_dev_run", False):
            return
        path = Path(self.trainer.default_root_dir) / "backbone.safetensors"
        tensors = {key: value.contiguous() for key, value in self.model.state_dict().items()}
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
        print(f"weights: {path}")

    def _check_classes(self) -> None:
        """Labels without an output of their own would only fail on the device."""
        data = getattr(self.trainer, "datamodule", None)
        classes, ours = len(getattr(data, "class_names", ())), self.model.num_classes
        if not 0 < classes <= ours:
            raise RegateError(
                f"a backbone of {ours} outputs is trained and measured on labelled clips of as "
                f"many classes at most, but {getattr(data, 'name', 'the data')} has {classes}: "
                "give other --data, or another --model.backbone"
            )


def _labelled(batch: ClipBatch) -> tuple[Tensor, Tensor]:
    """Frames uint8 [b, c, h, w] and their labels [b].

    Raises:
        RegateError: If a frame has none.
    """
    without = (batch.labels < 0).any(1)
    if without.any():
        raise RegateError(
            f"{batch.names[int(without.nonzero()[0])]} has no label, which a backbone is trained "
            "and measured by: label it, or leave it out of the data"
        )
    return batch.frames.flatten(0, 1), batch.labels.flatten()
