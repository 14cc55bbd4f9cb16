"""One frame's numbers, as they are printed, written and summed up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from policy.divergence import kl_to_dense
from policy.serving.serve import Served


@dataclass(frozen=True)
class FrameRow:
    """What is reported of one frame.

    Attributes:
        frame: Counts the frames of the run from 0.
        source: File or address.
        index: Number of the frame in its source.
        time: Seconds since the source's first frame.
        restart: Why the session began afresh with this frame, which makes it dense; "" if not.
        flush: Why all patches are computed again from this frame on: "cut" or "age"; "" if not.
        top1: Most likely class; None for a backbone without classifier.
        label: Its name, or its number where names are unknown.
        probability: Of that class, in [0, 1].
        spent: Fraction of the dense frame's MACs.
        budget: That was asked, in the mean, hard, or as the latency had it; None for a knob.
        served_by: Name of the gate, or of the heuristic that it fell back to.
        macs: What was spent, in MACs.
        ms: Latency of the gated step, milliseconds.
        preprocess_ms: Of resize, crop and normalisation.
        dense_top1: Of the untouched model; this and the next are None where it was not run.
        dense_label: Its name.
        dense_ms: Its latency.
        agrees: Whether both name the same class.
        kl: KL(dense ‖ gated) of the class distributions, nats.
        cosine: Of both pooled features, for a backbone without classifier.
        checked: On a spot check, how far the gated output was from the dense one that took its
            place: KL in nats, or 1 − cosine for a backbone without classifier; else None.
    """

    frame: int
    source: str
    index: int
    time: float
    restart: str
    flush: str
    top1: int | None
    label: str
    probability: float | None
    spent: float
    budget: float | None
    served_by: str
    macs: float
    ms: float
    preprocess_ms: float
    dense_top1: int | None = None
    dense_label: str = ""
    dense_ms: float | None = None
    agrees: bool | None = None
    kl: float | None = None
    cosine: float | None = None
    checked: float | None = None


class Sink(Protocol):
    """Takes the frames of a run as they pass: a file, a screen."""

    def add(self, served: Served, row: FrameRow) -> None:
        """Take one frame and its numbers."""
        ...


def frame_row(served: Served, names: Sequence[str], num_classes: int) -> FrameRow:
    """Read a frame's numbers off its tensors.

    Args:
        served: From ``serve``.
        names: Of the classes; () where unknown.
        num_classes: 0 for a backbone without classifier, whose logits are its features.
    """
    logits, dense, guard = served.result.logits, served.dense, served.result.guard
    top1, label, probability = _top1(logits, names) if num_classes else (None, "", None)
    dense_top1, dense_label, kl, cosine = None, "", None, None
    if dense is not None and num_classes:
        dense_top1, dense_label, _ = _top1(dense, names)
        # Near 0 single precision would leave noise on both sides of it.
        kl = float(kl_to_dense(dense.double(), logits.double()))
    elif dense is not None:
        cosine = float(F.cosine_similarity(logits, dense))
    return FrameRow(
        frame=served.number,
        source=served.frame.name,
        index=served.frame.index,
        time=served.frame.time,
        restart=served.restart,
        flush="cut" if guard.cut else "age" if guard.aged else "",
        top1=top1,
        label=label,
        probability=probability,
        spent=float(served.result.spent),
        budget=served.budget,
        served_by=served.served_by,
        macs=float(served.result.macs),
        ms=served.ms,
        preprocess_ms=served.preprocess_ms,
        dense_top1=dense_top1,
        dense_label=dense_label,
        dense_ms=served.dense_ms,
        agrees=None if dense_top1 is None else dense_top1 == top1,
        kl=kl,
        cosine=cosine,
        checked=None if guard.distance.isnan() else float(guard.distance),
    )


def _top1(logits: Tensor, names: Sequence[str]) -> tuple[int, str, float]:
    probability, index = logits[0].softmax(-1).max(-1)
    top1 = int(index)
    return top1, names[top1] if names else str(top1), float(probability)
