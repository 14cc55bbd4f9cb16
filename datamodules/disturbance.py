"""Disturbances: pixels that change although what they show does not."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import torch
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame as Picture
from numpy.typing import NDArray
from torch import Tensor

from datamodules.errors import RegateError

ENCODED_RATE = Fraction(25)
"""Frames per second that the encoder is told; at a constant rate factor it hardly matters."""


class Disturbance(ABC):
    """Changes the frames of a clip; where drift is large and nothing has happened.

    Applied to frames as a backbone gets them, after resize and crop and before normalisation: a
    resize would average noise away. What is random depends on the clip's name, the frame's number
    and the seed alone, so a training clip is disturbed in the same way in each epoch.
    """

    def describe(self) -> dict[str, str | int | float]:
        """Kind and settings, for a results file."""
        return {"kind": type(self).__name__, **vars(self)}

    def __str__(self) -> str:
        """Kind and strength in one word, for names of runs: ``noise2.5``."""
        strength = next(iter(vars(self).values()), "")
        word = f"{strength:g}" if isinstance(strength, float) else str(strength)
        return type(self).__name__.lower() + word

    @abstractmethod
    def __call__(self, frames: Tensor, name: str) -> Tensor:
        """Disturb the frames of one clip.

        Args:
            frames: uint8 [t, 3, h, w].
            name: Of the clip.

        Returns:
            uint8, of the same shape.
        """


@dataclass(frozen=True)
class Noise(Disturbance):
    """Sensor noise: Gaussian, drawn anew for each value of each frame.

    Args:
        sigma: Standard deviation in grey levels of 8 bits, > 0.
        seed: Of the noise.

    Raises:
        RegateError: If ``sigma`` is not positive, or the seed is negative.
    """

    sigma: float
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a strength that would do nothing."""
        _check(self.sigma, self.seed)

    def __call__(self, frames: Tensor, name: str) -> Tensor:
        """Add the noise; values outside of 0 to 255 are cut off."""
        rng = _generator(self.seed, name)
        noise = rng.standard_normal(frames.shape, dtype=np.float32)
        return _as_bytes(frames + self.sigma * torch.from_numpy(noise))


@dataclass(frozen=True)
class Flicker(Disturbance):
    """Light that flickers: the whole of each frame is multiplied by one Gaussian gain around 1.

    Args:
        sigma: Standard deviation of the gain in percent, > 0.
        seed: Of the gains.

    Raises:
        RegateError: If ``sigma`` is not positive, or the seed is negative.
    """

    sigma: float
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a strength that would do nothing."""
        _check(self.sigma, self.seed)

    def __call__(self, frames: Tensor, name: str) -> Tensor:
        """Multiply by the gains; values above 255 are cut off."""
        drawn = _generator(self.seed, name).standard_normal((len(frames), 1, 1, 1))
        gains = 1 + self.sigma / 100 * torch.from_numpy(drawn).float()
        return _as_bytes(frames * gains)


@dataclass(frozen=True)
class Recompression(Disturbance):
    """Lossy compression: the clip is encoded as H.264 by libx264 and decoded again.

    Only the first frame is coded by itself, as in a long recording. Colour is halved in both
    directions as almost everywhere. Another version of the encoder may give other bytes.

    Args:
        crf: Constant rate factor, 0 (almost as it was) to 51 (worst); 23 is usual.

    Raises:
        RegateError: If ``crf`` is not in that range.
    """

    crf: int

    def __post_init__(self) -> None:
        """Refuse what the encoder would only complain about in the middle of a run."""
        if not 0 <= self.crf <= 51:
            raise RegateError(f"crf must be in 0 to 51, got {self.crf}; 23 is usual.")

    def __call__(self, frames: Tensor, name: str) -> Tensor:
        """Encode and decode; odd sides are padded for the encoder and cut again."""
        images = frames.movedim(1, -1).numpy()  # [t, h, w, 3]
        height, width = images.shape[1:3]
        padding = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
        decoded = _recompress(np.pad(images, padding, mode="edge"), self.crf)
        return torch.from_numpy(decoded[:, :height, :width]).movedim(-1, 1).contiguous()


def _recompress(images: NDArray[np.uint8], crf: int) -> NDArray[np.uint8]:
    encoder = av.CodecContext.create("libx264", "w")
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(encoder, VideoCodecContext) and isinstance(decoder, VideoCodecContext)
    encoder.height, encoder.width, encoder.pix_fmt = *images.shape[1:3], "yuv420p"
    encoder.framerate = ENCODED_RATE
    encoder.options = {"crf": str(crf)}
    # More threads would change the bytes; of the decoder, now and then, on very small frames.
    encoder.thread_count = decoder.thread_count = 1
    packets = []
    for index, image in enumerate(images):
        picture = Picture.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        picture.pts = index
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    pictures = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    return np.stack([picture.to_ndarray(format="rgb24") for picture in pictures])


def _generator(seed: int, name: str) -> np.random.Generator:
    """Depends on the name and not on the place: a clip keeps its noise in another selection."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16])])


def _as_bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)


def _check(sigma: float, seed: int) -> None:
    if not sigma > 0:
        raise RegateError(f"sigma must be above 0, got {sigma:g}; leave the disturbance out.")
    if seed < 0:
        raise RegateError(f"the disturbance's seed must be 0 or more, got {seed}.")
