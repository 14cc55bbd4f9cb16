"""One session serves s streams in lock-step: a frame of each in, a result for each out."""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from backbones.vit import Backbone
from datamodules.errors import RegateError
from policy.budget import check_budget
from policy.cost import BackboneMacs
from policy.gates.base import Gate, Masks
from policy.records import FrameResult
from policy.relax import Relaxation
from policy.reuse.base import FrameGate, Mechanism
from policy.reuse.compact import CompactKV
from policy.reuse.dry import DryKV
from policy.reuse.kv import GatheredKV, MaskedKV
from policy.state import GateState, Streams

Execution = Literal["auto", "masked", "gathered", "compact", "dry"]


@dataclass(frozen=True)
class SessionState(Streams):
    """Everything a session remembers.

    Attributes:
        gate: What gates may know.
        caches: The mechanism's.
        logits: Last output, [s, k], repeated while a gate holds; empty for gates that never do.
        features: Likewise, [s, d].
        patches: Likewise, [s, p, d].
    """

    gate: GateState
    caches: Streams
    logits: Tensor
    features: Tensor
    patches: Tensor


class ReuseSession:
    """Runs a frozen backbone on video, recomputing only what the gate selects.

    The first frame of a stream, and the first after ``reset()``, is dense. Training, comparison
    and serving all run through ``step``; only the execution differs, and the executions are
    tested equal.

    Args:
        backbone: From ``load_backbone``.
        gate: From ``load_gate`` or ``policy.gates``.
        budget: Mean fraction of the dense frame's MACs to spend, which picks the gate's knob from
            its calibration. None leaves the gate's own knob.
        execution: "gathered" computes selected rows block by block; "compact" gathers them once
            per frame, where masks are shared or nested; "auto" picks between these two; "masked"
            computes everything and mixes, for training; "dry" follows a shared mask and computes
            nothing, so that only ``recompute``, ``spent`` and ``macs`` of its results mean
            anything.
        relaxation: In training, how decisions let gradients through; needs "masked".
        seed: Of random policies.

    Raises:
        RegateError: If the budget is outside (0, 1], under the gate's floor, or asked of a gate
            without calibration.
        ValueError: If the execution does not fit the gate.
    """

    def __init__(
        self,
        backbone: Backbone,
        gate: Gate,
        budget: float | None = None,
        execution: Execution = "auto",
        relaxation: Relaxation | None = None,
        seed: int = 0,
    ) -> None:
        if execution not in get_args(Execution):
            raise ValueError(f"execution must be one of {get_args(Execution)}, got {execution!r}")
        if relaxation is not None and execution != "masked":
            raise ValueError('relaxed decisions need execution="masked"')
        self.backbone = backbone
        self.gate = gate
        self.macs = BackboneMacs.of(backbone)
        self.relaxation = relaxation
        self.seed = seed
        self.state: SessionState | None = None
        self.knob: float | Tensor = gate.knob  # a tensor gives each stream its own, [s]
        self._trains = execution == "masked"
        self._mechanism = _mechanism(gate.masks, execution)
        self._budget: float | None = None
        self.budget = budget

    @property
    def budget(self) -> float | None:
        """Asked mean fraction of the dense frame's MACs; set it at any time.

        None goes back to the gate's own knob.
        """
        return self._budget

    @budget.setter
    def budget(self, budget: float | None) -> None:
        if budget is None:
            self.knob = self.gate.knob
        else:
            check_budget(budget)
            if self.gate.calibration is None:
                raise RegateError(
                    f"the {self.gate.name} gate has no calibration, so budget {budget:g} cannot "
                    "be turned into its knob: pass budget=None, or load a calibrated gate file"
                )
            self.knob = self.gate.calibration.knob(budget)
        self._budget = budget

    @property
    def state_bytes(self) -> int:
        """Bytes kept per stream between two frames."""
        if self.state is None:
            return 0
        return self.state.nbytes // len(self.state.gate.frame)

    def reset(self, stream: int | None = None) -> None:
        """Forget one stream, or all: its next frame is dense.

        Raises:
            RegateError: If there is no such stream.
        """
        if stream is None or self.state is None:
            self.state = None
            return
        gate = self.state.gate
        if not 0 <= stream < len(gate.frame):
            raise RegateError(
                f"there is no stream {stream} to reset: the session serves {len(gate.frame)}, "
                "counted from 0"
            )
        fresh = GateState.fresh(gate.seed[[stream]], gate.age.shape[1])
        index = torch.tensor([stream], device=gate.frame.device)
        self.state = replace(self.state, gate=gate.put(index, fresh))

    def step(self, frame: Tensor) -> FrameResult:
        """Pass the next frame of each stream.

        Args:
            frame: Preprocessed, [c, h, w] or [s, c, h, w]; the same s on every call.

        Raises:
            RegateError: If shape, dtype or values do not fit; the session is as before.
        """
        frames = self._checked(frame)
        grad = torch.is_grad_enabled() and self._trains
        with torch.set_grad_enabled(grad):
            state = self.state or self._fresh(len(frames))
            knob = torch.as_tensor(self.knob, device=frames.device).expand(len(frames))
            held = self.gate.hold(state.gate, knob)
            if held is None:
                self.state, result = self._compute(frames, state, knob)
            else:
                held = held & (state.gate.frame > 0)
                self.state, result = self._compute_some(frames, state, knob, held)
            return result

    def _fresh(self, streams: int) -> SessionState:
        backbone = self.backbone
        patches = backbone.num_tokens - backbone.num_prefix_tokens
        seeds = torch.arange(streams, device=backbone.mean.device) + self.seed
        # A gate that holds fills these on the first frame, which is never held.
        nothing = backbone.mean.new_zeros(streams, 0)
        return SessionState(
            gate=GateState.fresh(seeds, patches),
            caches=self._mechanism.fresh(backbone, streams),
            logits=nothing,
            features=nothing,
            patches=nothing,
        )

    def _compute(
        self, frames: Tensor, state: SessionState, knob: Tensor
    ) -> tuple[SessionState, FrameResult]:
        """One frame of streams none of which is held; no output is kept to be repeated."""
        forced = state.gate.frame == 0
        gate = FrameGate(self.gate, state.gate, knob, forced, self.backbone, self.relaxation)
        # Under autocast a model may embed in half precision, but caches keep the weights' dtype.
        embedded = self._embed(frames).to(frames.dtype)
        tokens, caches, masks = self._mechanism.step(self.backbone, embedded, state.caches, gate)
        logits, features, patches = self.backbone.head(tokens)
        recompute = masks.detach() > 0.5 if self.relaxation else masks.bool()
        macs = self.macs.frame(recompute)
        asked = ~forced.cpu()
        macs[asked] += self.macs.gate(self.gate, recompute)[asked]
        prefix = self.backbone.num_prefix_tokens
        after = replace(state, gate=state.gate.after(recompute[:, 0, prefix:]), caches=caches)
        result = FrameResult(
            logits=logits,
            features=features,
            patches=patches,
            recompute=recompute,
            spent=macs / self.macs.dense,
            macs=macs,
            score=gate.score,
            relaxed=masks[..., prefix:].to(tokens.dtype) if self.relaxation else None,
        )
        return after, result

    def _embed(self, frames: Tensor) -> Tensor:
        """Patch tokens [s, n, d]; a sweep over knobs shows all streams one and the same frame."""
        if len(frames) > 1 and frames.stride(0) == 0:
            return self.backbone.embed(frames[:1]).repeat(len(frames), 1, 1)
        return self.backbone.embed(frames)

    def _compute_some(
        self, frames: Tensor, state: SessionState, knob: Tensor, held: Tensor
    ) -> tuple[SessionState, FrameResult]:
        """One frame of streams any of which may repeat their last output, at 0 MACs."""
        if not held.any():
            after, result = self._compute(frames, state, knob)
            return _with_outputs(after, result), result
        active = (~held).nonzero().squeeze(1)
        macs = torch.zeros(len(frames), dtype=torch.float64)
        shape = (len(frames), self.backbone.depth, self.backbone.num_tokens)
        recompute = torch.zeros(shape, dtype=torch.bool, device=frames.device)
        nothing = torch.zeros_like(state.gate.last)
        after = replace(state, gate=state.gate.after(nothing))
        if len(active):
            part, result = self._compute(frames[active], state.select(active), knob[active])
            after = after.put(active, _with_outputs(part, result))
            macs[active.cpu()] = result.macs
            recompute[active] = result.recompute
        return after, FrameResult(
            logits=after.logits,
            features=after.features,
            patches=after.patches,
            recompute=recompute,
            spent=macs / self.macs.dense,
            macs=macs,
        )

    def _checked(self, frame: Tensor) -> Tensor:
        backbone = self.backbone
        expected = (backbone.in_chans, *backbone.image_size)
        cure = "pass frames through backbone.preprocess(image)"
        if not isinstance(frame, Tensor):
            raise RegateError(
                f"a frame for {backbone.name} must be a tensor, got {type(frame).__name__}: {cure}"
            )
        if frame.dim() not in (3, 4) or tuple(frame.shape[-3:]) != expected:
            raise RegateError(
                f"a frame for {backbone.name} must be {list(expected)} (channels, height, width), "
                f"optionally with a stream dimension before; got {list(frame.shape)}: {cure}"
            )
        if frame.dtype != backbone.mean.dtype:
            raise RegateError(
                f"a frame for {backbone.name} must be {backbone.mean.dtype}, "
                f"got {frame.dtype}: {cure}"
            )
        if frame.device != backbone.mean.device:
            raise RegateError(
                f"the frame is on {frame.device}, but {backbone.name} is on "
                f"{backbone.mean.device}: {cure}, or move it with .to()"
            )
        if not torch.isfinite(frame).all():
            raise RegateError(f"the frame has NaN or infinite values: drop it, or {cure}")
        frames = frame if frame.dim() == 4 else frame.unsqueeze(0)
        if self.state is not None and len(frames) != len(self.state.gate.frame):
            raise RegateError(
                f"the session serves {len(self.state.gate.frame)} streams, got frames of "
                f"{len(frames)}: call session.reset() before changing the number of streams"
            )
        return frames


def _with_outputs(state: SessionState, result: FrameResult) -> SessionState:
    return replace(state, logits=result.logits, features=result.features, patches=result.patches)


def _mechanism(masks: Masks, execution: Execution) -> Mechanism[Any]:
    if execution == "masked":
        return MaskedKV()
    if execution == "dry":
        if masks is not Masks.SHARED:
            raise ValueError(f"only a shared mask can be followed dry, not a {masks} one")
        return DryKV()
    if execution == "gathered" or (execution == "auto" and masks is Masks.PER_BLOCK):
        return GatheredKV()
    return CompactKV(masks)
