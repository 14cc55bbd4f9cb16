"""The serving form of ``kv`` where masks are shared or nested: gather once, scatter once.

If no token is recomputed in a later block without being recomputed in all earlier ones, then a
reused token needs no row in any block: it leaves the network as its input plus the cached sum of
its updates. The admitted tokens run alone through the blocks against the cached keys and values.
A token released before block i keeps its keys, values and updates from i on, and leaves as
``x_i + S_i`` with the suffix sum ``S_i = Σ_{j ≥ i} f_j``.

Only the first block's input is kept as reference, and only the sums that can be read: one for a
shared mask, one per block for a nested one. That is 26 n d and 37 n d numbers for 12 blocks, where
the per-block layout keeps 49 n d.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from backbones.vit import Backbone
from policy.gates.base import Masks
from policy.reuse.base import FrameGate
from policy.reuse.kv import fresh_kv_state, gathered_update
from policy.reuse.rows import Opened, as_rows
from policy.reuse.selection import Select, Selection, select
from policy.state import Streams


@dataclass(frozen=True)
class CompactState(Streams):
    """Caches of the compact execution.

    Attributes:
        reference: First block's input that the caches were made from, [s, n, d].
        keys: Per block, each [s, n, h, d / h].
        values: Likewise.
        sums: Per release site, the updates from there on, each [s, n, d]; site 0 is what the
            whole network adds.
    """

    reference: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    sums: tuple[Tensor, ...]


class CompactKV:
    """Computes the admitted rows only, without touching the others in any block.

    Args:
        masks: Shared or nested.
        select: How the gate's answer becomes rows.
        cache_dtype: Of cached keys and values; None for that of the weights.
    """

    name = "kv"

    def __init__(
        self, masks: Masks, select: Select = select, cache_dtype: torch.dtype | None = None
    ) -> None:
        if masks is Masks.PER_BLOCK:
            raise ValueError("masks decided per block are not nested: use GatheredKV")
        self.nested = masks is Masks.NESTED
        self._select = select
        self._cache_dtype = cache_dtype
        self._opened = Opened(packed=True)

    def fresh(self, backbone: Backbone, streams: int) -> CompactState:
        """Empty caches."""
        self._opened.fresh()
        full = fresh_kv_state(backbone, streams, self._cache_dtype)
        return CompactState(
            reference=full.memory,
            keys=full.keys,
            values=full.values,
            sums=full.updates if self.nested else full.updates[:1],
        )

    def known(self, state: CompactState) -> tuple[Tensor, Tensor]:
        """See ``Mechanism.known``."""
        return state.reference, state.sums[0]

    def step(
        self, backbone: Backbone, tokens: Tensor, state: CompactState, gate: FrameGate
    ) -> tuple[Tensor, CompactState, Tensor]:
        """One frame; see ``Mechanism.step``. The state given is written into."""
        chosen = self._select(gate, tokens, state.reference, state.sums[0])
        return self._run(backbone, tokens, state, gate, chosen)

    def _run(
        self,
        backbone: Backbone,
        tokens: Tensor,
        state: CompactState,
        gate: FrameGate,
        chosen: Selection,
    ) -> tuple[Tensor, CompactState, Tensor]:
        """The blocks on the rows that were chosen."""
        streams, n, _ = tokens.shape
        mask, rows, active, counts = chosen.mask, chosen.rows, chosen.inputs, chosen.counts
        out = tokens + state.sums[0]
        flat_out = as_rows(out)
        masks = [mask]
        visited = [(rows, active)]
        for index, block in enumerate(self._opened.blocks(backbone)):
            if index and self.nested:
                kept = gate.keep(index, active, rows, n)
                if kept is not None:
                    leaves, stays = (~kept).nonzero().squeeze(1), kept.nonzero().squeeze(1)
                    gone = rows[leaves]
                    tail = as_rows(state.sums[index]).index_select(0, gone)
                    flat_out.index_copy_(0, gone, active.index_select(0, leaves) + tail)
                    rows, active = rows[stays], active.index_select(0, stays)
                    counts = torch.bincount(rows // n, minlength=streams).tolist()
                    mask = torch.zeros_like(mask)
                    as_rows(mask).index_fill_(0, rows, True)
                masks.append(mask)
                visited.append((rows, active))
            active = active + gathered_update(
                block, active, rows, counts, state.keys[index], state.values[index]
            )
        flat_out.index_copy_(0, rows, active)
        for total, (places, inputs) in zip(state.sums, visited, strict=True):
            left = active if places is rows else flat_out.index_select(0, places)
            as_rows(total).index_copy_(0, places, left - inputs)
        if not self.nested:
            masks = masks * backbone.depth
        return out, state, torch.stack(masks, dim=1)
