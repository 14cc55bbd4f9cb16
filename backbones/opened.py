"""A timm block taken apart into what it calls, so that it can be run on rows of one's own.

Every submodule is in one of the parts below, in the order in which ``Block.forward`` calls it; a
copy of the arithmetic that forgot one (LayerScale, qk-norm) would be silently wrong. What does
nothing in eval mode is left out, since on few rows a call costs as much as its arithmetic. A module
that is more than its class says, by hooks or a forward of its own, is called as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from timm.layers import DropPath, LayerNorm, Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from backbones.coverage import attention
from backbones.packed import PackedLinear

IDLE = (nn.Identity, nn.Dropout, DropPath)
"""What gives back its input in eval mode."""

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
        linear: What to run instead of each plain linear layer, which a subclass, a wrapper or one
            with hooks is not; None for the layer itself.
    """

    def parts(*modules: nn.Module | None) -> tuple[Rows, ...]:
        found: list[Rows] = []
        for module in modules:
            if module is None:
                continue
            if not _plain(module):
                found.append(module)
            elif type(module) is nn.GELU and found and isinstance(found[-1], PackedLinear):
                found[-1] = found[-1].then_gelu(module)
            elif linear and type(module) is nn.Linear:
                found.append(linear(module))
            elif type(module) is LayerNorm and not module._fast_norm:
                found.append(_layer_norm(module))
            elif type(module) not in IDLE:
                found.append(module)
        return tuple(found)

    def part(module: nn.Module | None) -> Rows | None:
        return next(iter(parts(module)), None)

    attn, mlp = attention(block), block.mlp
    inner: tuple[nn.Module, ...] = (mlp,)
    if type(mlp) is Mlp and _plain(mlp):
        inner = (mlp.fc1, mlp.act, mlp.drop1, mlp.norm, mlp.fc2, mlp.drop2)
    return OpenBlock(
        norm1=part(block.norm1) or block.norm1,
        qkv=part(attn.qkv) or attn.qkv,
        q_norm=part(attn.q_norm),
        k_norm=part(attn.k_norm),
        gate=part(attn.gate),
        norm=parts(attn.norm),
        out=parts(attn.proj, attn.proj_drop, block.ls1, block.drop_path1),
        mlp=parts(block.norm2, *inner, block.ls2, block.drop_path2),
        num_heads=attn.num_heads,
        head_dim=attn.head_dim,
        scale=float(attn.scale),
    )


def _plain(module: nn.Module) -> bool:
    """Whether a call of it is its class's forward and nothing else."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    return not (hooked or "forward" in vars(module))


def _layer_norm(norm: LayerNorm) -> Rows:
    """What the module calls in the end; on few rows the calls between take longer than it."""
    shape, eps = norm.normalized_shape, norm.eps
    return partial(
        torch.layer_norm, normalized_shape=shape, weight=norm.weight, bias=norm.bias, eps=eps
    )
