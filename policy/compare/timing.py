"""Latency of policies beside the dense model, in one interleaved run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backbones.vit import Backbone
from policy.device import timed as time_of
from policy.gates.base import Gate
from policy.milliseconds import Latency
from policy.session import ReuseSession
from policy.signals import staggered


@dataclass(frozen=True)
class Timed:
    """One policy to be timed.

    Attributes:
        policy: Its name.
        budget: Asked; None for a policy without a knob.
        gate: What decides; None times the untouched model.
        knob: At which.
        pace: Share of frames looked at.
    """

    policy: str
    budget: float | None
    gate: Gate | None
    knob: float
    pace: float = 1.0


@torch.no_grad()
def latencies(
    backbone: Backbone, timed: Sequence[Timed], clips: Sequence[Tensor], advance: Callable[[], None]
) -> list[Latency]:
    """Time each policy on the same frames, one stream at a time.

    Every frame goes through all policies before the next one does, so that a machine that slows
    down for a while slows all of them. The first frame of each clip, which is dense for all, is
    not counted.

    Args:
        backbone: The frozen model; untouched and with fused attention for the dense row.
        timed: What to time.
        clips: Normalised frames of each on the backbone's device, [t, c, h, w]; each begins a new
            stream.
        advance: Called after each frame.

    Returns:
        Milliseconds per frame, gate included.
    """
    taken: list[list[float]] = [[] for _ in timed]
    for place, clip in enumerate(clips):
        steps = [_step(backbone, entry, staggered(place)) for entry in timed]
        for index, frame in enumerate(clip):
            for step, times in zip(steps, taken, strict=True):
                _, milliseconds = time_of(frame.device, step, frame)
                if index:
                    times.append(milliseconds)
            advance()
    return [Latency.of(times) for times in taken]


def _step(backbone: Backbone, entry: Timed, phase: float) -> Callable[[Tensor], object]:
    if entry.gate is None:
        return lambda frame: backbone(frame.unsqueeze(0))
    session = ReuseSession(backbone, entry.gate)
    session.knob, session.pace, session.phase = entry.knob, entry.pace, phase
    return session.step
