"""What ``regate bench`` times: the dense model, sessions at a share of the tokens, a gate alone."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from backbones.vit import Backbone
from policy.cost import BackboneMacs
from policy.gates.base import Gate, Masks
from policy.gates.heuristic import AlwaysRecompute, TopRGate
from policy.gates.learned import LearnedGate
from policy.records import FrameResult
from policy.reuse.base import FrameGate
from policy.reuse.compact import CompactState
from policy.reuse.executions import Execution
from policy.reuse.rows import Opened, attend, project, update
from policy.session import ReuseSession
from policy.signals import log_drift


class Variant(ABC):
    """One thing to be timed, frame by frame.

    Attributes:
        name: As in the table.
        fraction: Share of the patches that is computed; None where there is no choice.
    """

    def __init__(self, name: str, fraction: float | None = None) -> None:
        self.name = name
        self.fraction = fraction

    def prepare(self, frames: Tensor) -> None:
        """Whatever ``step`` needs and must not be charged for, on the same frames [s, c, h, w]."""
        return

    @abstractmethod
    def step(self, frames: Tensor) -> object:
        """What is timed: one frame of each stream, [s, c, h, w]."""

    @abstractmethod
    def macs(self) -> float:
        """MACs of the last step, mean over the streams; a gate's own count where it is alone."""

    def held(self) -> object:
        """All that was there before a step, also what the step replaces."""
        return dict(vars(self))

    @property
    def state_bytes(self) -> int:
        """Bytes kept per stream between two frames."""
        return 0


class Dense(Variant):
    """The untouched timm model, with fused attention."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__("dense")
        self._backbone = backbone
        self._macs = BackboneMacs.of(backbone).dense

    @torch.no_grad()
    def step(self, frames: Tensor) -> Tensor:
        """Logits [s, k]."""
        logits: Tensor = self._backbone(frames)
        return logits

    def macs(self) -> float:
        """Those of a dense frame."""
        return self._macs


class DensePacked(Dense):
    """The dense model with the linear layers that sessions run: what is left is owed to reuse."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.name = "dense packed"
        self._opened = Opened(packed=True)

    @torch.no_grad()
    def step(self, frames: Tensor) -> Tensor:
        """Logits [s, k]."""
        tokens = self._backbone.embed(frames)
        for block in self._opened.blocks(self._backbone):
            new = project(block, tokens)
            attended = attend(block, new.queries, new.keys, new.values)
            tokens = tokens + update(block, tokens, attended, new.gate)
        logits: Tensor = self._backbone.head(tokens)[0]
        return logits


class DenseCompiled(Dense):
    """The dense model under ``torch.compile``, on a GPU replayed as one CUDA graph."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.name = "dense compiled"
        mode = "reduce-overhead" if backbone.mean.is_cuda else None
        self._program: Callable[[Tensor], Tensor] = torch.compile(backbone, mode=mode)

    @torch.no_grad()
    def step(self, frames: Tensor) -> Tensor:
        """Logits [s, k]."""
        return self._program(frames)


class Served(Variant):
    """A session, from its second frame on.

    Args:
        name: As in the table.
        fraction: Share of the patches that the gate computes.
        session: Fresh.
        first: The first frame of each stream, [s, c, h, w].
    """

    def __init__(
        self, name: str, fraction: float | None, session: ReuseSession, first: Tensor
    ) -> None:
        super().__init__(name, fraction)
        self.session = session
        self.result: FrameResult = session.step(first)

    def step(self, frames: Tensor) -> FrameResult:
        """All that a user gets of a frame, gate included."""
        self.result = self.session.step(frames)
        return self.result

    def macs(self) -> float:
        """The backbone's."""
        return float(self.session.macs.frame(self.result.recompute).mean())

    def held(self) -> object:
        """The session's state and outputs too."""
        return super().held(), dict(vars(self.session))

    @property
    def state_bytes(self) -> int:
        """Those of the session."""
        return self.session.state_bytes


class OneByOne(Variant):
    """Streams in sessions of their own, one after the other.

    Args:
        fraction: Mean of the shares.
        sessions: One per stream.
        first: The first frame of each stream, [s, c, h, w].
    """

    def __init__(self, fraction: float, sessions: Sequence[ReuseSession], first: Tensor) -> None:
        super().__init__("one by one", fraction)
        self.sessions = sessions
        self.results = self.step(first)

    def step(self, frames: Tensor) -> list[FrameResult]:
        """As ``Served.step``, of each stream."""
        pairs = zip(self.sessions, frames, strict=True)
        self.results = [session.step(frame) for session, frame in pairs]
        return self.results

    def macs(self) -> float:
        """The backbone's."""
        counts = [
            float(session.macs.frame(result.recompute))
            for session, result in zip(self.sessions, self.results, strict=True)
        ]
        return sum(counts) / len(counts)

    def held(self) -> object:
        """The sessions' states and outputs too."""
        return super().held(), [dict(vars(session)) for session in self.sessions]

    @property
    def state_bytes(self) -> int:
        """Those of a session."""
        return self.sessions[0].state_bytes


