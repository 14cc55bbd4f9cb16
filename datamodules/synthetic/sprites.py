"""Things that move over the background: how they look and where they go.

All arithmetic is on integers or rounds to them at once, so that clips are the same bytes on
every machine.
"""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from datamodules.synthetic.pictures import Region

HALO = 5
"""Pixels of dark halo around a digit; without it a light stroke drowns in a bright photograph."""
HALO_DARKNESS = 200
"""Of 256: share of the background's light that the halo takes where it is densest."""


class Sprite(NamedTuple):
    """A picture with soft edges, ready to paste: ``frame * keep / 256 + add``."""

    keep: NDArray[np.uint16]
    """[h, w, 1], 0..256: how much of the frame shines through."""
    add: NDArray[np.uint16]
    """[h, w, 3], 0..255."""


def digit_sprite(ink: NDArray[np.uint8], side: int, colour: NDArray[np.uint16]) -> Sprite:
    """Draw a digit in a light stroke on a soft dark halo.

    Args:
        ink: Handwritten digit, [8, 8].
        side: Pixels of the enlarged digit; the sprite is larger by the halo.
        colour: RGB of the stroke, 0..255.
    """
    drawn = Image.fromarray(ink).resize((side, side), Image.Resampling.BICUBIC)
    canvas = Image.new("L", (side + 2 * HALO, side + 2 * HALO))
    canvas.paste(drawn, (HALO, HALO))
    # Steeper edges than the bicubic ramp of an 8-pixel drawing.
    stroke = ((np.asarray(canvas, dtype=np.int32) - 80).clip(0, 128) * 2)[..., None]
    blurred = canvas.filter(ImageFilter.GaussianBlur(HALO / 2))
    halo = np.minimum(np.asarray(blurred, dtype=np.int32) * 3, 256)[..., None]

    shade = 256 - halo * HALO_DARKNESS // 256
    keep = shade * (256 - stroke) // 256
    return Sprite(keep.astype(np.uint16), (stroke * colour // 256).astype(np.uint16))


def distractor_sprite(rng: Generator, others: tuple[Region, ...]) -> Sprite:
    """Cut a piece out of another photograph region, or draw a filled shape; never a digit."""
    side = int(rng.integers(14, 29))
    mask = Image.new("L", (side, side))
    shape = ("disc", "square", "triangle")[rng.integers(3)]
    draw = ImageDraw.Draw(mask)
    if shape == "disc":
        draw.ellipse((0, 0, side - 1, side - 1), fill=255)
    elif shape == "square":
        draw.rectangle((0, 0, side - 1, side - 1), fill=255)
    else:
        draw.polygon([(side // 2, 0), (side - 1, side - 1), (0, side - 1)], fill=255)

    colour: NDArray[np.uint16]
    if rng.integers(2):
        region = others[rng.integers(len(others))].pixels
        top, left = rng.integers(0, len(region) - side, size=2)
        colour = region[top : top + side, left : left + side].astype(np.uint16)
    else:
        colour = rng.integers(0, 256, size=3).astype(np.uint16)
    alpha = (np.asarray(mask, dtype=np.uint16) > 0)[..., None].astype(np.uint16)
    return Sprite(256 * (1 - alpha), alpha * colour)


def path(rng: Generator, num_frames: int, room: int) -> NDArray[np.int64]:
    """Walk in a straight line, reflected at the walls, with a rest in half of the walks.

    Args:
        rng: Source of start, speed (0 to 3 pixels a frame) and rest.
        num_frames: Steps.
        room: Largest coordinate; the smallest is 0.

    Returns:
        Row and column per frame, [t, 2].
    """
    start = rng.random(2) * room
    speed = 3 * rng.random()
    heading = 2 * np.pi * rng.random()
    velocity = speed * np.array([np.sin(heading), np.cos(heading)])
    moving = np.ones(num_frames)
    if rng.integers(2):
        begin = int(rng.integers(num_frames))
        moving[begin : begin + int(rng.integers(1, num_frames + 1))] = 0
    walked = start + (np.cumsum(moving) - 1)[:, None] * velocity  # [t, 2], as if without walls
    reflected = room - np.abs(room - walked % (2 * room))
    return np.floor(reflected + 0.5).astype(np.int64)


def paste(frame: NDArray[np.uint8], sprite: Sprite, corner: NDArray[np.int64]) -> None:
    """Put ``sprite`` into ``frame``, uint8 [h, w, 3], with its top left at ``corner``."""
    row, column = int(corner[0]), int(corner[1])
    height, width = sprite.keep.shape[:2]
    window = frame[row : row + height, column : column + width]
    window[:] = (window * sprite.keep >> 8) + sprite.add
