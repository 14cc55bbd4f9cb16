"""What a step is worth: quality minus the price of what was spent for it."""

from typing import Literal, get_args

import torch
from torch import Tensor

from datamodules.errors import RegateError
from policy.divergence import kl_to_dense
from policy.quality import DenseClip
from policy.records import FrameResult

Quality = Literal["accuracy", "agreement", "kl", "cosine"]
"""Top-1 against the label, top-1 against the dense model's, 1 − KL to it in nats, or the mean
cosine of the patch tokens to its."""


def check_quality(name: str) -> None:
    """Refuse what is no quality.

    Raises:
        RegateError: Naming those that are.
    """
    if name not in get_args(Quality):
        raise RegateError(f"quality must be one of {', '.join(get_args(Quality))}, got {name!r}")


def quality_terms(
    name: Quality, result: FrameResult, dense: DenseClip | None, labels: Tensor
) -> dict[str, Tensor]:
    """What is known of each stream's output on one frame, ``quality`` among it, each [s].

    Args:
        name: Which of the terms is the quality.
        result: Of the frame.
        dense: The dense model's outputs, one row per stream; None where only labels count.
        labels: Class per stream, int64 [s].
    """
    best = result.logits.argmax(-1)
    terms: dict[str, Tensor] = {}
    if name == "accuracy":
        terms["quality"] = terms["accuracy"] = (best == labels).float()
    if dense is None:
        return terms
    terms["agreement"] = (best == dense.logits.argmax(-1)).float()
    terms["kl"] = kl_to_dense(dense.logits, result.logits)
    if name == "agreement":
        terms["quality"] = terms["agreement"]
    elif name == "kl":
        terms["quality"] = 1 - terms["kl"]
    elif name == "cosine":
        near = torch.cosine_similarity(result.patches, dense.patches, dim=-1).mean(-1)
        terms["quality"] = terms["cosine"] = near
    return terms
