"""A timm block taken apart into what it calls, so that it can be run on rows of one's own.

Every submodule is in one of the parts below, in the order in which ``Block.forward`` calls it; a
copy of the arithmetic that forgot one (LayerScale, qk-norm) would be silently wrong. What does
nothing in eval mode is left out, since on few rows a call costs as much as its arithmetic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from timm.layers import LayerNorm, Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from backbones.coverage import attention
from backbones.packed import PackedLinear

Rows = Callable[[Tensor], Tensor]
"""A function of each row [..., d] alone."""


@dataclass(frozen=True)
class OpenBlock:
    """The parts of a block; what is None or () does nothing.

    Attributes:
        norm1: Of the block's input.
        qkv: From there to queries, keys and values side by side, [..., 3 · h · d / h].
        q_norm: Of queries [..., h, d / h].
        k_norm: Of keys, likewise.
        gate: From the normed input to what is multiplied with the attended, before a sigmoid.
        norm: Of what was attended.
        out: From there to the first half of the update.
        mlp: From the input plus the first half to the second.
        num_heads: h.
        head_dim: d / h.
        scale: Of the scores.
    """

    norm1: Rows
    qkv: Rows
    q_norm: Rows | None
    k_norm: Rows | None
    gate: Rows | None
    norm: tuple[Rows, ...]
    out: tuple[Rows, ...]
    mlp: tuple[Rows, ...]
    num_heads: int
    head_dim: int
    scale: float


def open_block(block: Block, linear: Callable[[nn.Linear], Rows] | None = None) -> OpenBlock:
    """Take a block apart.

    Args:
        block: Covered, in eval mode.
        linear: What to run instead of each linear layer; None for the layer itself.
    """

    def parts(*modules: nn.Module | None) -> tuple[Rows, ...]:
        found: list[Rows] = []
        for module in modules:
            if type(module) is nn.GELU and found and isinstance(found[-1], PackedLinear):
                found[-1] = found[-1].then_gelu(module)
            elif linear and type(module) is nn.Linear:
                found.append(linear(module))
            elif type(module) is LayerNorm and not module._fast_norm:
                found.append(_layer_norm(module))
            elif module is not None and type(module) not in (nn.Identity, nn.Dropout):
                found.append(module)
        return tuple(found)

    def part(module: nn.Module | None) -> Rows | None:
        return next(iter(parts(module)), None)

    attn, mlp = attention(block), block.mlp
    inner = (mlp.fc1, mlp.act, mlp.norm, mlp.fc2) if type(mlp) is Mlp else (mlp,)
    return OpenBlock(
        norm1=part(block.norm1) or block.norm1,
        qkv=linear(attn.qkv) if linear else attn.qkv,
        q_norm=part(attn.q_norm),
        k_norm=part(attn.k_norm),
        gate=part(attn.gate),
        norm=parts(attn.norm),
        out=parts(attn.proj, block.ls1),
        mlp=parts(block.norm2, *inner, block.ls2),
        num_heads=attn.num_heads,
        head_dim=attn.head_dim,
        scale=float(attn.scale),
    )


def _layer_norm(norm: LayerNorm) -> Rows:
    """What the module calls in the end; on few rows the calls between take longer than it."""
    shape, eps = norm.normalized_shape, norm.eps
    return partial(
        torch.layer_norm, normalized_shape=shape, weight=norm.weight, bias=norm.bias, eps=eps
    )
