"""One timm block, opened between keys and queries so that both may come from other rows.

These functions replay ``Block.forward`` through the block's own submodules; see
``backbones.opened``, which makes sure that none is forgotten.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor

from backbones.opened import OpenBlock, Rows, open_block
from backbones.packed import may_pack, pack
from backbones.vit import Backbone
from backbones.watch import ModuleWatch


class Opened:
    """The blocks of a session's backbone, opened once and not once per frame.

    They are opened anew when their weights, modules or hooks are not those of the frame before,
    and under ``torch.backends.mkldnn.flags(enabled=False)`` without packed layers. Packed layers
    do not see writes to a weight through ``.data``, which torch does not count.

    Args:
        packed: Whether linear layers may run in oneDNN's layout, which has no gradient.
    """

    def __init__(self, packed: bool) -> None:
        self._packed = packed
        self._key: tuple[list[Block], bool, torch.device, torch.dtype] | None = None
        self._watch: ModuleWatch | None = None
        self._blocks: list[OpenBlock] = []

    def __getstate__(self) -> dict[str, object]:
        """Without what is opened: packed layers belong to one process and cannot be copied."""
        return vars(Opened(self._packed))

    def fresh(self) -> None:
        """Open them anew for the next frame, whatever has been seen."""
        self._key = None

    def blocks(self, backbone: Backbone) -> list[OpenBlock]:
        """In order."""
        # Autocast does not know packed layers, and would leave them in single precision.
        packed = self._packed and may_pack() and not torch.is_autocast_enabled("cpu")
        key = (backbone.blocks, packed, backbone.mean.device, backbone.mean.dtype)
        if key != self._key or self._watch is None or self._watch.changed():
            linear = pack if packed else None
            self._blocks = [open_block(block, linear) for block in backbone.blocks]
            self._watch = ModuleWatch(backbone.blocks)
            self._key = key
        return self._blocks


@dataclass(frozen=True)
class Projected:
    """Rows after the qkv projection; each [..., h, d / h], ``gate`` [..., d] or None."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    gate: Tensor | None


def as_rows(tokens: Tensor) -> Tensor:
    """Tokens [s, n, ...] as rows [s · n, ...] of the same memory, so that writes reach it.

    ``flatten`` would do the same, but hand out a copy where strides do not fit and lose the writes.
    """
    return tokens.view(-1, *tokens.shape[2:])


def project(block: OpenBlock, rows: Tensor) -> Projected:
    """From a block's input rows [..., d] to queries, keys and values."""
    normed = block.norm1(rows)
    queries, keys, values = (
        block.qkv(normed).unflatten(-1, (3, block.num_heads, block.head_dim)).unbind(-3)
    )
    if block.q_norm:
        queries = block.q_norm(queries)
    if block.k_norm:
        keys = block.k_norm(keys)
    return Projected(queries, keys, values, block.gate(normed).sigmoid() if block.gate else None)


def attend(block: OpenBlock, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Fused attention of r queries over n keys, streams apart.

    Args:
        block: For the scale.
        queries: [s, r, h, d / h].
        keys: [s, n, h, d / h]; in half precision they are widened first.
        values: Likewise.

    Returns:
        Heads merged, [s, r, d].
    """
    keys, values = keys.to(queries.dtype), values.to(queries.dtype)
    merged = F.scaled_dot_product_attention(
        queries.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), scale=block.scale
    )
    return merged.transpose(1, 2).flatten(-2)


def update(block: OpenBlock, rows: Tensor, attended: Tensor, gate: Tensor | None) -> Tensor:
    """What the block adds to its input rows: ``block(rows) - rows``, [..., d].

    Dropout and drop path are left out because a backbone never leaves eval mode.
    """
    attended = _through(block.norm, attended)
    if gate is not None:
        attended = attended * gate
    first = _through(block.out, attended)
    return first + _through(block.mlp, rows + first)


def _through(parts: Iterable[Rows], rows: Tensor) -> Tensor:
    for part in parts:
        rows = part(rows)
    return rows
