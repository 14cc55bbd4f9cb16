"""The loop that serves a session: one decoded frame in, one gated result out, dense beside it."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.errors import RegateError, RegateWarning
from datamodules.video import VideoFrame
from policy.device import timed, timed_by
from policy.records import FrameResult
from policy.serving.latency import LatencyController
from policy.session import ReuseSession


@dataclass(frozen=True)
class Served:
    """One frame and what became of it.

    Attributes:
        number: Counts the frames of the run from 0.
        frame: As decoded.
        result: Of the session, s = 1.
        restart: Why the session began afresh with this frame, for people; "" if it went on.
        ms: Latency of ``ReuseSession.step``, milliseconds.
        preprocess_ms: Of resize, crop and normalisation, which dense pays just so.
        served_by: Name of the gate, or of the heuristic that it fell back to.
        budget: That was asked of the frame; None where a knob was set.
        dense: Logits of the untouched model on the same frame, [1, k]; None if not asked for.
        dense_ms: Its latency, measured in turns with the gated one.
    """

    number: int
    frame: VideoFrame
    result: FrameResult
    restart: str
    ms: float
    preprocess_ms: float
    served_by: str
    budget: float | None = None
    dense: Tensor | None = None
    dense_ms: float | None = None


def serve(
    frames: Iterable[VideoFrame],
    session: ReuseSession,
    compare_dense: bool = True,
    latency: LatencyController | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Served]:
    """Pass frames through a session of one stream.

    The session is reset where a frame cannot follow the one before: at a new file, and where the
    size changes. Nothing is kept of a frame, so that a stream may run for ever.

    Args:
        frames: From ``datamodules.sources.open_source``.
        session: Its backbone is also the dense model.
        compare_dense: Run that too, on every frame. Gated and dense take turns in going first, so
            that neither profits from what the other left in the processor's caches.
        latency: Sets the budget of each frame, hard, by the time that those before it took.
        clock: Seconds, by which the session's steps are timed.

    Warns:
        RegateWarning: Once, when the time asked for cannot be kept.

    Raises:
        RegateError: If a frame does not fit, if the backbone's output is not finite, or if a
            latency is asked of a session whose budget is not hard.
    """
    if latency is not None and not session.hard:
        raise RegateError(
            "a latency is kept by a hard budget, and this session has none: make it one by "
            f"session.ask({latency.ceiling:g}, hard=True)"
        )
    backbone = session.backbone
    device = backbone.mean.device
    before: VideoFrame | None = None
    # The first call of a process pays for thread pools and kernels, which is no frame's latency.
    _dense(session, backbone.mean.new_zeros(backbone.in_chans, *backbone.image_size))
    for number, frame in enumerate(frames):
        restart = _restart(before, frame)
        if restart:
            session.reset()
        before = frame
        tensor, preprocess_ms = timed(device, backbone.preprocess, frame.image)
        dense, dense_ms = None, None
        if compare_dense and number % 2:
            dense, dense_ms = _dense(session, tensor)
        budget, served_by = session.budget, session.serving.name
        result, ms = timed_by(clock, device, session.step, tensor)
        if compare_dense and not number % 2:
            dense, dense_ms = _dense(session, tensor)
        if not torch.isfinite(result.logits).all():
            raise RegateError(
                f"{backbone.name} gave NaN or infinite logits on frame {frame.index} of "
                f"{frame.name}: {_why_not_finite(session)}"
            )
        if latency is not None:
            _steer(session, latency, float(result.spent), ms, steered=not restart)
        yield Served(
            number, frame, result, restart, ms, preprocess_ms, served_by, budget, dense, dense_ms
        )


def _why_not_finite(session: ReuseSession) -> str:
    caches = () if session.state is None else session.state.caches.tensors()
    if any(tensor.dtype == torch.float16 for tensor in caches):
        return "float16 caches overflow beyond 65,504, so take bfloat16 or none"
    return "its weights are damaged, so load others with --weights"


def _steer(
    session: ReuseSession, latency: LatencyController, spent: float, ms: float, steered: bool
) -> None:
    """Set the next frame's budget by what this one spent and took."""
    latency.observe(spent, ms, steered)
    if latency.budget != session.budget:
        session.budget = latency.budget
    if complaint := latency.complaint():
        warnings.warn(complaint, RegateWarning, stacklevel=3)


def _restart(before: VideoFrame | None, frame: VideoFrame) -> str:
    if before is None:
        return "the first frame"
    if before.name != frame.name:
        return f"{frame.name} begins"
    (height, width), (old_height, old_width) = frame.image.shape[:2], before.image.shape[:2]
    if (height, width) != (old_height, old_width):
        return f"the size changed from {old_width}x{old_height} to {width}x{height}"
    return ""


def _dense(session: ReuseSession, frame: Tensor) -> tuple[Tensor, float]:
    with torch.no_grad():
        return timed(frame.device, session.backbone.forward, frame.unsqueeze(0))
