"""The interface between a reuse mechanism and the session that drives it."""

from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from backbones.vit import Backbone
from policy.gates.base import BlockView, Carry, Gate, Masks
from policy.relax import Relaxation
from policy.state import GateState, Streams


@dataclass(frozen=True)
class Orders:
    """What is recomputed on a frame whatever the gate says.

    Attributes:
        due: How urgently each patch has to be recomputed, [s, p]; 0 where it need not.
        alone: Streams whose gate is not asked: the patches due are recomputed, no others, bool [s].
        room: Most patches that may be recomputed, int64 [s], the gate's choice before those due;
            None for no limit.
    """

    due: Tensor
    alone: Tensor
    room: Tensor | None = None

    @classmethod
    def dense(cls, streams: Tensor, patches: int) -> Self:
        """Everything in some streams, bool [s], and nothing in the others."""
        return cls(due=streams.unsqueeze(1).expand(-1, patches).float(), alone=streams)

    def forced(self, admitted: Tensor) -> Tensor:
        """The patches due that fit beside those the gate admitted; both bool [s, p]."""
        due = self.due > 0
        if self.room is None:
            return due
        taken = admitted & ~self.alone.unsqueeze(1)
        # Stable, so that equally urgent patches go in the same order on every device.
        order = self.due.masked_fill(taken, 0).argsort(dim=1, descending=True, stable=True)
        left = self.room - taken.sum(1)
        return due & (taken | (order.argsort(dim=1) < left.unsqueeze(1)))


class FrameGate:
    """One gate during one frame: turns a mechanism's questions into gate calls.

    It adds what no gate has to know: prefix tokens are always recomputed, and so is what the
    session orders, such as every patch of a stream that has no cache yet.

    Args:
        gate: Decides.
        state: The streams' gate state before the frame.
        knob: Per stream, [s].
        orders: What is recomputed whatever the gate says.
        backbone: For the grid and the number of prefix tokens.
        relaxation: In training only.

    Attributes:
        forced: The patches recomputed by order, bool [s, p]; known once a first block has asked.
        score: What the gate compared at the first block, [s, p]; None where it was not asked.
    """

    def __init__(
        self,
        gate: Gate,
        state: GateState,
        knob: Tensor,
        orders: Orders,
        backbone: Backbone,
        relaxation: Relaxation | None = None,
    ) -> None:
        self.gate = gate
        self.state = state
        self.knob = knob
        self.orders = orders
        self.all_alone = bool(orders.alone.all())
        self.grid = backbone.grid
        self.prefix = backbone.num_prefix_tokens
        self.relaxation = relaxation
        self.forced = torch.zeros_like(orders.due, dtype=torch.bool)
        self.score: Tensor | None = None
        self._carry: Carry | None = None
        self._mask: Tensor | None = None

    def mask(self, block: int, tokens: Tensor, reference: Tensor, memory: Tensor) -> Tensor:
        """Which tokens of a block are recomputed, bool [s, n], or [0, 1] when relaxed.

        Args:
            block: Index of the block.
            tokens: Its input, [s, n, d].
            reference: The input its caches were made from, [s, n, d]; read by the gates that
                decide at this block.
            memory: What the network last added to each token, [s, n, d].
        """
        same = self.all_alone or self.gate.masks is Masks.SHARED
        if block and same and self._mask is not None:
            return self._mask
        if self.all_alone:
            recompute = self.forced = self.orders.forced(self.forced)
        else:
            patches = (for_gates(value[:, self.prefix :]) for value in (tokens, reference, memory))
            recompute = self._asked(block, *patches)
        prefix = torch.ones_like(recompute[:, :1]).expand(-1, self.prefix)
        self._mask = torch.cat([prefix, recompute], dim=1)
        return self._mask

    def _asked(self, block: int, tokens: Tensor, reference: Tensor, memory: Tensor) -> Tensor:
        """The gate's decision for the patches and what overrules it, [s, p]."""
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
        self._carry = decision.carry
        recompute = decision.recompute
        if not block:
            self.score = decision.score
            self.forced = self.orders.forced(recompute > 0.5)
        recompute = torch.where(self.forced, torch.ones_like(recompute), recompute)
        overruled = self.orders.alone.unsqueeze(1) & ~self.forced
        return torch.where(overruled, torch.zeros_like(recompute), recompute)

    def keep(self, block: int, tokens: Tensor, rows: Tensor, num_tokens: int) -> Tensor:
        """Which of the rows still computed go on through a later block of a nested gate.

        Args:
            block: Index of the block, at least 1.
            tokens: The rows' values, [r, d].
            rows: Their places in the flattened [s · n] list, int64 [r].
            num_tokens: n.

        Returns:
            bool [r].
        """
        kept = torch.ones_like(rows, dtype=torch.bool)
        if self.all_alone or self._carry is None:
            return kept
        stream, token = rows // num_tokens, rows % num_tokens
        patch = (token >= self.prefix).nonzero().squeeze(1)
        stream, token = stream[patch], token[patch] - self.prefix
        carry = self._carry
        if block == 1:  # from all patches to the admitted ones
            carry = carry.rows(stream * (num_tokens - self.prefix) + token)
        seen = for_gates(tokens[patch]).unsqueeze(0)
        decision = self.gate.release(block, seen, carry, None)
        stays = decision.recompute.squeeze(0) | self.forced[stream, token]
        kept[patch] = stays
        self._carry = decision.carry
        if decision.carry is not None and not stays.all():
            self._carry = decision.carry.rows(stays.nonzero().squeeze(1))
        return kept


StateT = TypeVar("StateT", bound=Streams)


class Mechanism(Protocol[StateT]):
    """How a frame is computed when only some tokens are, and what is cached for the next."""

    name: str

    def fresh(self, backbone: Backbone, streams: int) -> StateT:
        """An empty state; its streams must be recomputed whole on their first frame."""
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
