"""From a gate's question to rows: which tokens are recomputed, gathered and noted as reference."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from policy.reuse.base import FrameGate
from policy.reuse.rows import as_rows


@dataclass(frozen=True)
class Selection:
    """The tokens of a frame that are recomputed.

    Attributes:
        mask: bool [s, n].
        rows: Their places in the flattened [s · n] list, ascending, int64 [r].
        inputs: Their values, [r, d].
        counts: Of each stream; they add up to r.
    """

    mask: Tensor
    rows: Tensor
    inputs: Tensor
    counts: list[int]


Select = Callable[[FrameGate, Tensor, Tensor, Tensor], Selection]
"""``select`` or what is tested equal to it."""


def select(gate: FrameGate, tokens: Tensor, reference: Tensor, memory: Tensor) -> Selection:
    """Ask the gate at the first block, and write the selected tokens into the reference.

    Args:
        gate: This frame's decisions.
        tokens: The first block's input, [s, n, d].
        reference: The input that the caches were made from, [s, n, d]; written in place.
        memory: What the network last added to each token, [s, n, d].
    """
    mask = gate.mask(0, tokens, reference, memory)
    rows = mask.flatten().nonzero().squeeze(1)
    inputs = as_rows(tokens).index_select(0, rows)
    as_rows(reference).index_copy_(0, rows, inputs)
    return Selection(mask, rows, inputs, mask.sum(1).tolist())
