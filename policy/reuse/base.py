"""The interface between a reuse mechanism and the session that drives it."""

from dataclasses import replace
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from backbones.vit import Backbone
from policy.gates.base import BlockView, Carry, Gate, Masks
from policy.hard import highest
from policy.relax import Relaxation
from policy.state import GateState, Streams


class FrameGate:
    """One gate during one frame: turns a mechanism's questions into gate calls.

    It adds what no gate has to know: prefix tokens are always recomputed, and where the session
    forces patches, as on a stream's first frame, these are recomputed in all blocks and no others.

    Args:
        gate: Decides.
        state: The streams' gate state before the frame.
        knob: Per stream, [s].
        forced: Patches recomputed whatever the gate says, bool [s, p]. A stream that has any is
            not the gate's on this frame.
        backbone: For the grid and the number of prefix tokens.
        relaxation: In training only.
        room: Most patches that the gate may have recomputed in a block, int64 [s]; None for all.
    """

    def __init__(
        self,
        gate: Gate,
        state: GateState,
        knob: Tensor,
        forced: Tensor,
        backbone: Backbone,
        relaxation: Relaxation | None = None,
        room: Tensor | None = None,
    ) -> None:
        self.gate = gate
        self.state = state
        self.knob = knob
        self.forced = forced
        self.overruled = forced.any(1)
        self.all_overruled = bool(self.overruled.all())
        self.grid = backbone.grid
        self.prefix = backbone.num_prefix_tokens
        self.relaxation = relaxation
        self.room = room
        self.score: Tensor | None = None
        self._carry: Carry | None = None
        self._mask: Tensor | None = None
        # Of the rows that ``keep`` is asked about: which are patches, and which the gate may not
        # release.
        self._followed = self._spared = torch.empty(0)

    def mask(self, block: int, tokens: Tensor, reference: Tensor, memory: Tensor) -> Tensor:
        """Which tokens of a block are recomputed, bool [s, n], or [0, 1] when relaxed.

        Args:
            block: Index of the block.
            tokens: Its input, [s, n, d].
            reference: The input its caches were made from, [s, n, d]; read by the gates that
                decide at this block.
            memory: What the network last added to each token, [s, n, d].
        """
        once = self.all_overruled or self.gate.masks is Masks.SHARED
        if block and once and self._mask is not None:
            return self._mask
        if self.all_overruled:
            recompute = self.forced
        else:
            patches = (for_gates(value[:, self.prefix :]) for value in (tokens, reference, memory))
            decided = self._decided(block, *patches)
            recompute = torch.where(self.overruled[:, None], self.forced.to(decided), decided)
        prefix = torch.ones_like(recompute[:, :1]).expand(-1, self.prefix)
        self._mask = torch.cat([prefix, recompute], dim=1)
        return self._mask

    def _decided(self, block: int, tokens: Tensor, reference: Tensor, memory: Tensor) -> Tensor:
        """What the gate says of the patches, [s, p]."""
        if block and self.gate.masks is Masks.NESTED and self._carry is not None:
            decision = self.gate.release(block, tokens, self._carry, self.relaxation)
        else:
            decision = self.gate.decide(
                BlockView(
                    block=block,
                    tokens=tokens,
                    reference=reference,
                    memory=memory,
                    state=self.state,
                    knob=self.knob,
                    grid=self.grid,
                    relaxation=self.relaxation,
                )
            )
            if self.room is not None:
                decision = highest(decision, self.room)
        self._carry = decision.carry
        if decision.memo is not None:
            # What is written of a stream that is not the gate's on this frame is void.
            memo = torch.where(self.overruled[:, None], self.state.memo, decision.memo)
            self.state = replace(self.state, memo=memo)
        if not block:
            self.score = decision.score
        return decision.recompute

    def keep(self, block: int, tokens: Tensor, rows: Tensor, num_tokens: int) -> Tensor | None:
        """Which of the rows still computed go on through a later block of a nested gate.

        Args:
            block: Index of the block, at least 1.
            tokens: The rows' values, [r, d].
            rows: Their places in the flattened [s · n] list, int64 [r].
            num_tokens: n.

        Returns:
            bool [r]; None where all of them do.
        """
        if self.all_overruled or self._carry is None:
            return None
        if block == 1:
            self._follow(rows, num_tokens)
        seen = for_gates(tokens[self._followed]).unsqueeze(0)
        decision = self.gate.release(block, seen, self._carry, None)
        self._carry = decision.carry
        stays = decision.recompute.squeeze(0) | self._spared
        if stays.all():
            return None
        kept = torch.ones_like(rows, dtype=torch.bool)
        kept[self._followed] = stays
        if decision.carry is not None:
            self._carry = decision.carry.rows(stays.nonzero().squeeze(1))
        self._followed = (kept.cumsum(0) - 1)[self._followed[stays]]
        self._spared = self._spared[stays]
        return kept

    def _follow(self, rows: Tensor, num_tokens: int) -> None:
        """From all patches to the admitted ones."""
        stream, token = rows // num_tokens, rows % num_tokens
        self._followed = (token >= self.prefix).nonzero().squeeze(1)
        stream, token = stream[self._followed], token[self._followed] - self.prefix
        self._spared = self.overruled[stream]
        assert self._carry is not None
        self._carry = self._carry.rows(stream * (num_tokens - self.prefix) + token)


StateT = TypeVar("StateT", bound=Streams)


class Mechanism(Protocol[StateT]):
    """How a frame is computed when only some tokens are, and what is cached for the next."""

    name: str

    def fresh(self, backbone: Backbone, streams: int) -> StateT:
        """An empty state; its streams must be recomputed whole on their first frame."""
        ...

    def known(self, state: StateT) -> tuple[Tensor, Tensor]:
        """Reference and memory that ``step`` will show at the first block, each [s, n, d]."""
        ...

    def step(
        self, backbone: Backbone, tokens: Tensor, state: StateT, gate: FrameGate
    ) -> tuple[Tensor, StateT, Tensor]:
        """One frame.

        Args:
            backbone: The frozen model.
            tokens: The first block's input, [s, n, d].
            state: Of the frame before; a mechanism that never needs gradients may write into it.
            gate: This frame's decisions.

        Returns:
            The last block's output [s, n, d], the state after the frame, and the masks
            [s, l, n], bool when serving and in [0, 1] when relaxed.
        """
        ...


def for_gates(value: Tensor) -> Tensor:
    """What gates and guards look at: values without gradients, in single precision at least.

    A gradient through a gate's inputs would train the decisions of one block to please the
    features of the next; and the logarithm of a small drift does not exist in half precision.
    """
    value = value.detach()
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
