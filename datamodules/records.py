"""Clips and batches of clips, as handed from the data to everything that reads them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Clip(NamedTuple):
    """A run of consecutive frames, resized and cropped for the backbone, not yet normalised."""

    frames: Tensor
    """uint8 [t, c, h, w], RGB."""
    labels: Tensor
    """int64 [t], class per frame; -1 where unlabelled."""
    name: str
    """Unique within the split."""
    group: str
    """The scene it shows. Clips of one group are not independent: a group never straddles
    two splits, and intervals are taken over groups."""
    clean: Tensor | None = None
    """The frames before a disturbance, uint8 [t, c, h, w]; None where nothing disturbs them."""


class ClipBatch(NamedTuple):
    """Clips of equal length, stacked."""

    frames: Tensor
    """uint8 [b, t, c, h, w]."""
    labels: Tensor
    """int64 [b, t]; -1 where unlabelled."""
    names: list[str]
    groups: list[str]
    clean: Tensor | None = None
    """uint8 [b, t, c, h, w], before a disturbance; None where nothing disturbs them."""

    def clips(self) -> list[Clip]:
        """The clips one by one, b of them: the inverse of ``collate``."""
        clean = [None] * len(self.frames) if self.clean is None else list(self.clean)
        columns = (self.frames, self.labels, self.names, self.groups, clean)
        return [Clip(*values) for values in zip(*columns, strict=True)]


def collate(clips: Sequence[Clip]) -> ClipBatch:
    """Stack clips of equal length and size into one batch."""
    clean = [clip.clean for clip in clips if clip.clean is not None]
    return ClipBatch(
        frames=torch.stack([clip.frames for clip in clips]),
        labels=torch.stack([clip.labels for clip in clips]),
        names=[clip.name for clip in clips],
        groups=[clip.group for clip in clips],
        clean=torch.stack(clean) if clean else None,
    )
