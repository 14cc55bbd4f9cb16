"""What a session takes for a frame."""

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
