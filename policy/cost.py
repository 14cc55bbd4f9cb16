"""MACs in closed form, from module shapes and the tokens really recomputed. 1 MAC = 2 FLOPs.

Matrix products and convolutions count as torch's own ``FlopCounterMode`` counts them; norms,
softmax, additions and copies count as nothing there and here. A gate's elementwise work is small
but it is what the gate adds, so it is declared by the gate itself and counted.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from timm.layers import AttentionPoolLatent, PatchEmbed
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from backbones.coverage import attention
from backbones.vit import Backbone
from policy.gates.base import Gate, Masks


@dataclass(frozen=True)
class BackboneMacs:
    """What each part of a backbone costs on one frame.

    Attributes:
        embed: Patch embedding, every frame.
        head: Pooling and classifiers, every frame.
        rows: Per block, for each recomputed token: qkv, projection, MLP.
        pairs: Per block, for each recomputed query and each key: scores and weighted values.
        num_tokens: Keys per block, n.
        num_prefix_tokens: Of them always recomputed.
        dim: Token width d.
    """

    embed: float
    head: float
    rows: tuple[float, ...]
    pairs: tuple[float, ...]
    num_tokens: int
    num_prefix_tokens: int
    dim: int

    @classmethod
    def of(cls, backbone: Backbone) -> "BackboneMacs":
        """Read the shapes of a backbone's modules."""
        return cls(
            embed=_embed_macs(backbone),
            head=_head_macs(backbone),
            rows=tuple(_linear_macs(block) for block in backbone.blocks),
            pairs=tuple(_pair_macs(block) for block in backbone.blocks),
            num_tokens=backbone.num_tokens,
            num_prefix_tokens=backbone.num_prefix_tokens,
            dim=backbone.dim,
        )

    @cached_property
    def per_token(self) -> Tensor:
        """MACs of one recomputed token in each block, all keys attended to, float64 [l]."""
        rows = torch.tensor(self.rows, dtype=torch.float64)
        return rows + torch.tensor(self.pairs, dtype=torch.float64) * self.num_tokens

    @property
    def dense(self) -> float:
        """MACs of one frame with every token recomputed and no gate."""
        return self.embed + self.head + float(self.per_token.sum()) * self.num_tokens

    def frame(self, recompute: Tensor) -> Tensor:
        """MACs of the backbone on a frame that was not held.

        Args:
            recompute: bool [s, l, n].

        Returns:
            float64 [s].
        """
        counts = recompute.sum(-1).cpu().double()
        return self.embed + self.head + counts @ self.per_token

    def gate(self, gate: Gate, recompute: Tensor) -> Tensor:
        """MACs of the gate's own decisions on such a frame, float64 [s].

        A shared mask is decided once; a nested gate looks again only at the patches that the
        block before still computed; any other gate looks at every patch in every block.
        """
        streams, depth, tokens = recompute.shape
        patches = tokens - self.num_prefix_tokens
        first = gate.frame_macs + gate.macs(0, self.dim) * patches
        total = torch.full((streams,), first, dtype=torch.float64)
        if gate.masks is Masks.SHARED:
            return total
        for block in range(1, depth):
            looked_at: Tensor | int = patches
            if gate.masks is Masks.NESTED:
                looked_at = recompute[:, block - 1, self.num_prefix_tokens :].sum(-1).cpu()
            total = total + gate.macs(block, self.dim) * looked_at
        return total

    def room(self, cap: float, beside: float = 0.0, gate: Gate | None = None) -> int:
        """Most patches that can be recomputed in each block of a frame within a cap.

        Whatever the gate then releases, the frame's ``spent`` does not exceed the cap, to the last
        digit: MACs are whole numbers, which double precision adds without error.

        Args:
            cap: Fraction of the dense frame's MACs.
            beside: MACs that are spent on anything else.
            gate: That decides, whose own work counts; None where none is asked.

        Returns:
            Under 0 where not even the prefix tokens fit.
        """
        least, each = self._linear(gate)
        least += beside
        room = math.floor((cap * self.dense - least) / each)
        # The quotient is rounded: at a cap that fits exactly it may be off by one.
        room += (least + (room + 1) * each) / self.dense <= cap
        room -= (least + room * each) / self.dense > cap
        return min(room, self.num_tokens - self.num_prefix_tokens)

    def least_cap(self, beside: float = 0.0, gate: Gate | None = None) -> float:
        """Smallest cap with room for one patch; the arguments are those of ``room``."""
        least, each = self._linear(gate)
        return (least + beside + each) / self.dense

    def _linear(self, gate: Gate | None) -> tuple[float, float]:
        """MACs of a frame that recomputes no patch, and of each patch in all blocks."""
        patches = self.num_tokens - self.num_prefix_tokens
        least, most = self._macs(gate, patches=False), self._macs(gate, patches=True)
        return least, (most - least) / patches

    def floor(self, gate: Gate) -> float:
        """Smallest spent that ``gate`` can reach on a frame it looks at, fraction of dense."""
        return self._macs(gate, patches=False) / self.dense

    def ceiling(self, gate: Gate) -> float:
        """Spent on a frame of which ``gate`` has every patch recomputed; its own cost is on top."""
        return self._macs(gate, patches=True) / self.dense

    def _macs(self, gate: Gate | None, patches: bool) -> float:
        """MACs of a frame of which all patches are recomputed, or none."""
        shape = (1, len(self.rows), self.num_tokens)
        recompute = torch.full(shape, patches, dtype=torch.bool)
        recompute[..., : self.num_prefix_tokens] = True
        macs = self.frame(recompute)
        return float(macs if gate is None else macs + self.gate(gate, recompute))


def _linear_macs(module: nn.Module) -> float:
    """MACs of all linear layers below a module, for one row each."""
    return float(sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear)))


def _pair_macs(block: Block) -> float:
    return 2.0 * attention(block).attn_dim


def _embed_macs(backbone: Backbone) -> float:
    embed = backbone.vit.patch_embed
    if type(embed) is PatchEmbed:
        return float(embed.proj.weight.numel() * backbone.grid[0] * backbone.grid[1])
    # A convolutional stem (the hybrid ViTs) has no closed form here; torch counts it once.
    frame = torch.zeros(1, backbone.in_chans, *backbone.image_size).to(backbone.mean)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        embed(frame)
    return float(counter.get_total_flops()) / 2


def _head_macs(backbone: Backbone) -> float:
    total = sum(float(linear.weight.numel()) for linear in backbone.head_modules())
    pool = backbone.vit.attn_pool
    if pool is None:
        return total
    keys = backbone.num_tokens
    if not backbone.vit.pool_include_prefix:
        keys -= backbone.num_prefix_tokens
    if type(pool) is not AttentionPoolLatent:
        tokens = torch.zeros(1, keys, backbone.dim).to(backbone.mean)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            pool(tokens)
        return total + float(counter.get_total_flops()) / 2
    key_values = float(pool.kv.weight.numel())
    latent = _linear_macs(pool) - key_values
    attention = 2.0 * pool.num_heads * pool.head_dim * keys
    return total + key_values * keys + pool.latent_len * (latent + attention)
