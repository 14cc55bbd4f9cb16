"""A frozen timm Vision Transformer, opened at the three places where tokens are reused."""

import hashlib
from collections.abc import Iterator
from typing import Self, cast

import numpy as np
import numpy.typing as npt
import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from backbones.coverage import attention, check_covered
from backbones.preprocessing import Preprocessing, check_channels
from datamodules.errors import RegateError
from datamodules.geometry import ResizeCrop


class Backbone(nn.Module):
    """A frozen ViT in eval mode: ``embed`` → ``blocks`` → ``head``.

    timm's own modules do the work and are not changed in any way; ``head(blocks(embed(x)))`` is
    the model's ``forward``.

    Args:
        model: A timm model; see ``backbones.coverage`` for which are covered.
        name: timm's name of it, for messages, run names and gate files.
        resize_crop: From a decoded image to the model's input size.
        mean: Per channel, on the [0, 1] scale.
        std: Per channel, on the [0, 1] scale.

    Attributes:
        preprocessing: All that ``preprocess`` does to an image; ``image_size`` is None where
            frames are not square, as only a model's own can be.
        fingerprint: Identity of the weights it was made with, as 16 hexadecimal digits.

    Raises:
        RegateError: If the model is not covered, or ``mean`` and ``std`` are out of range or do
            not fit its channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        name: str,
        resize_crop: ResizeCrop,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.vit: VisionTransformer = check_covered(model, name)
        self.name = name
        self.resize_crop = resize_crop
        self.in_chans: int = self.vit.in_chans
        check_channels(name, self.in_chans, mean, std)
        # Whole numbers would make an integer tensor, and every frame with it.
        mean, std = tuple(map(float, mean)), tuple(map(float, std))
        for key, values in (("mean", mean), ("std", std)):
            self.register_buffer(key, torch.tensor(values).view(-1, 1, 1), persistent=False)
        height, width = self.image_size
        # Not of the buffers, which are rounded where the backbone serves in half precision.
        self.preprocessing = Preprocessing(
            image_size=height if height == width else None,
            mean=mean,
            std=std,
            crop_pct=resize_crop.crop_pct,
            interpolation=resize_crop.interpolation,
        )
        self.requires_grad_(False)
        self.eval()
        # Taken here, so that serving in half precision is still the same backbone.
        self.fingerprint = _fingerprint(self.vit)

    @property
    def blocks(self) -> list[Block]:
        """The transformer blocks, in order."""
        return cast(list[Block], list(self.vit.blocks))

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.vit.blocks)

    @property
    def dim(self) -> int:
        """Token width d."""
        return int(self.vit.embed_dim)

    @property
    def num_heads(self) -> int:
        """Attention heads per block."""
        return attention(self.blocks[0]).num_heads

    @property
    def num_prefix_tokens(self) -> int:
        """Class, distillation and register tokens, which come before the patches."""
        return int(self.vit.num_prefix_tokens)

    @property
    def grid(self) -> tuple[int, int]:
        """Patch rows and columns."""
        rows, columns = self.vit.patch_embed.grid_size
        return int(rows), int(columns)

    @property
    def num_tokens(self) -> int:
        """Tokens per frame, prefix tokens included."""
        return self.num_prefix_tokens + self.grid[0] * self.grid[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of a preprocessed frame, in pixels."""
        height, width = self.vit.patch_embed.img_size
        return int(height), int(width)

    @property
    def num_classes(self) -> int:
        """Logits per frame; 0 for a model without classifier, whose logits are its features."""
        return int(self.vit.num_classes)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: Lightning puts every child in train mode, and dropout would wake."""
        return super().train(False)

    def preprocess(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """From one decoded image, uint8 [h, w, c], to a frame, float [c, h, w].

        Raises:
            RegateError: If the image is no uint8 array, not three-dimensional, or has other
                channels.
        """
        expected = f"an image for {self.name} must be uint8 [height, width, {self.in_chans}]"
        if not isinstance(image, np.ndarray):
            raise RegateError(
                f"{expected}, got a {type(image).__name__}: convert it with numpy.asarray first"
            )
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != self.in_chans:
            raise RegateError(
                f"{expected}, got {image.dtype} {list(image.shape)}: decode it to RGB first"
            )
        return self.normalize(self.resize_crop(image))

    def normalize(self, frames: Tensor) -> Tensor:
        """From uint8 [..., c, h, w] to the model's scale, in the dtype of its weights."""
        return (frames.to(self.mean.device, self.mean.dtype) / 255 - self.mean) / self.std

    def embed(self, frames: Tensor) -> Tensor:
        """From frames [b, c, h, w] to the first block's input [b, n, d]."""
        vit = self.vit
        tokens: Tensor = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(frames))))
        # Without prefix tokens nothing has undone the transpose in the patch embedding.
        return tokens.contiguous()

    def head(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From the last block's output [b, n, d] to what users read.

        Returns:
            Logits [b, k], pooled features [b, d], patch tokens after the final norm [b, p, d].
        """
        vit = self.vit
        tokens = vit.norm(tokens)
        features: Tensor = vit.forward_head(tokens, pre_logits=True)
        if type(vit).forward_head is VisionTransformer.forward_head:
            logits: Tensor = vit.head(features)
        else:  # distilled DeiT averages two classifiers, not two features
            logits = vit.forward_head(tokens)
        return logits, features, tokens[:, self.num_prefix_tokens :]

    def forward(self, frames: Tensor) -> Tensor:
        """The untouched model: frames [b, c, h, w] → logits [b, k], every token computed."""
        logits: Tensor = self.vit(frames)
        return logits

    def head_modules(self) -> Iterator[nn.Linear]:
        """The classifiers that ``head`` applies to each frame once."""
        for attribute in ("head", "head_dist"):
            module = getattr(self.vit, attribute, None)
            if isinstance(module, nn.Linear):
                yield module


def _fingerprint(model: nn.Module) -> str:
    """Identity of a model's weights, as 16 hexadecimal digits.

    The position embedding is left out: resampled to another image size it is still the same
    model, and a gate trained on it still fits.
    """
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        if key != "pos_embed":
            digest.update(key.encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
