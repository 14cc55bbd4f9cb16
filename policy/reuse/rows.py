"""One timm block, opened between keys and queries so that both may come from other rows.

These two functions replay ``Block.forward`` through the block's own submodules, each of which is
called; a copy of the arithmetic that forgot one (LayerScale, qk-norm) would be silently wrong.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor

from backbones.coverage import attention


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


def project(block: Block, rows: Tensor) -> Projected:
    """From a block's input rows [..., d] to queries, keys and values."""
    attn = attention(block)
    normed = block.norm1(rows)
    queries, keys, values = (
        attn.qkv(normed).unflatten(-1, (3, attn.num_heads, attn.head_dim)).unbind(-3)
    )
    gate = attn.gate(normed).sigmoid() if attn.gate is not None else None
    return Projected(attn.q_norm(queries), attn.k_norm(keys), values, gate)


def attend(block: Block, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Fused attention of r queries over n keys, streams apart.

    Args:
        block: For the scale.
        queries: [s, r, h, d / h].
        keys: [s, n, h, d / h].
        values: Likewise.

    Returns:
        Heads merged, [s, r, d].
    """
    merged = F.scaled_dot_product_attention(
        queries.transpose(1, 2),
        keys.transpose(1, 2),
        values.transpose(1, 2),
        scale=attention(block).scale,
    )
    return merged.transpose(1, 2).flatten(-2)


def update(block: Block, rows: Tensor, attended: Tensor, gate: Tensor | None) -> Tensor:
    """What the block adds to its input rows: ``block(rows) - rows``, [..., d].

    Dropout and drop path are left out because a backbone never leaves eval mode.
    """
    attn = attention(block)
    attended = attn.norm(attended)
    if gate is not None:
        attended = attended * gate
    first: Tensor = block.ls1(attn.proj(attended))
    second: Tensor = block.ls2(block.mlp(block.norm2(rows + first)))
    return first + second
