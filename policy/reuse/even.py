"""The blocks where every stream recomputes equally many tokens, so that no shape depends on data.

What compilers need: ``policy.exporting`` writes it down with a count that never changes, and
``policy.reuse.compiled`` pads rows to a few counts.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from backbones.opened import OpenBlock
from policy.reuse.compact import CompactState
from policy.reuse.rows import as_rows, attend, project, update

Put = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A cache [s, n, ...] with rows [s, r, ...] at places of its flattened tokens, int64 [s, r]."""


def put_in_place(cache: Tensor, places: Tensor, rows: Tensor) -> Tensor:
    """Write into the cache, in its dtype."""
    as_rows(cache).index_copy_(0, places.flatten(), rows.flatten(0, 1).to(cache.dtype))
    return cache


def put_in_copy(cache: Tensor, places: Tensor, rows: Tensor) -> Tensor:
    """The same as a value; the cache stays as it was."""
    flat = rows.flatten(0, 1).to(cache.dtype)
    return as_rows(cache).index_copy(0, places.flatten(), flat).view_as(cache)


def even_blocks(
    blocks: Sequence[OpenBlock], tokens: Tensor, state: CompactState, places: Tensor, put: Put
) -> tuple[Tensor, CompactState]:
    """``CompactKV.step`` behind the gate, for one mask of equally many tokens of each stream.

    Args:
        blocks: Without packed layers, which compilers do not know.
        tokens: The first block's input, [s, n, d].
        state: Caches of the frame before.
        places: Of the selected tokens in the flattened [s · n] list, int64 [s, r]. One may stand
            there twice: both rows are the same.
        put: Whether caches are written or copied.

    Returns:
        The last block's output [s, n, d] and the caches after the frame.
    """
    inputs = as_rows(tokens)[places]  # [s, r, d]
    active = inputs
    all_keys, all_values = [], []
    for block, old_keys, old_values in zip(blocks, state.keys, state.values, strict=True):
        new = project(block, active)
        keys, values = put(old_keys, places, new.keys), put(old_values, places, new.values)
        attended = attend(block, new.queries, keys, values)
        active = active + update(block, active, attended, new.gate).to(active.dtype)
        all_keys.append(keys)
        all_values.append(values)
    (memory,) = state.sums
    out = put_in_copy(tokens + memory, places, active)
    after = CompactState(
        reference=put(state.reference, places, inputs),
        keys=tuple(all_keys),
        values=tuple(all_values),
        sums=(put(memory, places, active - inputs),),
    )
    return out, after
