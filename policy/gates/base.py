"""The protocol every gate follows, heuristic or learned."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from datamodules.errors import RegateError
from policy.relax import Relaxation
from policy.state import GateState

if TYPE_CHECKING:
    from policy.budgets.table import Calibration


class Masks(StrEnum):
    """How a gate's masks relate from block to block, which decides how they can be served."""

    SHARED = "shared"  # decided at the first block, the same in all
    NESTED = "nested"  # admitted at the first block, only ever released later
    PER_BLOCK = "per-block"  # decided anew at each block


@dataclass(frozen=True)
class BlockView:
    """What a gate sees when it decides: patches only, since prefix tokens are always recomputed.

    Attributes:
        block: Index of the block.
        tokens: Its input, [s, p, d].
        reference: The input its caches were made from, [s, p, d].
        memory: What the whole network added to each patch when it was last computed, [s, p, d];
            the most that is known of a patch's meaning before it is recomputed.
        state: The streams' gate state.
        knob: The policy's one setting, per stream, [s].
        grid: Patch rows and columns.
        relaxation: In training, how logits become decisions; None when serving.
    """

    block: int
    tokens: Tensor
    reference: Tensor
    memory: Tensor
    state: GateState
    knob: Tensor
    grid: tuple[int, int]
    relaxation: Relaxation | None = None


@dataclass(frozen=True)
class Carry:
    """Per-patch context that a nested gate hands down the blocks; leading shape [s, p] or [1, r].

    Attributes:
        score: Running score minus the knob: above 0 recomputes.
        content: Projection of what the patch is, [..., c].
        noise: The frame's one noise sample of the patch in training; zeros when serving.
        decision: Of the block before.
    """

    score: Tensor
    content: Tensor
    noise: Tensor
    decision: Tensor

    def rows(self, index: Tensor) -> "Carry":
        """Only the patches at the given places of the flattened [s · p] list, as [1, r]."""
        return Carry(
            *(
                value.flatten(0, 1)[index].unsqueeze(0)
                for value in (self.score, self.content, self.noise, self.decision)
            )
        )


@dataclass(frozen=True)
class Setting:
    """What serves a budget.

    Attributes:
        gate: Decides.
        knob: Its setting.
        pace: Share of frames looked at.
    """

    gate: "Gate"
    knob: float
    pace: float = 1.0


@dataclass(frozen=True)
class Decision:
    """A gate's answer for one block.

    Attributes:
        recompute: [s, p], bool when serving, in [0, 1] when relaxed.
        score: What was compared, [s, p]; None for gates that do not look at the tokens.
        carry: For the later blocks of a nested gate.
        memo: Replaces ``GateState.memo``, from the next block on; None leaves it as it is.
    """

    recompute: Tensor
    score: Tensor | None = None
    carry: Carry | None = None
    memo: Tensor | None = None


class Gate(nn.Module):
    """Decides, frame by frame, which patches are recomputed.

    A gate keeps no state of its own: what it remembers of a stream is in ``GateState``, owned by
    the session, so that one gate serves any number of streams.

    Args:
        masks: How its masks relate from block to block.
        knob: Its one setting when no budget is asked for.
    """

    name: str = "gate"
    # The knob's range from most to least spending, searched when budgets are calibrated. None
    # for a policy without a knob.
    knob_range: tuple[float, float] | None = None
    # False for a policy that holds whole frames, which may spend nothing at all.
    decides_per_token: bool = True
    # Whether the tokens' network-wide update (``BlockView.memory``) is read.
    reads_memory: bool = False
    # Whether its decisions come with a score, by which a hard budget can rank patches.
    gives_score: bool = False
    # Numbers that it writes down of a stream from frame to frame, in ``GateState.memo``.
    memo_size: int = 0

    def __init__(self, masks: Masks = Masks.SHARED, knob: float = 0.0) -> None:
        super().__init__()
        self.masks = masks
        self.knob = knob
        self.calibration: Calibration | None = None

    @cached_property
    def heuristic(self) -> "Gate | None":
        """What this gate is without its networks, over the same caches; None for a heuristic.

        It serves the budgets at which the gate was not found to be better.
        """
        return None

    def setting(self, budget: float, table: "Calibration | None" = None) -> Setting:
        """What serves a budget: this gate or, where its calibration falls back, the heuristic.

        Args:
            budget: Fraction of the dense frame's MACs.
            table: To read in the place of the gate's own calibration.

        Raises:
            RegateError: If the gate has no calibration, or does not reach the budget.
        """
        table = table or self.calibration
        if table is None:
            bound = f", or bound each frame by session.ask({budget:g}, hard=True)"
            cure = bound if self.gives_score else ""
            raise RegateError(
                f"the {self.name} gate has no calibration, so budget {budget:g} cannot "
                f"be turned into its knob: pass budget=None, or load a calibrated gate file{cure}"
            )
        knob, pace = table.knob(budget), table.pace(budget)
        heuristic = self.heuristic if table.falls_back(budget) else None
        return Setting(self if heuristic is None else heuristic, knob, pace)

    def unpaced_setting(self, budget: float) -> Setting:
        """What serves where every frame is looked at and may spend a budget; without a pace.

        Under the calibrated budgets it is that of the lowest, and without a calibration the gate
        at its own knob.

        Args:
            budget: Fraction of the dense frame's MACs.

        Raises:
            RegateError: If the budget is outside (0, 1].
        """
        table = self.calibration
        if table is None:
            return Setting(self, self.knob)
        serving = self.setting(max(budget, table.lowest)).gate
        return Setting(serving, table.unpaced_knob(budget))

    def decide(self, view: BlockView) -> Decision:
        """Decide for the patches of one block: the first only, or each when per block."""
        raise AssertionError(f"{type(self).__name__} must define decide()")

    def release(
        self, block: int, tokens: Tensor, carry: Carry, relaxation: Relaxation | None
    ) -> Decision:
        """Nested gates only: which of the patches still computed stay so at a later block.

        Args:
            block: Index of the block, at least 1.
            tokens: Its input, [s, p, d], or the still computed rows alone, [1, r, d].
            carry: What the block before handed down, in the same leading shape.
            relaxation: As in ``BlockView``.
        """
        raise AssertionError(f"{type(self).__name__} is not nested and releases nothing")

    @property
    def runs_dry(self) -> bool:
        """Whether its masks follow from the patch embedding alone."""
        return self.masks is Masks.SHARED and not self.reads_memory

    def hold(self, state: GateState, knob: Tensor, phase: float) -> Tensor | None:
        """Streams whose last output is repeated before anything is computed, bool [s] or None.

        Args:
            state: Before the frame.
            knob: Of each stream, [s].
            phase: Where in its period a gate that takes turns begins, as in ``due``.
        """
        return None

    def remember(self, state: GateState, spent: Tensor) -> Tensor:
        """What to write down at the end of a frame, [s, m].

        Args:
            state: Of the frame, with the memo as the blocks left it.
            spent: On the frame, as a fraction of the dense frame's MACs, float32 [s].
        """
        return state.memo

    def macs(self, block: int, dim: int) -> float:
        """MACs per patch that this gate looks at in a block, elementwise work included."""
        return 0.0

    @property
    def frame_macs(self) -> float:
        """MACs once per frame on which it is asked, whatever the number of patches."""
        return 0.0


def all_patches(view: BlockView, value: bool) -> Decision:
    """The same decision for every patch."""
    shape = view.tokens.shape[:2]
    return Decision(torch.full(shape, value, dtype=torch.bool, device=view.tokens.device))
