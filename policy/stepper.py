"""One frame of every stream: computed, or where it is held the last output once more."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from backbones.vit import Backbone
from policy.cost import BackboneMacs
from policy.gates.base import Gate
from policy.incoming import Incoming
from policy.records import FrameResult
from policy.relax import Relaxation
from policy.reuse.base import FrameGate, Mechanism, for_gates
from policy.state import GateState, SessionState
from policy.watch import Watch


@dataclass(frozen=True)
class Demand:
    """How one frame is to be served.

    Attributes:
        serving: The gate, or at some budgets the heuristic that it falls back to.
        knob: Its setting, [s].
        whole: Streams that are dense whatever the gate says, bool [s].
        held: Streams that repeat their output unless it has to be made anew, bool [s]; None where
            none can.
        room: Patches that may be recomputed under a hard budget; None without.
    """

    serving: Gate
    knob: Tensor
    whole: Tensor
    held: Tensor | None
    room: int | None

    def select(self, index: Tensor) -> "Demand":
        """Of the given streams."""
        held = None if self.held is None else self.held[index]
        return replace(self, knob=self.knob[index], whole=self.whole[index], held=held)


@dataclass(frozen=True)
class Stepper:
    """Takes the state of some streams over one frame and counts what it cost.

    Attributes:
        backbone: Whose blocks are run.
        gate: Whose notes the state keeps, also while another serves.
        mechanism: Reads and writes the caches.
        incoming: Embeds.
        watch: May force patches, or frames, that the gate would reuse.
        macs: Of the backbone.
        relaxation: In training, how decisions let gradients through.
    """

    backbone: Backbone
    gate: Gate
    mechanism: Mechanism[Any]
    incoming: Incoming
    watch: Watch
    macs: BackboneMacs
    relaxation: Relaxation | None

    def fresh(self, streams: int, seed: int) -> SessionState:
        """State of streams that have seen no frame.

        Args:
            streams: How many.
            seed: Of random policies, in the first stream; the others count on from it.
        """
        backbone = self.backbone
        patches = backbone.num_tokens - backbone.num_prefix_tokens
        seeds = torch.arange(streams, device=backbone.mean.device) + seed
        # A gate that holds fills these on the first frame, which is never held.
        nothing = backbone.mean.new_zeros(streams, 0)
        # What is written in place must stay writable where the caller leaves inference mode.
        with torch.inference_mode(False):
            caches = self.mechanism.fresh(backbone, streams)
        return SessionState(
            gate=GateState.fresh(seeds, patches, self.gate.memo_size),
            guard=self.watch.fresh(streams),
            caches=caches,
            logits=nothing,
            features=nothing,
            patches=nothing,
        )

    def step(
        self, frames: Tensor, state: SessionState, demand: Demand
    ) -> tuple[SessionState, FrameResult]:
        """State and results after checked frames [s, c, h, w]."""
        if demand.held is None:
            after, result = self._compute(frames, state, demand)
            # Outputs kept for an earlier pace must not be repeated at a later one.
            return (_with_outputs(after, result) if state.logits.numel() else after), result
        held = demand.held & ~demand.whole & ~self.watch.wakes(state)
        if not held.any():
            after, result = self._compute(frames, state, demand)
            return _with_outputs(after, result), result
        return self._compute_some(frames, state, demand, held)

    def _compute(
        self, frames: Tensor, state: SessionState, demand: Demand
    ) -> tuple[SessionState, FrameResult]:
        """Streams none of which is held; no output is kept to be repeated."""
        prefix = self.backbone.num_prefix_tokens
        embedded = self.incoming.embed(frames)
        sight = self.watch.look(for_gates(embedded[:, prefix:]), state, demand.whole)
        room = None
        if demand.room is not None:
            room = torch.full_like(state.gate.frame, demand.room)
        gate = FrameGate(
            demand.serving,
            state.gate,
            demand.knob,
            sight.forced,
            self.backbone,
            self.relaxation,
            room,
        )
        tokens, caches, masks = self.mechanism.step(self.backbone, embedded, state.caches, gate)
        logits, features, patches = self.backbone.head(tokens)
        recompute = masks.detach() > 0.5 if self.relaxation else masks.bool()
        macs = self.macs.frame(recompute)
        macs += torch.where(gate.overruled.cpu(), 0.0, self.macs.gate(demand.serving, recompute))
        macs += self.watch.macs * (state.gate.frame > 0).cpu()
        after = replace(
            state,
            gate=self._noted(gate.state, macs).after(recompute[:, 0, prefix:]),
            guard=sight.state.after(recompute[..., prefix:]),
            caches=caches,
        )
        result = FrameResult(
            logits=logits,
            features=features,
            patches=patches,
            recompute=recompute,
            spent=macs / self.macs.dense,
            macs=macs,
            guard=self.watch.report(after.guard, sight),
            score=gate.score,
            relaxed=masks[..., prefix:].to(tokens.dtype) if self.relaxation else None,
        )
        return after, result

    def _compute_some(
        self, frames: Tensor, state: SessionState, demand: Demand, held: Tensor
    ) -> tuple[SessionState, FrameResult]:
        """Streams of which some repeat their last output, at 0 MACs."""
        active = (~held).nonzero().squeeze(1)
        macs = torch.zeros(len(frames), dtype=torch.float64)
        shape = (len(frames), self.backbone.depth, self.backbone.num_tokens)
        recompute = torch.zeros(shape, dtype=torch.bool, device=frames.device)
        nothing = recompute[..., self.backbone.num_prefix_tokens :]
        noted = self._noted(state.gate, macs)
        after = replace(state, gate=noted.after(nothing[:, 0]), guard=state.guard.after(nothing))
        report = self.watch.report(after.guard)
        if len(active):
            part = frames[active], state.select(active), demand.select(active)
            state_part, result = self._compute(*part)
            after = after.put(active, _with_outputs(state_part, result))
            macs[active.cpu()] = result.macs
            recompute[active] = result.recompute
            report = report.put(active, result.guard)
        return after, FrameResult(
            logits=after.logits,
            features=after.features,
            patches=after.patches,
            recompute=recompute,
            spent=macs / self.macs.dense,
            macs=macs,
            guard=report,
        )

    def _noted(self, state: GateState, macs: Tensor) -> GateState:
        """With what the gate writes down at the end of a frame that cost so much, [s]."""
        if not state.memo.shape[1]:
            return state
        spent = (macs / self.macs.dense).to(state.memo)
        return replace(state, memo=self.gate.remember(state, spent))


def _with_outputs(state: SessionState, result: FrameResult) -> SessionState:
    return replace(state, logits=result.logits, features=result.features, patches=result.patches)
