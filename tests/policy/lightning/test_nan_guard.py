"""A loss that is no longer a number stops the run before it reaches the weights."""

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from datamodules.errors import RegateError
from policy.lightning.nan_guard import NanGuard


class OneWeight(LightningModule):
    """Loss is weight times the batch's value, so its gradient is that value."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.offset = offset

    def training_step(self, batch, batch_idx):
        offset = self.offset if batch_idx == 2 else 0.0
        loss = (self.weight * batch).sum() + offset
        self.log("train/task_loss", loss)
        self.log("train/spent", 0.25)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class FiniteLossBadGradient(OneWeight):
    """sqrt has an infinite slope at 0, where its value is 0."""

    def training_step(self, batch, batch_idx):
        return (self.weight * (0.0 if batch_idx == 2 else 1.0)).sqrt().sum()


class ByHand(OneWeight):
    """Steps its optimizer itself."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__(offset)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.optimizers().zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        self.optimizers().step()


def fit(task, tmp_path, values=(1.0, 1.0, 1.0, 1.0), **options):
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[NanGuard()],
        **options,
    )
    trainer.fit(task, DataLoader(torch.tensor(values)))


@pytest.mark.parametrize("make", [OneWeight, ByHand])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_weights_are_those_before_the_bad_step(make, bad, tmp_path):
    task = make(offset=bad)

    with pytest.raises(RegateError):
        fit(task, tmp_path)

    # Two steps of 0.1 downhill; the gradient of the third is finite, and was not applied.
    assert task.weight.item() == pytest.approx(0.8)


def test_the_sentence_names_the_step_and_the_logged_terms(tmp_path):
    with pytest.raises(RegateError) as stopped:
        fit(OneWeight(offset=float("nan")), tmp_path)

    assert str(stopped.value) == (
        "training stopped at step 2 because the loss is nan, with the weights still those before "
        "the step (logged: train/task_loss=nan, train/spent=0.25); lower the learning rate or "
        "look for broken clips, then go on with --ckpt_path last"
    )


def test_a_bad_gradient_stops_the_run_although_the_loss_is_fine(tmp_path):
    task = FiniteLossBadGradient()

    with pytest.raises(RegateError, match="step 2 because a gradient is not finite"):
        fit(task, tmp_path)

    assert torch.isfinite(task.weight).all()


def test_a_bad_loss_among_accumulated_ones_is_found(tmp_path):
    task = OneWeight(offset=float("nan"))

    with pytest.raises(RegateError, match="step 0 because the loss is nan"):
        fit(task, tmp_path, accumulate_grad_batches=4)

    assert task.weight.item() == 1.0


def test_a_good_run_is_left_alone(tmp_path):
    task = OneWeight()

    fit(task, tmp_path)

    assert task.weight.item() == pytest.approx(0.6)
