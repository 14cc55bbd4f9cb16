"""Pictures of what was recomputed: the frame as the model sees it, patch by patch."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, binary_erosion

# Brightness, not hue, carries the message, so that it survives any video and any eye: reused
# patches are dim and nearly grey, recomputed ones keep their light under an amber mesh; without
# the mesh, a hole in a large recomputed area would look like the thing that is marked. Amber
# (Okabe-Ito's orange, brighter) stays apart from blue, green and red for the colour-blind.
AMBER = (255, 176, 0)
RIM = (12, 14, 16)
DIM = 0.6
GREYNESS = 0.7
TINT = 0.16
MESH = 0.4
GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue in perceived brightness (ITU-R BT.601)."""

STRIP = (20, 24, 28)
TRACK = (62, 69, 76)
INK = (240, 242, 244)
FAINT = (165, 173, 180)

PLEASANT_SIDE = 448
"""Pixels; the patches of a smaller picture are hard to tell apart on a screen."""


@dataclass(frozen=True)
class Caption:
    """What the strip below the frame says.

    Attributes:
        label: What the frame shows, by the gated model.
        spent: Fraction of the dense frame's MACs.
        budget: The mean fraction asked for; None where a knob was set instead.
        macs: Spent in MACs.
        dense_macs: MACs of a dense frame.
        dense: What the dense model says to it; "" where it was not asked.
    """

    label: str
    spent: float
    budget: float | None
    macs: float
    dense_macs: float
    dense: str = ""


def draw_overlay(
    image: NDArray[np.uint8],
    share: NDArray[np.floating],
    caption: Caption | None = None,
    min_side: int = PLEASANT_SIDE,
) -> NDArray[np.uint8]:
    """Mark the recomputed patches of a frame.

    Args:
        image: What the model saw, after resize and crop, uint8 [h, w, 3]; a sharper rendering of
            the same view will do. It is enlarged by a whole factor until its shorter side reaches
            ``min_side``.
        share: Per patch, the share of blocks that recomputed it, in [0, 1], [rows, columns].
        caption: Adds a strip below; None for the frame alone.
        min_side: Pixels.

    Returns:
        uint8 [h', w', 3], both sides even, which video codecs want.

    Raises:
        ValueError: If a share is outside [0, 1].
    """
    if share.size and not (share.min() >= 0 and share.max() <= 1):
        raise ValueError(f"shares must be in [0, 1], got {share.min()} to {share.max()}")
    factor = enlargement(image.shape[:2], min_side)
    if factor > 1:
        height, width = image.shape[0] * factor, image.shape[1] * factor
        image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    picture = _mark(image, share)
    if caption is not None:
        picture = np.concatenate([picture, _strip(caption, picture.shape[1])])
    odd_rows, odd_columns = picture.shape[0] % 2, picture.shape[1] % 2
    return np.pad(picture, ((0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")


def enlargement(size: tuple[int, int], min_side: int = PLEASANT_SIDE) -> int:
    """The whole factor by which a picture of ``size`` is enlarged, at least 1."""
    return max(1, -(-min_side // min(size)))


def _mark(image: NDArray[np.uint8], share: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Dim what was reused; tint, mesh and outline what was recomputed, more so in more blocks."""
    rows = _patch_of_pixel(image.shape[0], share.shape[0])
    columns = _patch_of_pixel(image.shape[1], share.shape[1])
    light = share[rows[:, None], columns].astype(np.float32)  # [h, w]
    seen = image.astype(np.float32)
    grey = (seen @ np.array(GREY_WEIGHTS, np.float32))[..., None]
    reused = DIM * (GREYNESS * grey + (1 - GREYNESS) * seen)
    edges = _starts(rows)[:, None] | _starts(columns)
    tint = np.where(edges, MESH, TINT).astype(np.float32)[..., None]
    recomputed = seen + tint * (np.array(AMBER, np.float32) - seen)
    picture = reused + light[..., None] * (recomputed - reused)
    marked = light > 0
    width = max(1, round(min(marked.shape) / 200))
    picture[binary_dilation(marked, iterations=width) & ~marked] = RIM
    picture[marked & ~binary_erosion(marked, iterations=width)] = AMBER
    return picture.round().astype(np.uint8)


def _patch_of_pixel(pixels: int, patches: int) -> NDArray[np.intp]:
    """The row or column of patches that each row or column of pixels belongs to."""
    return np.arange(pixels) * patches // pixels


def _starts(patch: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Where a patch begins."""
    return np.diff(patch, prepend=patch[0]) > 0


def _strip(caption: Caption, width: int) -> NDArray[np.uint8]:
    """Two lines of text and a gauge of spent, [h, width, 3]."""
    size = max(9, width // 30)
    font, margin = _font(size), size // 2
    line = round(1.45 * size)
    strip = Image.new("RGB", (width, 3 * line + margin), STRIP)
    draw = ImageDraw.Draw(strip)
    room = width - 2 * margin
    verdict = _cut(caption.dense, font, room * 0.5)
    side = round(draw.textlength(verdict, font))
    draw.text((margin, margin), _cut(caption.label, font, room - side - size), INK, font)
    draw.text((width - margin - side, margin), verdict, FAINT, font)
    asked = "" if caption.budget is None else f"   asked {caption.budget:.2f}"
    cost = _cost(caption.macs, caption.dense_macs)
    y = margin + line
    draw.text((margin, y), f"spent {caption.spent:.2f}{asked}", AMBER, font)
    draw.text((width - margin - round(draw.textlength(cost, font)), y), cost, FAINT, font)
    _gauge(draw, caption, (margin, y + line + size // 4), (room, size // 2))
    return np.asarray(strip)


def _gauge(
    draw: ImageDraw.ImageDraw, caption: Caption, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    """A bar from nothing to dense, filled up to spent, with a tick at the budget."""
    (left, top), (width, height) = corner, size
    draw.rectangle((left, top, left + width - 1, top + height), TRACK)
    filled = round(width * min(caption.spent, 1.0))
    if filled:
        draw.rectangle((left, top, left + filled - 1, top + height), AMBER)
    if caption.budget is not None:
        tick = left + min(round(width * caption.budget), width - 1)
        draw.rectangle((tick - 1, top - height // 2, tick + 1, top + height + height // 2), INK)


def _cost(macs: float, dense_macs: float) -> str:
    unit, name = (1e9, "GMACs") if dense_macs >= 1e9 else (1e6, "MMACs")
    return f"{macs / unit:.2f} of {dense_macs / unit:.2f} {name} dense"


def _cut(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """``text``, shortened until it fits ``room`` pixels."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(f"{text}…") > room:
        text = text[:-1]
    return f"{text.rstrip()}…"


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # The one font that is certain to be there: it ships inside matplotlib.
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)
