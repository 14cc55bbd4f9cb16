"""A virtual camera: other views of the same videos."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from datamodules.errors import RegateError

Window = tuple[float, float, float, float]
"""Left, top, right and bottom, pixels, at any fraction of one."""


@dataclass(frozen=True)
class Camera:
    """Films the frames of a clip through a window that may be mirrored, small, or move.

    A few scenes from a fixed camera teach a gate those scenes, and that drift means motion. With
    windows that pan and shake, drift is everywhere and no longer says what matters.

    Args:
        flip: Share of clips that are mirrored, 0 to 1.
        zoom: Side of the smallest window, as a share of the largest that fits; above 0, to 1.
        moving: Share of clips in which the window moves, 0 to 1.
        pan: Standard deviation of the steady movement, percent of the window's side per frame.
        shake: Standard deviation of the shaking around it, in the same unit.
        everywhere: Whether calibration and test clips are filmed too, the same way each time: then
            it is no help for training but footage of another kind.

    Raises:
        RegateError: If a value is outside its range.
    """

    flip: float = 0.5
    zoom: float = 0.7
    moving: float = 0.5
    pan: float = 1.5
    shake: float = 0.3
    everywhere: bool = False

    def __post_init__(self) -> None:
        """Refuse what would only fail in the middle of a run."""
        for name, value in (("flip", self.flip), ("moving", self.moving)):
            if not 0 <= value <= 1:
                raise RegateError(f"{name} is a share of the clips, 0 to 1; got {value:g}.")
        if not 0 < self.zoom <= 1:
            raise RegateError(f"zoom must be above 0 and at most 1, got {self.zoom:g}.")
        for name, value in (("pan", self.pan), ("shake", self.shake)):
            if value < 0:
                raise RegateError(f"{name} must be 0 or more, got {value:g}.")

    def film(
        self, images: Sequence[NDArray[np.uint8]], size: tuple[int, int], rng: np.random.Generator
    ) -> Tensor:
        """Show one clip through a window drawn for it.

        Args:
            images: Frames uint8 [h, w, 3]; those of another size see the same share of theirs.
            size: Height and width of the result, pixels.
            rng: Draws the window; the same state gives the same film.

        Returns:
            uint8 [t, 3, *size].
        """
        mirrored, moving = rng.random(2) < (self.flip, self.moving)
        zoom, start = rng.uniform(self.zoom, 1), rng.uniform(0, 1, 2)
        steady = np.arange(len(images))[:, None] * rng.normal(0, self.pan, 2)
        path = moving * (steady + rng.normal(0, self.shake, (len(images), 2))) / 100
        film = np.empty((len(images), *size, 3), dtype=np.uint8)
        for image, moved, place in zip(images, path, film, strict=True):
            shown = Image.fromarray(np.ascontiguousarray(image)).resize(
                (size[1], size[0]),
                Image.Resampling.BICUBIC,
                _window(image.shape[:2], size, zoom, start, moved),
            )
            place[:] = np.asarray(shown)[:, ::-1] if mirrored else np.asarray(shown)
        return torch.from_numpy(film).movedim(-1, -3).contiguous()


def _window(
    image: tuple[int, ...],
    size: tuple[int, int],
    zoom: float,
    start: NDArray[np.float64],
    moved: NDArray[np.float64],
) -> Window:
    """The window of an image of that height and width.

    Args:
        image: Height and width.
        size: Height and width of the result, whose shape the window has.
        zoom: Of the largest window.
        start: Where it starts between left and right and between top and bottom, 0 to 1.
        moved: How far it has moved, in its own sides; at an edge it turns round.
    """
    largest = min(image[0] / size[0], image[1] / size[1])
    sides = zoom * largest * np.array([size[1], size[0]])
    free = np.array([image[1], image[0]]) - sides
    left, top = _fold(start * free + moved * sides, free)
    return float(left), float(top), float(left + sides[0]), float(top + sides[1])


def _fold(place: NDArray[np.float64], free: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fold the line into [0, free], there and back; no room leaves 0."""
    there_and_back = np.mod(place, 2 * np.maximum(free, 1e-9))
    folded: NDArray[np.float64] = free - np.abs(free - there_and_back)
    return folded.clip(0, np.maximum(free, 0))
