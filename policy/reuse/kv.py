"""The ``kv`` mechanism: cached keys and values, one decision per token and block.

For a frame with tokens x and mask m, a block computes queries, keys, values, projection and MLP
of the selected rows only. Their keys and values replace the cached ones, selected queries attend
over *all* cached keys and values, and every row leaves the block as ``x + f``, with the update
``f`` replaced on the selected rows. Nothing of size n × n is kept.

Three executions of these same semantics stand side by side: ``MaskedKV`` computes everything and
mixes (differentiable, for training), ``GatheredKV`` computes the selected rows only, and
``CompactKV`` (``policy.reuse.compact``) gathers once per frame where masks are nested.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from backbones.coverage import attention
from backbones.opened import OpenBlock
from backbones.vit import Backbone
from policy.reuse.base import FrameGate
from policy.reuse.rows import Opened, as_rows, attend, project, update
from policy.state import Streams


@dataclass(frozen=True)
class KVState(Streams):
    """Caches of the masked and the gathered execution, one tensor per block.

    Attributes:
        reference: Block inputs that the caches were made from, each [s, n, d].
        keys: Each [s, n, h, d / h].
        values: Likewise.
        updates: What each block added to its input, each [s, n, d].
        memory: What all blocks together added, [s, n, d].
    """

    reference: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    updates: tuple[Tensor, ...]
    memory: Tensor


def fresh_kv_state(
    backbone: Backbone, streams: int, cache_dtype: torch.dtype | None = None
) -> KVState:
    """Zeros; what is in it is never read, because a stream's first frame is dense.

    Args:
        backbone: For shapes.
        streams: s.
        cache_dtype: Of keys and values; None for that of the weights.
    """
    like = backbone.mean
    shape = (streams, backbone.num_tokens, backbone.dim)
    depth = range(backbone.depth)
    attentions = [attention(block) for block in backbone.blocks]
    heads = [(*shape[:2], attn.num_heads, attn.head_dim) for attn in attentions]
    return KVState(
        reference=tuple(like.new_zeros(shape) for _ in depth),
        keys=tuple(like.new_zeros(head, dtype=cache_dtype) for head in heads),
        values=tuple(like.new_zeros(head, dtype=cache_dtype) for head in heads),
        updates=tuple(like.new_zeros(shape) for _ in depth),
        memory=like.new_zeros(shape),
    )


class MaskedKV:
    """Computes every row and mixes by the mask: for training, and as the reference in tests.

    With a relaxed mask the candidate *update* and the new keys and values are mixed linearly.
    Mixing inputs instead would hide a token's own drift from the gradient where the mask is 0.
    """

    name = "kv"

    def __init__(self) -> None:
        self._opened = Opened(packed=False)

    def fresh(self, backbone: Backbone, streams: int) -> KVState:
        """Empty caches."""
        self._opened.fresh()
        return fresh_kv_state(backbone, streams)

    def known(self, state: KVState) -> tuple[Tensor, Tensor]:
        """See ``Mechanism.known``."""
        return state.reference[0], state.memory

    def step(
        self, backbone: Backbone, tokens: Tensor, state: KVState, gate: FrameGate
    ) -> tuple[Tensor, KVState, Tensor]:
        """One frame; see ``Mechanism.step``. The state given is left as it was."""
        x = tokens
        masks, references, all_keys, all_values, updates = [], [], [], [], []
        for index, block in enumerate(self._opened.blocks(backbone)):
            mask = gate.mask(index, x, state.reference[index], state.memory)
            new = project(block, x)
            keys = _mix(mask, new.keys, state.keys[index])
            values = _mix(mask, new.values, state.values[index])
            attended = attend(block, new.queries, keys, values)
            change = _mix(mask, update(block, x, attended, new.gate), state.updates[index])
            references.append(_mix(mask.detach() > 0.5, x.detach(), state.reference[index]))
            masks.append(mask)
            all_keys.append(keys)
            all_values.append(values)
            updates.append(change)
            x = x + change
        after = KVState(
            reference=tuple(references),
            keys=tuple(all_keys),
            values=tuple(all_values),
            updates=tuple(updates),
            memory=x.detach() - tokens,
        )
        return x, after, torch.stack(masks, dim=1)


class GatheredKV:
    """Computes the selected rows only; streams may select different numbers of them.

    Rows of all streams share each matrix product; attention runs per stream, so that no stream
    pays for another's rows. Caches are written in place.

    Args:
        cache_dtype: Of cached keys and values; None for that of the weights.
    """

    name = "kv"

    def __init__(self, cache_dtype: torch.dtype | None = None) -> None:
        self._cache_dtype = cache_dtype
        self._opened = Opened(packed=True)

    def fresh(self, backbone: Backbone, streams: int) -> KVState:
        """Empty caches."""
        self._opened.fresh()
        return fresh_kv_state(backbone, streams, self._cache_dtype)

    def known(self, state: KVState) -> tuple[Tensor, Tensor]:
        """See ``Mechanism.known``."""
        return state.reference[0], state.memory

    def step(
        self, backbone: Backbone, tokens: Tensor, state: KVState, gate: FrameGate
    ) -> tuple[Tensor, KVState, Tensor]:
        """One frame; see ``Mechanism.step``. The state given is written into."""
        x = tokens
        masks = []
        for index, block in enumerate(self._opened.blocks(backbone)):
            mask = gate.mask(index, x, state.reference[index], state.memory)
            masks.append(mask)
            rows = mask.flatten().nonzero().squeeze(1)
            inputs = as_rows(x).index_select(0, rows)
            counts = mask.sum(1).tolist()
            keys, values = state.keys[index], state.values[index]
            change = gathered_update(block, inputs, rows, counts, keys, values)
            as_rows(state.updates[index]).index_copy_(0, rows, change)
            as_rows(state.reference[index]).index_copy_(0, rows, inputs)
            x = x + state.updates[index]
        state.memory.copy_(x - tokens)
        return x, state, torch.stack(masks, dim=1)


def gathered_update(
    block: OpenBlock,
    inputs: Tensor,
    rows: Tensor,
    counts: list[int],
    keys: Tensor,
    values: Tensor,
) -> Tensor:
    """What a block adds to the selected rows, whose keys and values enter the caches first.

    Args:
        block: Of the backbone.
        inputs: The selected rows of all streams, [r, d].
        rows: Their places in the flattened [s · n] list, ascending, int64 [r].
        counts: Selected rows per stream; they add up to r.
        keys: Cache [s, n, h, d / h], written in place.
        values: Likewise.

    Returns:
        [r, d].
    """
    if not len(rows):  # a model without prefix tokens, on a frame that recomputes nothing
        return inputs
    new = project(block, inputs)
    # A cache is written in its own precision: it may be half, and so may rows under autocast.
    as_rows(keys).index_copy_(0, rows, new.keys.to(keys.dtype))
    as_rows(values).index_copy_(0, rows, new.values.to(values.dtype))
    attended = _attend_apart(block, new.queries, counts, keys, values)
    return update(block, inputs, attended, new.gate).to(inputs.dtype)


def _attend_apart(
    block: OpenBlock, queries: Tensor, counts: list[int], keys: Tensor, values: Tensor
) -> Tensor:
    """Attention of rows [r, h, d / h] over the caches of their own streams, [r, d]."""
    if len(set(counts)) == 1:
        each = queries.unflatten(0, (len(counts), -1))
        return attend(block, each, keys, values).flatten(0, 1)
    # Padding to the longest would compute twice as much, and nested tensors take ten times as long.
    return torch.cat(
        [
            attend(block, rows.unsqueeze(0), keys[stream, None], values[stream, None]).squeeze(0)
            for stream, rows in enumerate(queries.split(counts))
            if len(rows)
        ]
    )


def _mix(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Per row: new where the mask is 1, old where it is 0, linear between."""
    mask = mask.view(*mask.shape, *([1] * (new.dim() - mask.dim())))
    if mask.dtype == torch.bool:
        return torch.where(mask, new, old)
    return old + mask.to(new.dtype) * (new - old)
