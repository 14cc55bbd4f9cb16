"""What a session takes for a frame, and its embedding."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from backbones.vit import Backbone
from datamodules.errors import RegateError


def checked_frames(frame: Tensor, backbone: Backbone, streams: int | None) -> Tensor:
    """One frame of each stream, or a sentence on why it cannot be.

    Args:
        frame: [c, h, w] or [s, c, h, w].
        backbone: That it has to fit.
        streams: s of the frames before; None for the first.

    Returns:
        [s, c, h, w].

    Raises:
        RegateError: If shape, dtype, device or values do not fit.
    """
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
            f"a frame for {backbone.name} must be {backbone.mean.dtype}, got {frame.dtype}: {cure}"
        )
    if frame.device != backbone.mean.device:
        raise RegateError(
            f"the frame is on {frame.device}, but {backbone.name} is on "
            f"{backbone.mean.device}: {cure}, or move it with .to()"
        )
    # NaN is both the smallest and the largest: one pass, where isfinite(frame).all() takes three.
    if frame.numel() and not torch.stack(frame.aminmax()).isfinite().all():
        raise RegateError(f"the frame has NaN or infinite values: drop it, or {cure}")
    frames = frame if frame.dim() == 4 else frame.unsqueeze(0)
    if streams is not None and len(frames) != streams:
        raise RegateError(
            f"the session serves {streams} streams, got frames of {len(frames)}: call "
            "session.reset() before changing the number of streams"
        )
    return frames


class _Previewed(NamedTuple):
    """A frame as given, how often it had been written to, as checked, and its embedding."""

    given: Tensor
    writes: float
    frames: Tensor
    embedded: Tensor


class Incoming:
    """Checks and embeds frames; one that was previewed is neither checked nor embedded again.

    Args:
        backbone: Whose frames they are.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._previewed: _Previewed | None = None

    def checked(self, frame: Tensor, streams: int | None) -> Tensor:
        """As ``checked_frames``, which has the arguments."""
        known = self._previewed
        same = known is not None and frame is known.given and known.writes == _writes(frame)
        if known is not None and same and streams in (None, len(known.frames)):
            return known.frames
        self._previewed = None
        return checked_frames(frame, self._backbone, streams)

    def preview(self, frame: Tensor, streams: int | None) -> Tensor:
        """Embedding of a frame, [s, n, d], kept for when the very same tensor comes to be served.

        Args:
            frame: As for ``checked``.
            streams: As for ``checked``.
        """
        frames = self.checked(frame, streams)
        embedded = self.embed(frames)
        self._previewed = _Previewed(frame, _writes(frame), frames, embedded)
        return embedded

    def embed(self, frames: Tensor) -> Tensor:
        """Tokens [s, n, d] of checked frames; where all streams show the same frame, made once."""
        if self._previewed is not None and frames is self._previewed.frames:
            return self._previewed.embedded
        # Under autocast a model may embed in half precision, but caches keep the weights' dtype.
        if len(frames) > 1 and frames.stride(0) == 0:
            embedded = self._backbone.embed(frames[:1]).to(frames.dtype)
            return embedded.repeat(len(frames), 1, 1)
        return self._backbone.embed(frames).to(frames.dtype)

    def forget(self) -> None:
        """A previewed frame has been served."""
        self._previewed = None


def _writes(frame: Tensor) -> float:
    """Writes in place so far, as a caller reuses a buffer; NaN, equal to none, if not counted."""
    return math.nan if frame.is_inference() else frame._version
