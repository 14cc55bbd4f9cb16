"""What a step is worth: quality minus the price of what was spent for it."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from datamodules.errors import RegateError
from policy.divergence import kl_to_dense
from policy.records import FrameResult

Quality = Literal["accuracy", "agreement", "kl", "cosine"]
"""Top-1 against the label, top-1 against the dense model's, 1 − KL to it in nats, or the mean
cosine of the patch tokens to its."""


class Reference(NamedTuple):
    """The dense model's outputs, as far as a quality looks at them; one row per frame or stream.

    Attributes:
        logits: [s, k].
        patches: [s, p, d]; None unless cosine is the quality.
    """

    logits: Tensor
    patches: Tensor | None

    @classmethod
    def rows(cls, references: Sequence["Reference"], index: Sequence[int]) -> "Reference":
        """One row of each."""
        pairs = list(zip(references, index, strict=True))
        patches = [one.patches[row] for one, row in pairs if one.patches is not None]
        logits = torch.stack([one.logits[row] for one, row in pairs])
        return cls(logits, torch.stack(patches) if patches else None)


def check_quality(name: str) -> None:
    """Refuse what is no quality.

    Raises:
        RegateError: Naming those that are.
    """
    if name not in get_args(Quality):
        raise RegateError(f"quality must be one of {', '.join(get_args(Quality))}, got {name!r}")


def quality_terms(
    name: Quality, result: FrameResult, dense: Reference | None, labels: Tensor
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
        assert dense.patches is not None
        near = torch.cosine_similarity(result.patches, dense.patches, dim=-1).mean(-1)
        terms["quality"] = terms["cosine"] = near
    return terms
