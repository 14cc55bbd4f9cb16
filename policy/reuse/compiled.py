"""The compact execution with its blocks as one compiled program, against the cost of launches.

A frame of 12 blocks makes some 400 calls of torch, each of some microseconds however few its rows
are. ``torch.compile`` fuses them, and replays them as one CUDA graph on a GPU. A graph has fixed
shapes, so each stream's rows are padded to one of few counts, with repetitions of a row that is
computed anyway: the same numbers are then written twice. The gate stays outside and runs as it is.

On a CPU, where compiled code takes the plain linear layers, it is slower than ``CompactKV``; it
runs there to be tested. Not yet measured on a GPU, and therefore used only where it is asked for.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from backbones.opened import OpenBlock
from backbones.vit import Backbone
from policy.gates.base import Masks
from policy.reuse.base import FrameGate
from policy.reuse.compact import CompactKV, CompactState
from policy.reuse.even import even_blocks, put_in_place
from policy.reuse.rows import Opened
from policy.reuse.selection import Select, Selection, select

GRAIN = 8
"""Rows are padded to a multiple of this: a CUDA graph is recorded for each, a program is not."""

Program = Callable[[Sequence[OpenBlock], Tensor, CompactState, Tensor], Tensor]


class CompiledKV(CompactKV):
    """``CompactKV`` for one shared mask; the state is the same and so are the results.

    The first frame compiles for about a minute, once per process and batch size.

    Args:
        select: How the gate's answer becomes rows.
        cache_dtype: Of cached keys and values; None for that of the weights.
    """

    def __init__(self, select: Select = select, cache_dtype: torch.dtype | None = None) -> None:
        super().__init__(Masks.SHARED, select, cache_dtype)
        self._opened = Opened(packed=False)
        self._program: Program | None = None

    def __getstate__(self) -> dict[str, object]:
        """Without the program, which belongs to one process."""
        return vars(self) | {"_program": None}

    def fresh(self, backbone: Backbone, streams: int) -> CompactState:
        """Empty caches, which a CUDA graph may write where they are."""
        state = super().fresh(backbone, streams)
        for tensor in state.tensors():
            torch._dynamo.mark_static_address(tensor)
        return state

    def _run(
        self,
        backbone: Backbone,
        tokens: Tensor,
        state: CompactState,
        gate: FrameGate,
        chosen: Selection,
    ) -> tuple[Tensor, CompactState, Tensor]:
        # A stream of a model without prefix tokens may have no row that could be repeated.
        if not all(chosen.counts):
            return super()._run(backbone, tokens, state, gate, chosen)
        if self._program is None:
            self._program = _compiled(tokens.device)
        places = padded(chosen, backbone.num_tokens)
        torch._dynamo.mark_dynamic(places, 1)
        out = self._program(self._opened.blocks(backbone), tokens, state, places)
        # What a graph returns is overwritten by its next replay.
        out = out.clone() if out.is_cuda else out
        return out, state, torch.stack([chosen.mask] * backbone.depth, dim=1)


def padded(chosen: Selection, num_tokens: int) -> Tensor:
    """Each stream's rows, as many for all, int64 [s, r]; the last of a stream is repeated.

    Args:
        chosen: At least one row of each stream.
        num_tokens: n, the most that a stream can have.
    """
    counts = torch.tensor(chosen.counts).unsqueeze(1)
    longest = int(counts.max())
    width = min(-(-longest // GRAIN) * GRAIN, num_tokens)
    index = counts.cumsum(0) - counts + torch.arange(width).minimum(counts - 1)
    return chosen.rows[index.to(chosen.rows.device, non_blocking=True)]


def _compiled(device: torch.device) -> Program:
    mode = "reduce-overhead" if device.type == "cuda" else None
    program: Program = torch.compile(_blocks, fullgraph=True, mode=mode)
    return program


def _blocks(
    blocks: Sequence[OpenBlock], tokens: Tensor, state: CompactState, places: Tensor
) -> Tensor:
    """Output [s, n, d]; the state is written into."""
    return even_blocks(blocks, tokens, state, places, put_in_place)[0]
