"""Small backbones, and a photograph to look at."""

import numpy as np
import pytest
import timm
import torch

from backbones import Backbone
from datamodules.geometry import ResizeCrop


@pytest.fixture(scope="session")
def make_backbone():
    """Build a float32 backbone of two blocks of width 32, with weights under which all matters."""

    def make(name="vit_tiny_patch16_224", mean=(0.5,) * 3, std=(0.5,) * 3, **changes):
        small = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 48, "num_classes": 5}
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            model = timm.create_model(name, **(small | changes))
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        return Backbone(model, name, ResizeCrop(tuple(model.patch_embed.img_size)), mean, std)

    return make


@pytest.fixture(scope="session")
def photograph():
    """A picture with edges, gradients and noise, uint8 [150, 210, 3]."""
    rows, columns = np.mgrid[0:150, 0:210]
    generator = np.random.default_rng(0)
    picture = np.stack(
        [rows * 1.5, columns, 120 + 100 * np.sin(rows / 9) * np.cos(columns / 7)], axis=-1
    )
    picture[40:90, 60:140] = (200, 30, 90)
    picture += generator.normal(0, 6, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)
