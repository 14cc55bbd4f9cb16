"""Resize and crop frames the way a timm model was evaluated."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from datamodules.errors import RegateError

CROP_MODES = ("center", "squash")
INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming")


@dataclass(frozen=True)
class ResizeCrop:
    """The geometry of timm's evaluation transform, for one image or a stack of frames.

    Equals ``timm.data.transforms_factory.transforms_imagenet_eval`` without its normalisation,
    pixel by pixel: both resize by PIL, whose rounding torch's resize does not share.

    Args:
        size: Height and width of the result, pixels.
        crop_pct: Share of the resized side that the crop keeps, in (0, 1].
        interpolation: As timm and PIL call it: "bicubic", "bilinear", "nearest", ….
        crop_mode: "center" scales the shorter side and crops the middle; "squash" scales both
            sides, so that with ``crop_pct`` 1.0 the whole frame is kept and its aspect is not.

    Raises:
        RegateError: If a value is outside its range, or a mode is unknown.
    """

    size: tuple[int, int]
    crop_pct: float = 1.0
    interpolation: str = "bicubic"
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        """Refuse what the resize would only fail on in the middle of a run."""
        if min(self.size) < 1:
            raise RegateError(f"image size must be at least 1x1 pixel, got {self.size}.")
        if not 0.0 < self.crop_pct <= 1.0:
            raise RegateError(f"crop_pct must be in (0, 1], got {self.crop_pct}.")
        if self.interpolation not in INTERPOLATIONS:
            raise RegateError(
                f"interpolation must be one of {', '.join(INTERPOLATIONS)}, "
                f"got '{self.interpolation}'."
            )
        if self.crop_mode not in CROP_MODES:
            raise RegateError(
                f"crop_mode must be one of {', '.join(CROP_MODES)}, got '{self.crop_mode}'."
            )

    def __call__(self, images: NDArray[np.uint8] | Tensor) -> Tensor:
        """Resize and crop ``images``, uint8 [..., h, w, 3].

        Returns:
            uint8 [..., 3, h', w'] with (h', w') = ``size``.

        Raises:
            RegateError: If the images are not uint8 with three channels last, or have no pixels.
        """
        shape, dtype = tuple(images.shape), str(images.dtype).removeprefix("torch.")
        if len(shape) < 3 or shape[-1] != 3 or dtype != "uint8":
            raise RegateError(
                f"frames must be uint8 of shape [..., h, w, 3] (RGB, channels last), "
                f"got {dtype} of shape {list(shape)}."
            )
        if 0 in shape[-3:-1]:
            raise RegateError(
                f"frames of {shape[-3]}x{shape[-2]} pixels are empty: check what they are cut from."
            )
        array = images.numpy(force=True) if isinstance(images, Tensor) else images
        stack = array.reshape(-1, *shape[-3:])
        height, width = self._resized_size(shape[-3], shape[-2])
        top = round((height - self.size[0]) / 2)
        left = round((width - self.size[1]) / 2)
        result = np.empty((len(stack), *self.size, 3), dtype=np.uint8)
        for image, place in zip(stack, result, strict=True):
            resized = self._resize(image, height, width)
            place[:] = resized[top : top + self.size[0], left : left + self.size[1]]
        frames = torch.from_numpy(result.reshape(*shape[:-3], *self.size, 3))
        return frames.movedim(-1, -3).contiguous()

    def _resize(self, image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        if image.shape[:2] == (height, width):
            return image
        method = Image.Resampling[self.interpolation.upper()]
        resized = Image.fromarray(np.ascontiguousarray(image)).resize((width, height), method)
        return np.asarray(resized)

    def _resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Size before the crop, rounded as timm and torchvision round it."""
        target_h, target_w = (math.floor(side / self.crop_pct) for side in self.size)
        if self.crop_mode == "squash":
            return target_h, target_w
        if target_h == target_w:  # torchvision's Resize(int) truncates the longer side
            if height <= width:
                return target_h, int(target_h * width / height)
            return int(target_w * height / width), target_w
        ratio = min(height / target_h, width / target_w)  # timm's ResizeKeepRatio rounds
        return round(height / ratio), round(width / ratio)
