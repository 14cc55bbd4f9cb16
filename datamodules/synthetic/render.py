"""Render one synthetic clip from (split, seed, draw) alone."""

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from datamodules.base import SPLITS, Split
from datamodules.synthetic.pictures import REGION_SIDE, Region, digits, regions
from datamodules.synthetic.sprites import (
    HALO,
    Sprite,
    digit_sprite,
    distractor_sprite,
    paste,
    path,
)

FRAME_SIDE = 96
"""Pixels of a frame's height and width."""
DIGIT_SIDES = (26, 37)
"""Smallest side of a digit and one more than the largest, pixels."""
MAX_DISTRACTORS = 3
MAX_NOISE = 4
"""Standard deviation of the strongest camera noise, grey levels."""
MAX_DRIFT = 0.15
"""Largest amplitude of the slow change of lighting, as a share of the brightness."""
MAX_FLICKER = 0.02
"""Largest change of lighting from frame to frame, as a share of the brightness."""


@dataclass(frozen=True)
class Recipe:
    """What fixes a clip.

    Args:
        split: Which pictures may be used.
        seed: The data module's.
        draw: Number of the clip; see ``ClipDataset``.
        region: Index into the split's photograph regions.
        plain: No noise, no lighting change, no distractors, no change of digit.
    """

    split: Split
    seed: int
    draw: int
    region: int
    plain: bool


def render(recipe: Recipe, num_frames: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw a clip.

    Returns:
        Frames, uint8 [t, 96, 96, 3] RGB, and the digit shown in each, int64 [t].
    """
    rng = np.random.default_rng([recipe.seed, SPLITS.index(recipe.split), recipe.draw])
    background = _background(rng, regions(recipe.split)[recipe.region])
    frames = np.repeat(background[None], num_frames, axis=0)  # [t, h, w, c]

    if not recipe.plain:
        for _ in range(rng.integers(1, MAX_DISTRACTORS + 1)):
            distractor = distractor_sprite(rng, regions(recipe.split))
            _animate(frames, [distractor] * num_frames, rng)
    # The digit comes last: a distractor must not hide the answer.
    sprites, labels = _digit(rng, recipe, num_frames)
    _animate(frames, sprites, rng)
    if not recipe.plain:
        frames = _camera(rng, frames)
    return frames, labels


def _background(rng: Generator, region: Region) -> NDArray[np.uint8]:
    """Crop a frame out of ``region``, mirrored in half of the clips."""
    top, left = rng.integers(0, REGION_SIDE - FRAME_SIDE + 1, size=2)
    crop = region.pixels[top : top + FRAME_SIDE, left : left + FRAME_SIDE]
    return crop[:, ::-1] if rng.integers(2) else crop


def _digit(
    rng: Generator, recipe: Recipe, num_frames: int
) -> tuple[list[Sprite], NDArray[np.int64]]:
    """A digit per frame: one throughout, or two classes with a change in the middle half."""
    images, classes = digits(recipe.split)
    side = int(rng.integers(*DIGIT_SIDES))
    colour = rng.integers(200, 256, size=3).astype(np.uint16)
    first = int(rng.integers(len(images)))
    sprites = [digit_sprite(images[first], side, colour)] * num_frames
    labels = np.full(num_frames, classes[first])
    if not recipe.plain and num_frames > 1 and rng.integers(2):
        change = int(rng.integers(max(1, num_frames // 4), max(2, 3 * num_frames // 4)))
        others = np.flatnonzero(classes != classes[first])
        second = int(others[rng.integers(len(others))])
        new = digit_sprite(images[second], side, colour)
        sprites[change:] = [new] * (num_frames - change)
        labels[change:] = classes[second]
    return sprites, labels


def _animate(frames: NDArray[np.uint8], sprites: list[Sprite], rng: Generator) -> None:
    """Paste a sprite per frame along one path, in place."""
    room = FRAME_SIDE - len(sprites[0].keep)
    corners = path(rng, len(frames), room)
    for frame, sprite, corner in zip(frames, sprites, corners, strict=True):
        paste(frame, sprite, corner)


def _camera(rng: Generator, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Change the lighting over time and add sensor noise to ``frames`` [t, h, w, 3]."""
    steps = np.arange(len(frames))
    drift = MAX_DRIFT * rng.random()
    period = 16 + 48 * rng.random()  # frames
    flicker = MAX_FLICKER * rng.random()
    gain = (
        1
        + drift * np.sin(2 * np.pi * (steps / period + rng.random()))
        + flicker * (2 * rng.random(len(frames)) - 1)
    )
    levels = np.round(256 * gain).astype(np.int32)[:, None] * np.arange(256)  # [t, 256]
    curves = (levels >> 8).clip(0, 255).astype(np.int16)
    noise = _noise_table(int(rng.integers(1, MAX_NOISE + 1)))
    lit = np.stack([curve[frame] for curve, frame in zip(curves, frames, strict=True)])
    lit += noise[rng.integers(0, 256, size=frames.shape, dtype=np.uint8)]
    return lit.clip(0, 255).astype(np.uint8)


@cache
def _noise_table(deviation: int) -> NDArray[np.int16]:
    """Map a uniform byte to a normal deviate: faster than drawing one, and the same anywhere."""
    normal = NormalDist(0, deviation)
    return np.array([round(normal.inv_cdf((byte + 0.5) / 256)) for byte in range(256)], np.int16)


# Halo included, the largest digit must leave room to move.
assert DIGIT_SIDES[1] - 1 + 2 * HALO < FRAME_SIDE
