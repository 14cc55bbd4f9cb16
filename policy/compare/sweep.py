"""Running policies over clips: one pass per policy and clip, all its knobs side by side."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from backbones.vit import Backbone
from datamodules.errors import RegateError
from datamodules.records import Clip
from policy.compare.policies import Entry
from policy.compare.records import FloatArray, Sweep
from policy.cost import BackboneMacs
from policy.gates.base import Setting
from policy.quality import DenseClip, dense_reference, sweep_settings
from policy.signals import staggered


@dataclass(frozen=True)
class Reference:
    """A clip and the output that every policy on it is held against.

    Attributes:
        clip: As delivered by the data module; policies run on its frames.
        dense: The dense model's outputs on the frames before any disturbance.
        labels: int64 [t] where the labels are the backbone's classes, else None.
        phase: Where in their period policies with a pace begin, ``staggered`` over the clips.
    """

    clip: Clip
    dense: DenseClip
    labels: Tensor | None
    phase: float = 0.0


@dataclass(frozen=True)
class ClipSweep:
    """What is kept of one policy on one clip: numbers per knob, none of the outputs.

    They are lists, and no arrays, because Python keeps its own numbers apart. A thousand small
    arrays that stay, laid down between large ones that come and go, cut the heap into pieces too
    small for the next large one: gigabytes on a whole comparison.

    Attributes:
        name: Of the clip.
        group: Of the clip.
        spent: Mean over the frames after the first, [k].
        spent_with_first: Mean over all frames, [k].
        metrics: Each [k].
        over_frames: KL, agreement and spent of each frame after the first, [t - 1, k].
        state_bytes: Held per stream.
    """

    name: str
    group: str
    spent: list[float]
    spent_with_first: list[float]
    metrics: dict[str, list[float]]
    over_frames: dict[str, list[list[float]]]
    state_bytes: int


def references(
    backbone: Backbone, clips: Iterable[Clip], labelled: bool, before: int = 0
) -> Iterator[Reference]:
    """Run the dense model once over each clip; every policy is held against these outputs.

    One clip at a time, since the patch tokens of a whole split do not fit into memory.

    Args:
        backbone: The frozen model.
        clips: To be compared.
        labelled: Whether their labels are the backbone's classes.
        before: Clips of the folds before, whose phases these go on from.

    Raises:
        RegateError: If there are no clips, or one has a single frame.
    """
    place = before - 1
    for place, clip in enumerate(clips, start=before):
        if len(clip.frames) < 2:
            raise RegateError(f"{clip.name} has one frame; a comparison reads the later ones")
        dense = dense_reference(backbone, clip)
        yield Reference(clip, dense, clip.labels if labelled else None, staggered(place))
    if place < before:
        raise RegateError("the test split has no clips: give the data module more videos")


def sweep(
    backbone: Backbone,
    entry: Entry,
    settings: Sequence[Setting],
    reference: Reference,
) -> ClipSweep:
    """Run one policy over one clip at all its settings.

    Args:
        backbone: The frozen model.
        entry: The policy.
        settings: Its own; one, of which the knob is not read, for a policy without a knob.
        reference: The clip.
    """
    clip = reference.clip
    frames = backbone.normalize(clip.frames)
    dense, labels = reference.dense, reference.labels
    phase = reference.phase
    swept = sweep_settings(backbone, settings, frames, dense, labels, entry.seed, phase)
    each = swept.over_frames | {"spent": swept.spent[1:]}
    return ClipSweep(
        name=clip.name,
        group=clip.group,
        spent=swept.spent[1:].mean(0).tolist(),
        spent_with_first=swept.spent.mean(0).tolist(),
        metrics={name: values.tolist() for name, values in swept.metrics.items()},
        over_frames={name: values.tolist() for name, values in each.items()},
        state_bytes=swept.state_bytes,
    )


def gather(
    backbone: Backbone, entry: Entry, knobs: Sequence[float], clips: Sequence[ClipSweep]
) -> Sweep:
    """Put the clips of one policy together, in the order given."""
    return Sweep(
        policy=entry.policy,
        seed=entry.seed,
        knobs=np.asarray(knobs, dtype=np.float64),
        spent=np.stack([clip.spent for clip in clips]),
        spent_with_first=np.stack([clip.spent_with_first for clip in clips]),
        metrics={
            name: np.stack([clip.metrics[name] for clip in clips]) for name in clips[0].metrics
        },
        over_frames={
            name: _mean_over_clips([np.asarray(clip.over_frames[name]) for clip in clips])
            for name in clips[0].over_frames
        },
        dense_macs=BackboneMacs.of(backbone).dense,
        clips=tuple(clip.name for clip in clips),
        groups=tuple(clip.group for clip in clips),
        learned=entry.learned,
    )


def joined(parts: Sequence[Sweep]) -> Sweep:
    """One policy over the clips of all its sweeps.

    Args:
        parts: Of one fold each, at settings that each found for itself, for the same budgets.

    Raises:
        ValueError: If they have other numbers of settings.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    clips = [len(part.clips) for part in parts]
    counts = [len(part.knobs) for part in parts]
    if len(set(counts)) > 1:
        raise ValueError(f"{first.policy}: every fold needs as many settings, got {counts}")
    knobs = np.stack([part.knobs for part in parts])
    return replace(
        first,
        knobs=np.average(knobs, axis=0, weights=clips),
        folds=tuple(fold for fold, count in enumerate(clips) for _ in range(count)),
        fold_knobs=knobs,
        spent=np.concatenate([part.spent for part in parts]),
        spent_with_first=np.concatenate([part.spent_with_first for part in parts]),
        metrics={
            name: np.concatenate([part.metrics[name] for part in parts]) for name in first.metrics
        },
        over_frames={
            name: _mean_over_clips([part.over_frames[name] for part in parts], clips)
            for name in first.over_frames
        },
        clips=tuple(name for part in parts for name in part.clips),
        groups=tuple(name for part in parts for name in part.groups),
    )


def _mean_over_clips(
    clips: Sequence[FloatArray], weights: Sequence[int] | None = None
) -> FloatArray:
    """Mean of [t, k] frame by frame, over those clips that are long enough."""
    longest = max(clips, key=len)
    total, count = np.zeros(longest.shape), np.zeros((len(longest), 1))
    for clip, weight in zip(clips, weights or [1] * len(clips), strict=True):
        total[: len(clip)] += weight * clip
        count[: len(clip)] += weight
    mean: FloatArray = total / count
    return mean
