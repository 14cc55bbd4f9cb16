"""A backbone is the timm model, frozen, with its own preprocessing."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from backbones import Preprocessing, load_backbone
from datamodules.errors import RegateError


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vit_tiny_patch16_224", {}),
        ("deit_tiny_distilled_patch16_224", {}),
        ("vit_base_patch16_siglip_224", {}),
        ("vit_base_patch16_siglip_gap_224", {}),
        ("vit_small_patch14_reg4_dinov2", {"img_size": 56}),
        ("vit_base_patch16_clip_224", {"num_classes": 0}),
        ("vit_tiny_patch16_224", {"img_size": (48, 80), "dynamic_img_size": True}),
    ],
)
def test_its_three_parts_in_a_row_are_the_model(make_backbone, name, changes):
    backbone = make_backbone(name, **changes).double()
    frames = torch.randn(2, 3, *backbone.image_size, dtype=torch.float64)
    tokens = backbone.embed(frames)
    assert tokens.shape == (2, backbone.num_tokens, 32)
    for block in backbone.blocks:
        tokens = block(tokens)
    logits, features, patches = backbone.head(tokens)

    assert (logits - backbone.vit(frames)).abs().max() < 1e-9
    assert torch.equal(backbone(frames), backbone.vit(frames))
    expected = backbone.vit.forward_features(frames)
    assert (features - backbone.vit.forward_head(expected, pre_logits=True)).abs().max() < 1e-9
    assert (patches - expected[:, backbone.num_prefix_tokens :]).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("name", "changes", "prefix", "grid"),
    [
        ("vit_tiny_patch16_224", {}, 1, (3, 3)),
        ("vit_tiny_patch16_224", {"img_size": (48, 80)}, 1, (3, 5)),
        ("deit_tiny_distilled_patch16_224", {}, 2, (3, 3)),
        ("vit_base_patch16_siglip_224", {}, 0, (3, 3)),
        ("vit_small_patch14_reg4_dinov2", {"img_size": 56}, 5, (4, 4)),
    ],
)
def test_it_knows_its_tokens(make_backbone, name, changes, prefix, grid):
    backbone = make_backbone(name, **changes)
    assert backbone.num_prefix_tokens == prefix and backbone.grid == grid
    assert backbone.num_tokens == prefix + grid[0] * grid[1]
    assert (backbone.dim, backbone.depth, backbone.num_heads) == (32, 2, 2)
    assert backbone.num_classes == 5 and backbone.in_chans == 3


def test_it_is_frozen_and_stays_in_eval_mode(make_backbone):
    backbone = make_backbone(proj_drop_rate=0.5, drop_path_rate=0.5)
    backbone.train()
    frames = torch.randn(1, 3, 48, 48)

    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert torch.equal(backbone(frames), backbone(frames))


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",  # crop 0.9
        "deit_tiny_patch16_224",  # other mean and std
        "vit_small_patch16_384",  # no crop
        "vit_base_patch16_clip_quickgelu_224",
    ],
)
@pytest.mark.parametrize("turned", [False, True], ids=["landscape", "portrait"])
def test_preprocessing_is_timms_own_to_two_grey_levels(photograph, name, turned):
    image = np.ascontiguousarray(photograph.transpose(1, 0, 2)) if turned else photograph
    backbone = load_backbone(name, weights="random", num_classes=0)
    transform = timm.data.create_transform(
        **timm.data.resolve_model_data_config(backbone.vit), is_training=False
    )
    expected = transform(Image.fromarray(image))
    levels = (backbone.preprocess(image) - expected) * backbone.std * 255

    assert levels.abs().max() <= 2.01
    assert levels.abs().mean() < 0.5


def test_preprocessing_takes_views_such_as_a_turned_channel_order(make_backbone, photograph):
    backbone = make_backbone()
    blue_first = photograph[:, :, ::-1]
    assert torch.equal(
        backbone.preprocess(blue_first), backbone.preprocess(np.ascontiguousarray(blue_first))
    )


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((48, 48, 3), np.float32), r"got float32 \[48, 48, 3\]: decode it to RGB"),
        (np.zeros((48, 48, 4), np.uint8), r"got uint8 \[48, 48, 4\]"),
        (np.zeros((48, 48), np.uint8), r"got uint8 \[48, 48\]"),
        (np.zeros((2, 48, 48, 3), np.uint8), r"got uint8 \[2, 48, 48, 3\]"),
        (Image.new("RGB", (48, 48)), "got a Image: convert it with numpy.asarray first"),
    ],
)
def test_an_image_of_another_kind_is_refused(make_backbone, image, found):
    expected = r"an image for vit_tiny_patch16_224 must be uint8 \[height, width, 3\], "
    with pytest.raises(RegateError, match=expected + found):
        make_backbone().preprocess(image)


def test_normalising_is_by_channel_on_the_unit_scale(make_backbone):
    backbone = make_backbone(mean=(0, 0.5, 1), std=(1, 0.5, 0.25))
    frames = torch.tensor([0, 255, 255], dtype=torch.uint8).view(1, 3, 1, 1)

    assert backbone.normalize(frames).flatten().tolist() == [0, 1, 0]
    assert backbone.normalize(frames.expand(2, 4, 3, 1, 1)).shape == (2, 4, 3, 1, 1)
    assert backbone.half().normalize(frames).dtype == torch.float16


def test_whole_numbers_as_mean_and_std_do_not_make_whole_frames(make_backbone):
    backbone = make_backbone(mean=(0, 0, 0), std=(1, 1, 1))
    assert backbone.normalize(torch.full((3, 1, 1), 51, dtype=torch.uint8)).dtype == torch.float32


def test_it_says_what_it_does_to_an_image_also_when_its_weights_are_rounded(make_backbone):
    backbone = make_backbone(mean=(0, 0.1, 1), std=(1, 0.3, 0.25)).half()

    assert backbone.preprocessing == Preprocessing(
        image_size=48,
        mean=(0.0, 0.1, 1.0),
        std=(1.0, 0.3, 0.25),
        crop_pct=1.0,
        interpolation="bicubic",
    )
    assert make_backbone(img_size=(48, 64)).preprocessing.image_size is None


def test_mean_and_std_must_fit_the_channels(make_backbone):
    expected = "mean has 1 and std 3 values, but vit_tiny_patch16_224 takes 3 channels"
    with pytest.raises(RegateError, match=expected):
        make_backbone(mean=(0.5,))


def test_the_fingerprint_is_that_of_the_weights(make_backbone):
    backbone = make_backbone()
    before = backbone.fingerprint
    assert len(before) == 16 and int(before, 16) > 0
    assert make_backbone().fingerprint == before
    assert backbone.half().fingerprint == before, "half precision serves the same model"

    other = make_backbone()
    other.vit.blocks[1].mlp.fc2.bias[3] += 1e-3
    rebuilt = type(other)(other.vit, other.name, other.resize_crop, (0.5,) * 3, (0.5,) * 3)
    assert rebuilt.fingerprint != before
