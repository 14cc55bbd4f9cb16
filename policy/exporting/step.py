"""A session's step as a function of tensors: frames and state in, outputs and state out.

A fixed count of patches makes every shape static, so that ``torch.export`` can write it down. The
blocks (``policy.reuse.even``), the gate's own ``decide`` and the layout of the caches are those of
serving. What is different is that nothing is written in place, since a program's state is a value.

State is a flat dictionary of tensors whose first dimension is the stream: a file must be readable
without this package, and so cannot name its classes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from backbones.opened import open_block
from backbones.vit import Backbone
from policy.gates.base import BlockView, Masks
from policy.gates.top_k import TopK
from policy.reuse.base import for_gates
from policy.reuse.compact import CompactKV, CompactState
from policy.reuse.even import even_blocks, put_in_copy
from policy.state import GateState

State = dict[str, Tensor]


class FirstFrame(nn.Module):
    """The dense frame that makes a state: a stream's first, and any that is to start afresh.

    Args:
        backbone: Frozen.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, frames: Tensor) -> dict[str, Any]:
        """All tokens of frames [s, c, h, w]; see ``LaterFrame.forward`` for what comes out."""
        backbone, streams = self.backbone, len(frames)
        seeds = torch.arange(streams, device=frames.device)
        gate = GateState.fresh(seeds, backbone.num_tokens - backbone.num_prefix_tokens)
        caches = CompactKV(Masks.SHARED).fresh(backbone, streams)
        mask = torch.ones_like(caches.reference[..., 0], dtype=torch.bool)
        return _frame(backbone, backbone.embed(frames), gate, caches, mask, backbone.num_tokens)


class LaterFrame(nn.Module):
    """Every further frame: the gate's patches and the prefix tokens are recomputed.

    Args:
        backbone: Frozen.
        gate: Decides, at its own knob.
    """

    def __init__(self, backbone: Backbone, gate: TopK) -> None:
        super().__init__()
        self.backbone = backbone
        self.gate = gate

    def forward(self, frames: Tensor, state: State) -> dict[str, Any]:
        """One frame of each stream.

        Args:
            frames: Preprocessed, [s, c, h, w].
            state: From the frame before; left as it was.

        Returns:
            ``logits`` [s, k], ``features`` [s, d], ``patches`` [s, p, d], ``recompute``, bool
            [s, n], and ``state`` for the next frame.
        """
        tokens = self.backbone.embed(frames)
        gate, caches = _unpacked(state, self.backbone.depth)
        mask = self._mask(tokens, gate, caches)
        rows = self.backbone.num_prefix_tokens + self.gate.count
        return _frame(self.backbone, tokens, gate, caches, mask, rows)

    def _mask(self, tokens: Tensor, state: GateState, caches: CompactState) -> Tensor:
        """Tokens to recompute, prefix tokens always, bool [s, n]."""
        prefix = self.backbone.num_prefix_tokens
        known = CompactKV(Masks.SHARED).known(caches)
        seen, reference, memory = (for_gates(value[:, prefix:]) for value in (tokens, *known))
        decision = self.gate.decide(
            BlockView(
                block=0,
                tokens=seen,
                reference=reference,
                memory=memory,
                state=state,
                knob=torch.full((len(tokens),), self.gate.knob, device=tokens.device),
                grid=self.backbone.grid,
            )
        )
        always = torch.ones_like(decision.recompute[:, :1]).expand(-1, prefix)
        return torch.cat([always, decision.recompute], dim=1)


def _frame(
    backbone: Backbone,
    tokens: Tensor,
    gate: GateState,
    caches: CompactState,
    mask: Tensor,
    count: int,
) -> dict[str, Any]:
    """The blocks under a mask that selects ``count`` tokens of each stream, and the head."""
    # Packed linear layers belong to one kind of processor and do not export.
    blocks = [open_block(block) for block in backbone.blocks]
    out, caches = even_blocks(blocks, tokens, caches, _places(mask, count), put_in_copy)
    logits, features, patches = backbone.head(out)
    after = gate.after(mask[:, backbone.num_prefix_tokens :])
    return {
        "logits": logits,
        "features": features,
        "patches": patches,
        "recompute": mask,
        "state": _packed(after, caches),
    }


def _places(mask: Tensor, count: int) -> Tensor:
    """Of a mask with ``count`` tokens per stream, in the flattened list, ascending, [s, r]."""
    # A stable sort and not nonzero(), whose size would depend on the data.
    token = mask.int().argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.arange(len(mask), device=mask.device).unsqueeze(1) * mask.shape[1] + token


def _packed(gate: GateState, caches: CompactState) -> State:
    """By name. Seeds are left out: no gate with a score draws random numbers."""
    state = {
        "frame": gate.frame,
        "age": gate.age,
        "last": gate.last,
        "reference": caches.reference,
        "memory": caches.sums[0],
    }
    for index, (keys, values) in enumerate(zip(caches.keys, caches.values, strict=True)):
        state |= {f"keys.{index}": keys, f"values.{index}": values}
    return state


def _unpacked(state: State, depth: int) -> tuple[GateState, CompactState]:
    """Inverse of ``_packed``."""
    frame, age = state["frame"], state["age"]
    gate = GateState(
        frame=frame,
        seed=torch.arange(len(frame), device=frame.device),
        age=age,
        last=state["last"],
        memo=age.new_zeros(len(frame), 0),
    )
    caches = CompactState(
        reference=state["reference"],
        keys=tuple(state[f"keys.{index}"] for index in range(depth)),
        values=tuple(state[f"values.{index}"] for index in range(depth)),
        sums=(state["memory"],),
    )
    return gate, caches
