"""One session serves s streams in lock-step: a frame of each in, a result for each out."""

from dataclasses import replace

import torch
from torch import Tensor

from backbones.vit import Backbone
from datamodules.errors import RegateError
from policy.budgets.table import check_budget
from policy.cost import BackboneMacs
from policy.gates.base import BlockView, Gate, Setting
from policy.guard import OFF, Guard
from policy.hard import hard_setting, least_hard_budget
from policy.incoming import Incoming
from policy.records import FrameResult
from policy.relax import Relaxation
from policy.reuse.base import for_gates
from policy.reuse.executions import Execution, mechanism
from policy.signals import due
from policy.state import GateState, SessionState
from policy.stepper import Demand, Stepper
from policy.watch import Watch


class ReuseSession:
    """Runs a frozen backbone on video, recomputing only what the gate selects.

    Two settings, both of a budget: ``knob`` is the gate's own, and ``pace`` is the share of frames
    that are looked at at all, evenly spread; the others repeat the last output at 0 MACs.

    The first frame of a stream, and the first after ``reset()``, is dense. Training, comparison
    and serving all run through ``step``; only the execution differs, and the executions are
    tested equal.

    ``state`` is all that it remembers; assign one to go on from there. "gathered" and "compact"
    write into its tensors in place, so a copy to keep needs ``session.state.clone()``.

    Args:
        backbone: From ``load_backbone``.
        gate: From ``load_gate`` or ``policy.gates``.
        budget: Mean fraction of the dense frame's MACs to spend, which picks the gate's knob from
            its calibration. None leaves the gate's own knob.
        execution: "gathered" computes selected rows block by block; "compact" gathers them once
            per frame, where masks are shared or nested; "auto" picks between these two; "masked"
            computes everything and mixes, for training; "compiled" is "compact" with the blocks
            under ``torch.compile``, and "fused" with the gating of the threshold in Triton kernels
            (``policy.kernels``, of ``regate[triton]``): both are for GPUs and not yet measured on
            one, and "compiled" needs a C++ compiler; "dry" follows a shared mask and computes
            nothing, so that only ``recompute``, ``spent`` and ``macs`` of its results mean
            anything.
        relaxation: In training, how decisions let gradients through; needs "masked".
        seed: Of random policies.
        cache_dtype: Of cached keys and values: torch.float16 or torch.bfloat16 for about half of
            the state. References and updates keep the weights' dtype, as they add up over blocks.
            bfloat16 is rounder and never overflows. None for the weights' dtype.
        guard: What else is watched over, so that a stream stays right for however long it runs.
            None trusts the gate alone, as training and comparison do.
        hard: Keep every frame after a stream's first within the budget, everything counted,
            instead of their mean: see ``policy.hard``. Needs a budget and a gate that gives
            scores; a gate without calibration then decides by its own knob.

    Raises:
        RegateError: If the budget is outside (0, 1], under the gate's floor, or asked of a gate
            without calibration or, when hard, without scores; if the guard's cap leaves no room;
            if keys and values cannot be cached in ``cache_dtype``.
        ValueError: If the execution does not fit the gate, or a hard budget is to be relaxed.
    """

    def __init__(
        self,
        backbone: Backbone,
        gate: Gate,
        budget: float | None = None,
        execution: Execution = "auto",
        relaxation: Relaxation | None = None,
        seed: int = 0,
        cache_dtype: torch.dtype | None = None,
        guard: Guard | None = None,
        hard: bool = False,
    ) -> None:
        if relaxation is not None and execution != "masked":
            raise ValueError('relaxed decisions need execution="masked"')
        self.backbone = backbone
        self.gate = gate
        self.macs = BackboneMacs.of(backbone)
        self.relaxation = relaxation
        self.seed = seed
        self.state: SessionState | None = None
        # The gate, or at some budgets the heuristic that it falls back to.
        self.serving: Gate = gate
        self.knob = gate.knob
        # Like the knob a float, or a tensor that gives each stream its own, [s].
        self.pace: float | Tensor = 1.0
        # Where in its period a pace begins, in [0, 1): 0 waits longest for the first look.
        self.phase = 0.0
        self._trains = execution == "masked"
        self._mechanism = mechanism(gate.masks, execution, cache_dtype)
        self._watch = Watch(guard or OFF, backbone, self.macs)
        self._incoming = Incoming(backbone)
        self._stepper = Stepper(
            backbone, gate, self._mechanism, self._incoming, self._watch, self.macs, relaxation
        )
        self._budget: float | None = None
        self._hard = False
        self._room: int | None = None
        self.ask(budget, hard)

    @property
    def knob(self) -> float | Tensor:
        """The gate's own setting: a float, or a tensor that gives each stream its own, [s]."""
        return self._knob

    @knob.setter
    def knob(self, knob: float | Tensor) -> None:
        # Nothing compares with NaN: whatever happens in the video, no patch would be recomputed.
        if torch.as_tensor(knob).isnan().any():
            raise RegateError("a knob is NaN: give a number, or a budget, which picks the knob")
        self._knob = knob

    @property
    def budget(self) -> float | None:
        """Asked fraction of the dense frame's MACs, in the mean or ``hard``; set it at any time.

        It chooses knob, pace and ``serving``: the gate, or the heuristic that its calibration
        falls back to there. None goes back to the gate and its own knob, unless it is hard.
        """
        return self._budget

    @budget.setter
    def budget(self, budget: float | None) -> None:
        self.ask(budget, self._hard)

    @property
    def hard(self) -> bool:
        """Whether each later frame keeps to the budget, not their mean; set it at any time.

        False keeps the budget, as a mean; without a calibration, which a mean needs, it is gone
        and the gate goes back to its own knob. True needs a budget: see ``ask``.
        """
        return self._hard

    @hard.setter
    def hard(self, hard: bool) -> None:
        keeps = hard or self.gate.calibration is not None
        self.ask(self._budget if keeps else None, hard)

    @property
    def lowest(self) -> float:
        """Hard budget from which on each can be asked for: one patch beside the floor."""
        return least_hard_budget(self.gate, self.macs, self._watch.macs)

    def ask(self, budget: float | None, hard: bool = False) -> None:
        """Set ``budget`` and ``hard`` together, at any time; when refused, nothing has changed.

        Args:
            budget: As in ``budget``; None needs a session that is not to be hard.
            hard: As in ``hard``.

        Raises:
            RegateError: If the budget does not fit, as on construction.
            ValueError: If a hard budget is to be relaxed.
        """
        room = None
        if hard and self.relaxation is not None:
            raise ValueError("relaxed decisions, which are for training, keep no hard budget")
        if hard:
            setting, room = hard_setting(self.gate, budget, self.macs, self._watch.macs)
        elif budget is None:
            setting = Setting(self.gate, self.gate.knob)
        else:
            check_budget(budget)
            setting = self.gate.setting(budget)
        self._watch.limit(budget if hard else None)
        self.serving, self.pace = setting.gate, setting.pace
        # Without a calibration a hard budget says nothing of the knob, which may have been set.
        if not hard or self.gate.calibration is not None:
            self.knob = setting.knob
        self._budget, self._hard, self._room = budget, hard, room

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
        state = self._watch.fitted(self.state)
        gate, guard = state.gate, state.guard
        if not 0 <= stream < len(gate.frame):
            raise RegateError(
                f"there is no stream {stream} to reset: the session serves {len(gate.frame)}, "
                "counted from 0"
            )
        fresh = GateState.fresh(gate.seed[[stream]], gate.age.shape[1], gate.memo.shape[1])
        index = torch.tensor([stream], device=gate.frame.device)
        self.state = replace(
            state,
            gate=gate.put(index, fresh),
            guard=guard.put(index, self._watch.fresh(1, spreads=guard.pending.shape[1] > 0)),
        )

    def step(self, frame: Tensor) -> FrameResult:
        """Pass the next frame of each stream.

        Args:
            frame: Preprocessed, [c, h, w] or [s, c, h, w]; the same s on every call.

        Raises:
            RegateError: If shape, dtype or values do not fit; the session is as before.
        """
        frames = self._incoming.checked(frame, self._streams)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._trains):
            state = self._watch.fitted(self.state or self._stepper.fresh(len(frames), self.seed))
            demand = self._demand(state)
            checked = self._watch.checks(state.gate.frame)
            if checked is None or not checked.any():
                self.state, result = self._stepper.step(frames, state, demand)
            else:
                index = checked.nonzero().squeeze(1)
                part = frames[index], state.select(index), demand.select(index)
                _, gated = self._stepper.step(*part)
                whole = replace(demand, whole=demand.whole | checked)
                after, dense = self._stepper.step(frames, state, whole)
                self.state, result = self._watch.compare(after, dense, gated, index)
            self._incoming.forget()
            return result

    @torch.no_grad()
    def preview(self, frame: Tensor) -> BlockView:
        """What the gate will see of the next frame at its first block; nothing is changed.

        If the very same tensor, not written to since, is then passed to ``step``, it is not
        embedded again.

        Args:
            frame: As for ``step``. Of a stream that has seen none, only ``tokens`` mean anything.

        Raises:
            RegateError: As ``step``.
        """
        embedded = self._incoming.preview(frame, self._streams)
        state = self.state or self._stepper.fresh(len(embedded), self.seed)
        reference, memory = self._mechanism.known(state.caches)
        prefix = self.backbone.num_prefix_tokens
        tokens, reference, memory = (
            for_gates(value[:, prefix:]) for value in (embedded, reference, memory)
        )
        return BlockView(
            block=0,
            tokens=tokens,
            reference=reference,
            memory=memory,
            state=state.gate,
            knob=self._knobs(state),
            grid=self.backbone.grid,
        )

    @property
    def _streams(self) -> int | None:
        return len(self.state.gate.frame) if self.state else None

    def _knobs(self, state: SessionState) -> Tensor:
        frame = state.gate.frame
        knob = torch.as_tensor(self.knob, device=frame.device)
        if knob.numel() > 1 and knob.shape != frame.shape:
            raise RegateError(
                f"the session serves {len(frame)} streams, but its knob has shape "
                f"{list(knob.shape)}: give one number, or one per stream"
            )
        return knob.expand(len(frame))

    def _demand(self, state: SessionState) -> Demand:
        knob = self._knobs(state)
        first = state.gate.frame == 0
        return Demand(self.serving, knob, first, self._held(state, knob), self._room)

    def _held(self, state: SessionState, knob: Tensor) -> Tensor | None:
        """Streams that repeat their output, by gate or by pace; None where none can."""
        held = self.serving.hold(state.gate, knob, self.phase)
        if not isinstance(self.pace, Tensor) and self.pace >= 1:
            return held
        pace = torch.as_tensor(self.pace, dtype=torch.float64, device=knob.device)
        waits = ~due(state.gate.frame, pace, self.phase)
        # A pace that is set in mid-stream finds no output to repeat yet.
        waits = waits & (state.logits.numel() > 0)
        return waits if held is None else held | waits
