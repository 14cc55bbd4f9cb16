"""How close a gated clip stays to the dense model: the one definition, for training and tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional import cosine_similarity
from torchmetrics.functional.classification import multiclass_accuracy

from backbones.vit import Backbone
from datamodules.records import Clip
from policy.divergence import kl_to_dense
from policy.gates.base import Gate, Setting
from policy.session import ReuseSession

WORST = 0.05
"""Share of (frame, patch) pairs that ``cosine_worst5`` averages."""


@dataclass(frozen=True)
class DenseClip:
    """The dense model's output on one clip of t frames.

    Attributes:
        logits: [t, k].
        features: [t, d].
        patches: [t, p, d].
    """

    logits: Tensor
    features: Tensor
    patches: Tensor


@dataclass(frozen=True)
class SweptClip:
    """A gated clip at k knobs, run side by side.

    Attributes:
        spent: Of each frame, the dense first one included, float64 [t, k].
        logits: [t, k, classes].
        metrics: Mean over the frames after the first, each [k].
        state_bytes: Held per stream.
        over_frames: ``kl`` and ``agreement`` of each frame after the first, [t - 1, k].
    """

    spent: Tensor
    logits: Tensor
    metrics: dict[str, Tensor]
    state_bytes: int
    over_frames: dict[str, Tensor]


@torch.no_grad()
def dense_clip(backbone: Backbone, frames: Tensor) -> DenseClip:
    """Run the dense model on normalised frames [t, c, h, w]."""
    tokens = backbone.embed(frames)
    for block in backbone.blocks:
        tokens = block(tokens)
    return DenseClip(*backbone.head(tokens))


def dense_reference(backbone: Backbone, clip: Clip) -> DenseClip:
    """What every policy on a clip is held against: the dense model on its undisturbed frames.

    It is the disturbance that policies should not follow, and the dense model on the disturbed
    frames is a policy beside them.
    """
    clean = clip.frames if clip.clean is None else clip.clean
    return dense_clip(backbone, backbone.normalize(clean))


@torch.no_grad()
def sweep_clip(
    backbone: Backbone,
    gate: Gate,
    frames: Tensor,
    dense: DenseClip,
    knobs: Tensor,
    labels: Tensor | None = None,
    seed: int = 0,
    paces: Tensor | float = 1.0,
    phase: float = 0.0,
) -> SweptClip:
    """Run a gate on one clip at several knobs and hold it against the dense model.

    Args:
        backbone: The frozen model.
        gate: Any gate.
        frames: Normalised, [t, c, h, w], t >= 2.
        dense: From ``dense_reference``; of the same frames where nothing disturbs them.
        knobs: [k].
        labels: Class per frame, int64 [t], -1 where unlabelled; None without labels that belong
            to the backbone's classes.
        seed: Of random policies.
        paces: Share of frames looked at, [k] or one for all.
        phase: Where in their period the paces begin; ``staggered`` over the clips of a mean.

    Returns:
        Spent and the metrics kl, agreement, agreement_top5, cosine, cosine_worst5, cosine_pooled,
        excess_flips and, with labels, accuracy.
    """
    session = ReuseSession(backbone, gate, seed=seed)
    session.knob, session.pace, session.phase = knobs, paces, phase
    count = len(knobs)
    spent, logits, features, near = [], [], [], []
    for index, frame in enumerate(frames):
        result = session.step(frame.expand(count, *frame.shape))
        spent.append(result.spent)
        logits.append(result.logits)
        features.append(result.features)
        reference = dense.patches[index].expand(count, -1, -1)
        near.append(torch.cosine_similarity(result.patches, reference, dim=-1))
    output = torch.stack(logits)
    metrics = quality(dense, output, torch.stack(features), torch.stack(near)[1:], labels)
    frame_by_frame = over_frames(dense, output)
    return SweptClip(torch.stack(spent), output, metrics, session.state_bytes, frame_by_frame)


def sweep_settings(
    backbone: Backbone,
    settings: Sequence[Setting],
    frames: Tensor,
    dense: DenseClip,
    labels: Tensor | None = None,
    seed: int = 0,
    phase: float = 0.0,
) -> SweptClip:
    """As ``sweep_clip``, at settings of which some may be another gate's: a pass for each gate.

    Args:
        backbone: The frozen model.
        settings: k of them.
        frames: Normalised, [t, c, h, w], t >= 2.
        dense: From ``dense_reference``.
        labels: As in ``sweep_clip``.
        seed: Of random policies.
        phase: As in ``sweep_clip``.
    """
    columns: dict[Gate, list[int]] = {}
    for column, setting in enumerate(settings):
        columns.setdefault(setting.gate, []).append(column)
    passes = []
    for gate, its in columns.items():
        chosen = [settings[column] for column in its]
        knobs = torch.tensor([s.knob for s in chosen], dtype=torch.float32, device=frames.device)
        paces = [s.pace for s in chosen]
        # One number where all are alike, so that a frame is held or embedded for all at once.
        pace = paces[0] if len(set(paces)) == 1 else torch.tensor(paces, dtype=torch.float64)
        swept = sweep_clip(backbone, gate, frames, dense, knobs, labels, seed, pace, phase)
        passes.append(swept)
    order = torch.tensor([column for its in columns.values() for column in its]).argsort()

    def joined(parts: list[Tensor], dim: int) -> Tensor:
        return torch.cat(parts, dim).index_select(dim, order.to(parts[0].device))

    return SweptClip(
        spent=joined([swept.spent for swept in passes], 1),
        logits=joined([swept.logits for swept in passes], 1),
        metrics={
            name: joined([swept.metrics[name] for swept in passes], 0) for name in passes[0].metrics
        },
        state_bytes=max(swept.state_bytes for swept in passes),
        over_frames={
            name: joined([swept.over_frames[name] for swept in passes], 1)
            for name in passes[0].over_frames
        },
    )


def over_frames(dense: DenseClip, logits: Tensor) -> dict[str, Tensor]:
    """How quality goes with the frames since the first, which is dense for all.

    Args:
        dense: Of t frames.
        logits: At k knobs, [t, k, classes].

    Returns:
        ``kl`` and ``agreement`` (0 or 1), each [t - 1, k].
    """
    reference = dense.logits[1:].unsqueeze(1).expand_as(logits[1:])
    same = logits[1:].argmax(-1) == reference.argmax(-1)
    return {"kl": kl_to_dense(reference, logits[1:]), "agreement": same.float()}


def quality(
    dense: DenseClip,
    logits: Tensor,
    features: Tensor,
    near: Tensor,
    labels: Tensor | None = None,
) -> dict[str, Tensor]:
    """Every metric, mean over the frames after the first, which is dense for all.

    Args:
        dense: Of t frames.
        logits: At k knobs, [t, k, classes].
        features: Likewise, [t, k, d].
        near: Cosine of each patch token to the dense one on the later frames, [t - 1, k, p].
        labels: As in ``sweep_clip``.

    Returns:
        By the names that ``sweep_clip`` lists, each [k].
    """
    later = logits[1:]  # [t', k, c]
    frames, count, classes = later.shape
    each = over_frames(dense, logits)
    worst = near.permute(1, 0, 2).flatten(1)  # [k, t' · p]
    worst = worst.topk(max(1, round(WORST * worst.shape[1])), dim=1, largest=False).values
    pooled = dense.features[1:].unsqueeze(1).expand_as(features[1:])
    alike = cosine_similarity(
        features[1:].flatten(0, 1), pooled.flatten(0, 1), reduction="none"
    ).view(frames, count)
    metrics = {
        "kl": each["kl"].mean(0),
        "agreement": each["agreement"].mean(0),
        "agreement_top5": _accuracy(later, dense.logits[1:].argmax(-1), min(5, classes)),
        "cosine": near.mean((0, 2)),
        "cosine_worst5": worst.mean(1),
        "cosine_pooled": alike.mean(0),
        "excess_flips": _flips(logits) - _flips(dense.logits.unsqueeze(1)),
    }
    if labels is not None:
        labels = labels.to(logits.device)
        known = labels[1:] >= 0
        metrics["accuracy"] = (
            _accuracy(later[known], labels[1:][known], 1)
            if known.any()
            else torch.full((count,), torch.nan)
        )
    return metrics


def _accuracy(logits: Tensor, target: Tensor, top_k: int) -> Tensor:
    """Share of frames [t] whose target is among the top k of logits [t, knobs, c], per knob."""
    count, classes = logits.shape[1:]
    accuracy: Tensor = multiclass_accuracy(
        logits.permute(1, 2, 0),  # [knobs, c, t]
        target.expand(count, -1),
        num_classes=classes,
        top_k=top_k,
        average="micro",
        multidim_average="samplewise",
    )
    return accuracy


def _flips(logits: Tensor) -> Tensor:
    """Share of neighbouring frames whose top-1 differs, for logits [t, k, c] → [k]."""
    best = logits.argmax(-1)
    return (best[1:] != best[:-1]).float().mean(0)
