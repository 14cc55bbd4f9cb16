"""Running policies over clips: one pass per policy, all its knobs side by side."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backbones.vit import Backbone
from datamodules.errors import RegateError
from datamodules.records import Clip
from policy.compare.policies import Entry
from policy.compare.records import Sweep
from policy.cost import BackboneMacs
from policy.quality import DenseClip, SweptClip, dense_clip, sweep_clip


@dataclass(frozen=True)
class Reference:
    """A clip and the dense model's output on it.

    Attributes:
        clip: As delivered by the data module.
        dense: The model's outputs.
        labels: int64 [t] where the labels are the backbone's classes, else None.
    """

    clip: Clip
    dense: DenseClip
    labels: Tensor | None


def references(
    backbone: Backbone, clips: Iterable[Clip], labelled: bool, advance: Callable[[], None]
) -> list[Reference]:
    """Run the dense model once over each clip; every policy is held against these outputs.

    Raises:
        RegateError: If there are no clips, or one has a single frame.
    """
    found = []
    for clip in clips:
        if len(clip.frames) < 2:
            raise RegateError(f"{clip.name} has one frame; a comparison reads the later ones")
        dense = dense_clip(backbone, backbone.normalize(clip.frames))
        found.append(Reference(clip, dense, clip.labels if labelled else None))
        advance()
    if not found:
        raise RegateError("the test split has no clips: give the data module more videos")
    return found


def sweep(
    backbone: Backbone,
    entry: Entry,
    knobs: Sequence[float],
    clips: Sequence[Reference],
    advance: Callable[[], None],
) -> tuple[Sweep, int]:
    """Run one policy over all clips at all its knobs.

    Args:
        backbone: The frozen model.
        entry: The policy.
        knobs: Its calibrated knobs; one value, which is not read, for a policy without a knob.
        clips: The split compared.
        advance: Called after each clip.

    Returns:
        The sweep, and the bytes of state per stream.
    """
    tensor = torch.tensor(knobs, dtype=torch.float32, device=backbone.mean.device)
    swept: list[SweptClip] = []
    for reference in clips:
        frames = backbone.normalize(reference.clip.frames)
        swept.append(
            sweep_clip(
                backbone, entry.gate, frames, reference.dense, tensor, reference.labels, entry.seed
            )
        )
        advance()
    metrics = {
        name: np.stack([clip.metrics[name].cpu().double().numpy() for clip in swept])
        for name in swept[0].metrics
    }
    return (
        Sweep(
            policy=entry.policy,
            seed=entry.seed,
            knobs=np.asarray(knobs, dtype=np.float64),
            spent=np.stack([clip.spent[1:].mean(0).numpy() for clip in swept]),
            spent_with_first=np.stack([clip.spent.mean(0).numpy() for clip in swept]),
            metrics=metrics,
            dense_macs=BackboneMacs.of(backbone).dense,
            clips=tuple(reference.clip.name for reference in clips),
            groups=tuple(reference.clip.group for reference in clips),
            learned=entry.learned,
        ),
        swept[0].state_bytes,
    )
