"""The threshold's gating in two Triton kernels: drift, decision and reference; then the rows.

Plain PyTorch reads and writes all tokens several times for this, in a dozen launches: difference,
norm, floor, logarithm, comparison, mask, and then places, gather and write. The first kernel here
reads each token and its reference once and writes score, mask and, where the token is recomputed,
the new reference; the second turns the mask into rows and counts, on which the host waits once.
Fusing these is what the authors of Eventful Transformers (https://arxiv.org/abs/2308.13494) left
as future work.

Tested equal to ``policy.reuse.selection.select`` in Triton's interpreter. Not yet measured on a
GPU, and therefore used only where it is asked for.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from datamodules.errors import RegateError
from policy.gates.base import Masks
from policy.gates.heuristic import ThresholdGate
from policy.reuse.base import FrameGate
from policy.reuse.rows import as_rows
from policy.reuse.selection import Selection, select
from policy.signals import DRIFT_FLOOR


@triton.jit
def score_kernel(
    tokens: tl.tensor,
    reference: tl.tensor,
    knob: tl.tensor,
    overruled: tl.tensor,
    forced: tl.tensor,
    score: tl.tensor,
    mask: tl.tensor,
    num_tokens: tl.tensor,
    dim: tl.tensor,
    PREFIX: tl.constexpr,
    FLOOR: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """One token: its log drift, whether it is recomputed, and if so its new reference.

    Args:
        tokens: [s, n, d].
        reference: [s, n, d]; written where the mask is true.
        knob: Log threshold, [s].
        overruled: Streams in which ``forced`` decides, bool [s].
        forced: bool [s, p].
        score: Out, log drift of the patches, [s, p]; computed in its dtype.
        mask: Out, bool [s, n].
        num_tokens: n.
        dim: d.
        PREFIX: Tokens before the patches, always recomputed.
        FLOOR: Of the drift.
        BLOCK: Power of 2, at least d.
    """
    row = tl.program_id(0)
    stream = row // num_tokens
    patch = row % num_tokens - PREFIX
    columns = tl.arange(0, BLOCK)
    place = row.to(tl.int64) * dim + columns
    new = tl.load(tokens + place, mask=columns < dim, other=0.0)
    old = tl.load(reference + place, mask=columns < dim, other=0.0)
    dtype = score.dtype.element_ty
    moved = new.to(dtype) - old.to(dtype)
    drift = tl.log(tl.maximum(tl.sqrt(tl.sum(moved * moved, 0)), FLOOR))
    at = stream * (num_tokens - PREFIX) + patch
    said = tl.load(forced + at, mask=patch >= 0, other=True)
    beyond = drift > tl.load(knob + stream).to(dtype)
    chosen = tl.where(tl.load(overruled + stream), said, beyond) | (patch < 0)
    tl.store(score + at, drift, mask=patch >= 0)
    tl.store(mask + row, chosen)
    # A scalar and a block of bools cannot be combined in the interpreter of Triton 3.9.
    tl.store(reference + place, new, mask=columns < tl.where(chosen, dim, 0))


@triton.jit
def rows_kernel(
    mask: tl.tensor,
    rows: tl.tensor,
    counts: tl.tensor,
    streams: tl.tensor,
    num_tokens: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """All streams, one after the other: a mask is far smaller than what one processor holds.

    Args:
        mask: bool [s, n].
        rows: Out, places of the true ones in the flattened mask, ascending, int64 [s · n]; what
            comes after them is not written.
        counts: Out, of each stream, int64 [s].
        streams: s.
        num_tokens: n.
        BLOCK: Power of 2, at least n.
    """
    token = tl.arange(0, BLOCK)
    start = 0
    for stream in range(streams):
        place = stream * num_tokens + token
        chosen = tl.load(mask + place, mask=token < num_tokens, other=False).to(tl.int32)
        before = tl.cumsum(chosen, 0) - chosen
        tl.store(rows + start + before, place.to(tl.int64), mask=chosen > 0)
        count = tl.sum(chosen, 0)
        tl.store(counts + stream, count.to(tl.int64))
        start += count


# Under TRITON_INTERPRET=1 the decorator makes something else.
INTERPRETED = not isinstance(rows_kernel, triton.JITFunction)


def fused_select(gate: FrameGate, tokens: Tensor, reference: Tensor, memory: Tensor) -> Selection:
    """``select`` for the threshold with one mask; all else, hard budgets too, in plain PyTorch.

    Args:
        gate: This frame's decisions.
        tokens: The first block's input, [s, n, d].
        reference: The input that the caches were made from, [s, n, d]; written in place.
        memory: What the network last added to each token, [s, n, d].

    Raises:
        RegateError: If the tokens are not on a GPU.
    """
    if not (tokens.is_cuda or INTERPRETED):
        raise RegateError(
            f'execution="fused" runs on a GPU, and the backbone is on {tokens.device}: move it '
            'there, or take execution="compact"'
        )
    if gate.all_overruled or gate.room is not None or not _is_threshold(gate):
        return select(gate, tokens, reference, memory)
    # Kernels start on the current device, wherever their arguments are.
    with torch.cuda.device_of(tokens):
        return _launch(gate, tokens.contiguous(), reference)


def _is_threshold(gate: FrameGate) -> bool:
    """Whether the decision is exactly the one in the kernel; a subclass may decide otherwise."""
    served = gate.gate
    return type(served) is ThresholdGate and served.masks is Masks.SHARED and not served.offsets


def _launch(gate: FrameGate, tokens: Tensor, reference: Tensor) -> Selection:
    streams, n, dim = tokens.shape
    # As ``for_gates``: the logarithm of a small drift does not exist in half precision.
    dtype = torch.promote_types(tokens.dtype, torch.float32)
    score = torch.empty(streams, n - gate.prefix, dtype=dtype, device=tokens.device)
    mask = torch.empty(streams, n, dtype=torch.bool, device=tokens.device)
    rows = torch.empty(streams * n, dtype=torch.int64, device=tokens.device)
    counts = torch.empty(streams, dtype=torch.int64, device=tokens.device)
    score_kernel[(streams * n,)](
        tokens,
        as_rows(reference),
        gate.knob.contiguous(),
        gate.overruled,
        gate.forced.contiguous(),
        score,
        mask,
        n,
        dim,
        PREFIX=gate.prefix,
        FLOOR=DRIFT_FLOOR,
        BLOCK=triton.next_power_of_2(dim),
    )
    rows_kernel[(1,)](mask, rows, counts, streams, n, BLOCK=triton.next_power_of_2(n))
    gate.score = score
    of_each = counts.tolist()
    rows = rows[: sum(of_each)]
    return Selection(mask, rows, as_rows(tokens).index_select(0, rows), of_each)
