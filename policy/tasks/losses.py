"""What a gate is trained to keep: the dense model's output, label-free by default."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from policy.divergence import kl_to_dense
from policy.quality import DenseClip
from policy.records import FrameResult


@dataclass(frozen=True)
class Distortion:
    """How far gated frames are from dense ones, per stream; 0 is equal.

    Attributes:
        kl: KL(dense ‖ gated) of the class distributions, nats, [s].
        patches: 1 − cosine of the patch tokens, mean over patches, [s].
        pooled: 1 − cosine of the pooled features, [s].
        labels: Cross-entropy to the labels where there are any, [s]; zeros otherwise.
    """

    kl: Tensor
    patches: Tensor
    pooled: Tensor
    labels: Tensor


def distortion(result: FrameResult, dense: DenseClip, labels: Tensor | None = None) -> Distortion:
    """Hold one frame of s streams against the dense outputs of the same frame.

    Args:
        result: Of a session, with gradients in training.
        dense: One row per stream: logits [s, k], features [s, d], patches [s, p, d].
        labels: int64 [s], -1 where unlabelled.
    """
    near = F.cosine_similarity(result.patches, dense.patches, dim=-1)
    pooled = F.cosine_similarity(result.features, dense.features, dim=-1)
    task = torch.zeros_like(pooled)
    if labels is not None:
        task = F.cross_entropy(result.logits, labels, ignore_index=-1, reduction="none")
    return Distortion(
        kl=kl_to_dense(dense.logits, result.logits),
        patches=1 - near.mean(-1),
        pooled=1 - pooled,
        labels=task,
    )
