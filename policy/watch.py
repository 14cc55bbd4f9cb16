"""What keeps a session right on a stream without end, as its guard asks.

A gate sees how far each patch has drifted. It does not see that the scene around a patch is gone,
that a patch which never drifts far enough has not been computed for an hour, or how far the output
is from the dense model's. This looks after them, whatever the gate.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from backbones.vit import Backbone
from datamodules.errors import RegateError
from policy.cost import BackboneMacs
from policy.divergence import kl_to_dense
from policy.gates.heuristic import GOLDEN
from policy.guard import Guard
from policy.records import FrameResult, GuardReport
from policy.reuse.base import for_gates
from policy.signals import DRIFT_FLOOR, l2_drift, ranks
from policy.state import GuardState, SessionState

SUDDEN = 2.0
"""A patch jumps when it moves this many times as far as it lately did."""
LATELY = 2
"""Frames; with one, a frame that a camera repeats would make the next one sudden."""
WEIGHT = 0.1
"""Of the newest spot check in the running mean."""


@dataclass(frozen=True)
class Sight:
    """What a guard makes of a frame before the gate is asked.

    Attributes:
        forced: Patches to recompute whatever the gate says, bool [s, p].
        cut: Streams on which a scene cut is seen, bool [s].
        aged: Streams of which a patch has reached its age, bool [s].
        state: The guard's, with the frame in it; ages are still those of the frame before.
    """

    forced: Tensor
    cut: Tensor
    aged: Tensor
    state: GuardState


class Watch:
    """A guard at work: what follows from its settings for one backbone and gate.

    Like a gate it keeps nothing of a stream; that is in ``GuardState``.

    Args:
        guard: The settings.
        backbone: Of the session.
        macs: What that costs.

    Attributes:
        macs: Of the guard's look at a frame; a stream's first has nothing to be compared with.

    Raises:
        RegateError: If the guard's cap leaves no room for a patch.
    """

    def __init__(self, guard: Guard, backbone: Backbone, macs: BackboneMacs) -> None:
        self.guard = guard
        self.backbone = backbone
        self.patches = backbone.num_tokens - backbone.num_prefix_tokens
        # Two norms per patch, of how far it has moved and of what was there.
        self.macs = 2.0 * backbone.dim * self.patches if guard.cuts else 0.0
        self._counted = macs
        self._dense = macs.dense
        self._spreads = False
        self.limit(None)

    def limit(self, budget: float | None) -> None:
        """Keep the frames of a flush within a hard budget, beside the guard's own cap.

        Args:
            budget: Fraction of the dense frame's MACs; None leaves the cap alone.

        Raises:
            RegateError: If a spot check would break the budget, or there is no room for a patch.
        """
        if budget is not None and self.guard.check_every is not None:
            raise RegateError(
                f"a spot check runs the dense model, which a hard budget of {budget:g} forbids: "
                "leave check_every out"
            )
        caps = [cap for cap in (self.guard.cap, budget) if cap is not None]
        flushes = self.guard.cuts or self.guard.max_age is not None
        self._room = _checked_room(min(caps), self._counted, self.macs) if caps else self.patches
        # For good: a flush that has begun under a budget ends when that is lifted.
        self._spreads = self._spreads or (flushes and bool(caps))

    def fresh(self, streams: int, spreads: bool = False) -> GuardState:
        """For streams that have not seen a frame.

        Args:
            streams: How many.
            spreads: Have the columns of a capped flush in any case, as streams beside them do that
                come from a session with a cap.
        """
        like = for_gates(self.backbone.mean)
        before, moved, aged, capped, checked = self._widths(spreads)
        return GuardState(
            before=like.new_zeros(streams, before, self.backbone.dim),
            moved=like.new_full((streams, moved, LATELY), torch.inf),
            age=like.new_zeros(streams, aged, dtype=torch.int32),
            pending=like.new_zeros(streams, capped),
            running=like.new_full((streams, checked), torch.nan, dtype=torch.float32),
        )

    def fitted(self, state: SessionState) -> SessionState:
        """With the columns of what is watched: as of a session with another guard, or none.

        Also with those that a flush needs once it is capped, as by a budget set hard since.
        """
        spreads = state.guard.pending.shape[1] > 0
        if tuple(value.shape[1] for value in state.guard.tensors()) == self._widths(spreads):
            return state
        fresh = self.fresh(len(state.gate.frame), spreads)
        # Where ages were not watched, a patch may be as old as the dense first frame.
        oldest = (state.gate.frame - 1).clamp_min(0).unsqueeze(1)
        fresh = replace(fresh, age=oldest.expand_as(fresh.age).to(fresh.age))
        pairs = zip(state.guard.tensors(), fresh.tensors(), strict=True)
        columns = (old if old.shape[1] == new.shape[1] else new for old, new in pairs)
        return replace(state, guard=GuardState(*columns))

    def _widths(self, spreads: bool) -> tuple[int, ...]:
        """Columns of each field of the state, in their order; ``spreads`` as for ``fresh``."""
        cuts = self.patches if self.guard.cuts else 0
        aged = self.patches if self.guard.max_age is not None else 0
        capped = self.patches if self._spreads or spreads else 0
        checked = 0 if self.guard.check_every is None else 1
        return cuts, cuts, aged, capped, checked

    def checks(self, frame: Tensor) -> Tensor | None:
        """Streams whose frame of this number is spot-checked, bool [s]; None if none ever is."""
        if self.guard.check_every is None:
            return None
        return (frame > 0) & (frame % self.guard.check_every == 0)

    def wakes(self, state: SessionState) -> Tensor:
        """Streams that may not be held: a flush is under way, or due."""
        return (state.guard.pending > 0).any(1) | self._aged(state)

    def look(self, tokens: Tensor, state: SessionState, whole: Tensor) -> Sight:
        """See a frame before the gate does.

        Args:
            tokens: The patches' first block input, [s, p, d].
            state: Of the frame before.
            whole: Streams that are dense in any case, bool [s].
        """
        seen, cut = state.guard, torch.zeros_like(whole)
        aged = self._aged(state) & ~whole
        if self.guard.cuts:
            seen, cut = self._jumps(tokens, seen, state.gate.frame == 0)
        forced = (whole | cut | aged).unsqueeze(1).expand(-1, self.patches)
        if seen.pending.shape[1]:
            seen = self._with_pending(seen, cut, aged)
            forced = whole.unsqueeze(1) | self._most_urgent(seen.pending)
        return Sight(forced, cut, aged, seen)

    def report(self, state: GuardState, sight: Sight | None = None) -> GuardReport:
        """Of a frame: the state after it, and what was seen of it unless it was held."""
        report = GuardReport.nothing(len(state.age), state.age.device)
        if sight is not None:
            forced = sight.forced.sum(1)
            report = replace(report, cut=sight.cut, aged=sight.aged, forced=forced)
        running = state.running.mean(1)  # of one number, or NaN of none
        return replace(report, pending=(state.pending > 0).sum(1), running=running)

    def compare(
        self, after: SessionState, dense: FrameResult, gated: FrameResult, index: Tensor
    ) -> tuple[SessionState, FrameResult]:
        """Hold what the gate would have put out on a spot check against the dense output.

        Args:
            after: State of all streams after the frame.
            dense: Its result.
            gated: What the gate would have made of the same frame, for the streams checked.
            index: Their numbers, int64.

        Returns:
            Both with the distance in them; the result costs the two runs.
        """
        distance, agrees = self._distance(dense, gated, index)
        running = after.guard.running.clone()
        old = running[index, 0]
        running[index, 0] = torch.where(old.isnan(), distance, old + WEIGHT * (distance - old))
        report = replace(
            dense.guard,
            distance=dense.guard.distance.index_copy(0, index, distance),
            agrees=dense.guard.agrees.index_copy(0, index, agrees),
            running=running[:, 0],
        )
        macs = dense.macs.index_add(0, index.cpu(), gated.macs)
        result = replace(dense, guard=report, macs=macs, spent=macs / self._dense)
        return replace(after, guard=replace(after.guard, running=running)), result

    def _aged(self, state: SessionState) -> Tensor:
        """Streams of which a patch has reached its age, unless a flush is on its way to it."""
        if self.guard.max_age is None:
            return torch.zeros_like(state.gate.frame, dtype=torch.bool)
        spread = torch.remainder(state.gate.seed.double() * GOLDEN, 1)
        bound = self.guard.max_age - (spread * (self.guard.max_age // 2 + 1)).floor()
        old = (state.guard.age + 1 >= bound.unsqueeze(1)).any(1)
        return old & ~(state.guard.pending > 0).any(1)

    def _jumps(self, tokens: Tensor, state: GuardState, first: Tensor) -> tuple[GuardState, Tensor]:
        """How far each patch has moved since the frame before, and where that is a cut."""
        norm = torch.linalg.vector_norm(state.before, dim=-1)
        moved = l2_drift(tokens, state.before) / norm.clamp_min(DRIFT_FLOOR)
        jumped = (moved > self.guard.jump) & (moved > SUDDEN * state.moved.amax(-1))
        cut = jumped.float().mean(1) > self.guard.jumped_share
        moved = moved.masked_fill(first.unsqueeze(1), torch.inf)
        lately = torch.cat([moved.unsqueeze(-1), state.moved[..., :-1]], dim=-1)
        return replace(state, before=tokens, moved=lately), cut

    def _with_pending(self, state: GuardState, cut: Tensor, aged: Tensor) -> GuardState:
        """With everything due where a flush begins: the oldest first, or what moved furthest."""
        pending = state.pending
        if self.guard.max_age is not None:
            pending = torch.where(aged.unsqueeze(1), 1 + state.age, pending)
        if self.guard.cuts:
            pending = torch.where(cut.unsqueeze(1), 1 + state.moved[..., 0], pending)
        return replace(state, pending=pending)

    def _most_urgent(self, pending: Tensor) -> Tensor:
        """As many patches as there is room for, bool [s, p]."""
        return (pending > 0) & (ranks(pending) < self._room)

    def _distance(
        self, dense: FrameResult, gated: FrameResult, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Distance and agreement of the streams checked, as ``GuardReport`` defines them."""
        logits = dense.logits[index]
        if not self.backbone.num_classes:
            near = F.cosine_similarity(dense.features[index], gated.features, dim=-1)
            return (1 - near).float(), torch.full_like(near, torch.nan, dtype=torch.float32)
        same = logits.argmax(-1) == gated.logits.argmax(-1)
        # Near 0 single precision would leave noise on both sides of it.
        return kl_to_dense(logits.double(), gated.logits.double()).float(), same.float()


def _checked_room(cap: float, macs: BackboneMacs, beside: float) -> int:
    """Most patches that a frame under the cap can recompute."""
    room = macs.room(cap, beside)
    if room < 1:
        patches = macs.num_tokens - macs.num_prefix_tokens
        least = macs.dense + beside - (patches - 1) * float(macs.per_token.sum())
        raise RegateError(
            f"a cap of {cap:g} leaves no room for a patch beside the embedding, the head and the "
            f"prefix tokens: give {math.ceil(1000 * least / macs.dense) / 1000:g} or more"
        )
    return room