class Learned(Served):
    """An untrained learned gate as the recipe has it, one mask for all blocks.

    Its scores are the threshold's: its network runs and adds 0. On each frame the knob is put
    between the drift of the last patch that is to be computed and that of the first that is not, so
    that exactly the asked share is computed.
    """

    def __init__(
        self,
        fraction: float,
        backbone: Backbone,
        first: Tensor,
        cache_dtype: torch.dtype | None = None,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            gate = LearnedGate(backbone.dim, backbone.depth, releases=False)
            gate.to(backbone.mean.device)
        session = ReuseSession(backbone, gate, cache_dtype=cache_dtype)
        super().__init__("learned", fraction, session, first)

    @torch.no_grad()
    def prepare(self, frames: Tensor) -> None:
        """Set the knob."""
        # Another tensor of the same values: what a session has previewed it does not embed again.
        # Kept, since the session lets go of it in the step, and ``held`` is all that was there.
        self._view = view = self.session.preview(frames.detach())
        drift = log_drift(view.tokens, view.reference).sort(dim=1, descending=True).values
        steps = torch.cat([drift[:, :1] + 1, drift, drift[:, -1:] - 1], dim=1)
        count = round((self.fraction or 0.0) * drift.shape[1])
        self.session.knob = (steps[:, count] + steps[:, count + 1]) / 2


class GateAlone(Variant):
    """The decision of a learned gate on one frame, as its session asks for it; no block runs.

    Args:
        served: Whose state and knob it decides with.
    """

    def __init__(self, served: Learned) -> None:
        super().__init__("gate alone", served.fraction)
        self._served = served

    @torch.no_grad()
    def prepare(self, frames: Tensor) -> None:
        """Embed the frame, which is not the gate's."""
        self._served.prepare(frames)
        self._tokens = self._served.session.backbone.embed(frames)

    @torch.no_grad()
    def step(self, frames: Tensor) -> Tensor:
        """The mask, bool [s, n]."""
        session = self._served.session
        state, knob = session.state, session.knob
        assert state is not None and isinstance(state.caches, CompactState)
        assert isinstance(knob, Tensor)
        nothing = torch.zeros_like(state.gate.last)
        asked = FrameGate(session.gate, state.gate, knob, nothing, session.backbone)
        return asked.mask(0, self._tokens, state.caches.reference, state.caches.sums[0])

    def macs(self) -> float:
        """The gate's."""
        session = self._served.session
        return float(session.macs.gate(session.gate, self._served.result.recompute).mean())


def variants(
    backbone: Backbone,
    fractions: Sequence[float],
    first: Tensor,
    cache_dtype: torch.dtype | None = None,
    compiled: bool = False,
) -> Iterator[Variant]:
    """All that is timed, the dense model first.

    Args:
        backbone: The frozen model.
        fractions: Shares of the patches, in (0, 1].
        first: The first frame of each stream, [s, c, h, w].
        cache_dtype: Of the sessions.
        compiled: Also what ``torch.compile`` makes of the dense model and of the shared mask.
    """

    def session(gate: Gate, execution: Execution = "auto") -> ReuseSession:
        return ReuseSession(backbone, gate, execution=execution, cache_dtype=cache_dtype)

    def served(name: str, fraction: float | None, gate: Gate) -> Served:
        return Served(name, fraction, session(gate), first)

    yield Dense(backbone)
    yield DensePacked(backbone)
    if compiled:
        yield DenseCompiled(backbone)
    yield served("everything", None, AlwaysRecompute())
    for fraction in fractions:
        yield served("shared", fraction, TopRGate(fraction))
        if compiled:
            program = session(TopRGate(fraction), "compiled")
            yield Served("shared compiled", fraction, program, first)
        yield served("per block", fraction, TopRGate(fraction, Masks.PER_BLOCK))
        if len(first) > 1:
            shares = _spread(fraction, len(first))
            ragged = session(TopRGate(fraction))
            ragged.knob = shares
            yield Served("ragged", fraction, ragged, first)
            alone = [session(TopRGate(float(share))) for share in shares]
            yield OneByOne(fraction, alone, first)
        learned = Learned(fraction, backbone, first, cache_dtype)
        yield GateAlone(learned)
        yield learned


def _spread(fraction: float, streams: int) -> Tensor:
    """A share for each stream, as far apart as can be within four fifths of the room, [s]."""
    room = 0.8 * min(fraction, 1 - fraction)
    return torch.linspace(fraction - room, fraction + room, streams, dtype=torch.float64)
