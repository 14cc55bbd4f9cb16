"""Stops a run whose loss or gradient is no longer a number, before it ruins the weights."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from datamodules.errors import RegateError


class NanGuard(Callback):
    """Looks at loss and gradient before each optimizer step.

    Both are judged at the same point, right before the step, and by all processes together:
    one process that raised alone would leave the others waiting in their next exchange.
    """

    def __init__(self) -> None:
        super().__init__()
        self._losses: list[Tensor] = []  # since the last step; several if gradients accumulate

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Keep the loss; reading it here would make a GPU wait once more per batch."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Stop the run if anything is NaN or infinite.

        Raises:
            RegateError: Naming the step and the terms logged so far.
        """
        losses, self._losses = self._losses, []
        # A loss scaler expects infinite gradients now and then, and skips those steps itself.
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        grads = [] if scaled else _gradients(optimizer)
        finite = all(torch.isfinite(value).all().item() for value in [*losses, *_norm(grads)])
        if trainer.strategy.reduce_boolean_decision(finite, all=True):
            return
        bad_loss = next((loss.item() for loss in losses if not torch.isfinite(loss)), None)
        what = "a gradient is not finite" if bad_loss is None else f"the loss is {bad_loss}"
        raise RegateError(
            f"training stopped at step {trainer.global_step} because {what}, with the weights "
            f"still those before the step (logged: {_logged(trainer)}); lower the learning rate "
            "or look for broken clips, then go on with --ckpt_path last"
        )


def _gradients(optimizer: Optimizer) -> list[Tensor]:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return [p.grad for p in parameters if p.grad is not None]


def _norm(grads: list[Tensor]) -> list[Tensor]:
    # One number to wait for, instead of one per parameter.
    return [torch.nn.utils.get_total_norm(grads)] if grads else []


def _logged(trainer: Trainer) -> str:
    terms = {name: value for name, value in trainer.callback_metrics.items() if "train" in name}
    return ", ".join(f"{name}={float(value):.4g}" for name, value in terms.items()) or "nothing"
