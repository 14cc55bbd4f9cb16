"""TensorBoard pictures of what a gate does, drawn at each validation of a run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from backbones.vit import Backbone
from policy.compare.figure_style import FAINT, INK, LEARNED
from policy.gates.base import Gate
from policy.serving.overlay import Caption, draw_overlay
from policy.session import ReuseSession

LAYOUT = {
    "quality against compute": {
        "KL to dense": ["Multiline", ["train/kl", "val/kl"]],
        "KL minus the threshold's at the same compute": ["Multiline", ["val/kl_minus_threshold"]],
        "spent": ["Multiline", ["train/spent", "val/spent"]],
    }
}
"""Of the custom scalars page: what is bought, what it costs, and against whom."""


class Gated(Protocol):
    """What a module must have to be drawn."""

    backbone: Backbone
    gate: Gate

    def val_example(self) -> tuple[Tensor, float]:
        """A fixed clip, uint8 [t, c, h, w], and the knob to show the gate at."""
        ...


class RecomputeVisuals(Callback):
    """Draws the gate's decisions on one fixed clip, after each validation.

    Logs ``val/overlay`` (frames with the recomputed patches marked),
    ``val/recompute_rate/block_00`` and so on (share of patches recomputed on the later frames),
    ``val/spent_over_frames`` (a figure), and once the layout of the custom scalars page. Decisions
    come from the ``ReuseSession`` that also serves.

    Args:
        frames: Pictures per overlay, spread over the clip's later frames.
        min_side: Of each picture, pixels.
    """

    def __init__(self, frames: int = 6, min_side: int = 224) -> None:
        super().__init__()
        self.frames = frames
        self.min_side = min_side

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lay out the custom scalars page."""
        for writer in _writers(trainer):
            writer.add_custom_scalars(LAYOUT)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the clip, unless this is Lightning's check before training."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        writers = list(_writers(trainer))
        if not writers:
            return
        shown = watch(cast(Gated, pl_module))
        overlay = self._overlay(shown)
        for writer in writers:
            # Batches, as Lightning counts for its own tags: an agent takes many steps on each.
            step = max(0, trainer.fit_loop.total_batch_idx)
            writer.add_images("val/overlay", overlay, step, dataformats="NHWC")
            writer.add_figure("val/spent_over_frames", spent_figure(shown.spent), step)
            for block, rate in enumerate(shown.rates()):
                writer.add_scalar(f"val/recompute_rate/block_{block:02}", rate, step)

    def _overlay(self, shown: "Watched") -> NDArray[np.uint8]:
        """Pictures of some later frames, [f, h, w, 3]."""
        last = len(shown.frames) - 1
        chosen = sorted({round(i) for i in np.linspace(min(1, last), last, self.frames)})
        return np.stack([self._picture(shown, index) for index in chosen])

    def _picture(self, shown: "Watched", index: int) -> NDArray[np.uint8]:
        image = shown.frames[index].movedim(0, -1).cpu().numpy()
        spent = float(shown.spent[index])
        caption = Caption(
            label=f"frame {index}",
            spent=spent,
            budget=None,
            macs=spent * shown.dense_macs,
            dense_macs=shown.dense_macs,
        )
        share = shown.recompute[index].double().mean(0).view(shown.grid).numpy()
        return draw_overlay(image, share, caption, self.min_side)


@dataclass(frozen=True)
class Watched:
    """What a session did with a clip.

    Attributes:
        frames: uint8 [t, c, h, w].
        recompute: Per frame, block and patch, bool [t, l, p].
        spent: Per frame, fraction of dense, float64 [t].
        grid: Patch rows and columns.
        dense_macs: MACs of a dense frame.
    """

    frames: Tensor
    recompute: Tensor
    spent: Tensor
    grid: tuple[int, int]
    dense_macs: float

    def rates(self) -> list[float]:
        """Share of patches recomputed on the frames after the first, per block."""
        if len(self.recompute) < 2:
            return []
        rates: list[float] = self.recompute[1:].double().mean((0, 2)).tolist()
        return rates


def watch(module: Gated) -> Watched:
    """Serve a module's example clip."""
    frames, knob = module.val_example()
    backbone = module.backbone
    session = ReuseSession(backbone, module.gate)
    session.knob = knob
    results = [session.step(frame) for frame in backbone.normalize(frames)]
    prefix = backbone.num_prefix_tokens
    return Watched(
        frames=frames,
        recompute=torch.cat([result.recompute[..., prefix:].cpu() for result in results]),
        spent=torch.cat([result.spent for result in results]),
        grid=backbone.grid,
        dense_macs=session.macs.dense,
    )


def spent_figure(spent: Tensor) -> Figure:
    """Spent over frames, [t], and the mean of the later ones."""
    figure = Figure(figsize=(6, 2.6), layout="constrained", dpi=110)
    axes = figure.subplots()
    later = spent[1:].numpy()
    axes.bar(range(1, len(spent)), later, width=0.85, color=LEARNED[0], linewidth=0)
    if len(later):
        mean = float(later.mean())
        axes.axhline(mean, color=INK, linewidth=1)
        axes.set_title(f"mean {mean:.3f}", loc="right", fontsize=9, color=INK)
    axes.set_ylim(0, 1)
    axes.set_xlabel("frame (the first is dense)", color=INK, fontsize=9)
    axes.set_ylabel("spent, fraction of dense", color=INK, fontsize=9)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(axis="y", color=FAINT, linewidth=0.4)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _writers(trainer: Trainer) -> Iterator[SummaryWriter]:
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            yield logger.experiment
