"""The small backbone that ships with the project, and frames for it."""

import pytest
import torch

from backbones.loading import load_backbone


@pytest.fixture(scope="package")
def backbone():
    """With random weights: nothing here depends on them."""
    return load_backbone("regate_vit_digits", weights="random")


@pytest.fixture
def frames(backbone):
    """Six frames of two streams of which every patch changes each time."""
    generator = torch.Generator().manual_seed(1)
    shape = (6, 2, backbone.in_chans, *backbone.image_size)
    return torch.randn(shape, generator=generator)
