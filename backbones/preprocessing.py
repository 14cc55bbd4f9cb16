"""What happens to an image before a backbone sees it, and how a user may change it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch
from timm.data import resolve_model_data_config
from timm.models.vision_transformer import VisionTransformer

from datamodules.errors import RegateError
from datamodules.geometry import INTERPOLATIONS, ResizeCrop

CURE = "divide by 255 what is meant for pixels of 0 to 255, or leave it to the model"


@dataclass(frozen=True)
class Preprocessing:
    """Settings between a decoded image and a frame; what is None is the model's own.

    Args:
        image_size: Side of the square frame in pixels, a multiple of the patch size; the model's
            own by default. The position embedding is resampled to it once.
        mean: Per channel on the [0, 1] scale, subtracted from the pixels; the model's own by
            default.
        std: Per channel on the [0, 1] scale, which the pixels are then divided by; the model's
            own by default.
        crop_pct: Share of the resized image's side that the centre crop keeps, in (0, 1]; the
            model's own by default.
        interpolation: Of the resize: bicubic, bilinear, nearest, lanczos, box or hamming; the
            model's own by default.

    Raises:
        RegateError: If a value is outside its range.
    """

    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float | None = None
    interpolation: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no model could have, before one is loaded."""
        if self.image_size is not None and self.image_size < 1:
            raise RegateError(
                f"image_size must be 1 pixel or more, got {self.image_size}: give a multiple of "
                "the model's patch size, such as 224"
            )
        for value in self.mean or ():
            if not 0 <= value <= 1:
                raise RegateError(f"mean must be in [0, 1] in each channel, got {value:g}: {CURE}")
        for value in self.std or ():
            if not 0 < value <= 1:
                raise RegateError(f"std must be in (0, 1] in each channel, got {value:g}: {CURE}")
        if self.interpolation not in (None, *INTERPOLATIONS):
            raise RegateError(
                f"interpolation must be one of {', '.join(INTERPOLATIONS)}, "
                f"got {self.interpolation!r}"
            )
        if self.crop_pct is not None and not 0 < self.crop_pct <= 1:
            raise RegateError(
                f"crop_pct must be in (0, 1], got {self.crop_pct:g}: 1.0 keeps the whole image"
            )

    def over(self, other: Self) -> Self:
        """These settings, and where they are None those of ``other``."""
        return type(self)(**(asdict(other) | self.given()))

    def given(self) -> dict[str, Any]:
        """The settings that are not left to the model."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """All settings, in values that JSON has."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Settings that ``to_json`` gave; what it did not know yet is None."""
        known: dict[str, Any] = {field.name: values.get(field.name) for field in fields(cls)}
        for name, value in known.items():
            known[name] = tuple(value) if isinstance(value, list) else value
        return cls(**known)


# A task that is made in Python puts its settings into its checkpoints, which are only read with
# weights_only: of the classes in them, those named here.
torch.serialization.add_safe_globals([Preprocessing])


Scale = tuple[float, ...]


def check_channels(name: str, channels: int, mean: Scale, std: Scale) -> None:
    """Refuse a mean or std that broadcasting would stretch or fail on.

    Raises:
        RegateError: If either has not one value for each of the ``channels`` of a model.
    """
    if len(mean) != channels or len(std) != channels:
        raise RegateError(
            f"mean has {len(mean)} and std {len(std)} values, but {name} takes {channels} "
            "channels: give one value per channel"
        )


def resolve(model: VisionTransformer, asked: Preprocessing) -> tuple[ResizeCrop, Scale, Scale]:
    """Fill in what a timm model was evaluated with.

    Args:
        model: Made at the image size asked for.
        asked: By the user.

    Returns:
        Geometry, mean and std.
    """
    data = resolve_model_data_config(model)
    # The data config ignores the image size given at creation; the patch embedding knows it.
    height, width = model.patch_embed.img_size
    geometry = ResizeCrop(
        size=(int(height), int(width)),
        crop_pct=asked.crop_pct or data["crop_pct"],
        interpolation=asked.interpolation or data["interpolation"],
        crop_mode=data["crop_mode"],
    )
    return geometry, asked.mean or data["mean"], asked.std or data["std"]
