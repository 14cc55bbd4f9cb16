import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data import create_transform

from datamodules.errors import RegateError
from datamodules.geometry import ResizeCrop


def timm_transform(image, size, crop_pct, interpolation, crop_mode):
    transform = create_transform(
        (3, *size), crop_pct=crop_pct, interpolation=interpolation, crop_mode=crop_mode
    )
    pixels = [step for step in transform.transforms if type(step).__name__ != "Normalize"]
    result = Image.fromarray(image)
    for step in pixels:
        result = step(result)
    return (result * 255).round().to(torch.uint8)


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 1.0])
@pytest.mark.parametrize("size", [(224, 224), (96, 96), (160, 96)])
@pytest.mark.parametrize("shape", [(427, 640), (640, 427), (241, 241), (90, 61)])
def test_equals_the_models_own_transform(shape, size, crop_pct, interpolation, crop_mode):
    photograph = load_sample_image("china.jpg")
    turned = photograph if shape[0] <= shape[1] else photograph.transpose(1, 0, 2)
    image = np.ascontiguousarray(turned[: shape[0], : shape[1]])

    ours = ResizeCrop(size, crop_pct, interpolation, crop_mode)(image)
    theirs = timm_transform(image, size, crop_pct, interpolation, crop_mode)

    assert ours.shape == theirs.shape == (3, *size)
    assert torch.equal(ours, theirs)


def test_a_stack_of_frames_equals_its_frames_one_by_one():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 30, 40, 3), dtype=np.uint8)
    resize_crop = ResizeCrop((16, 16), 0.9)

    stacked = resize_crop(images)

    assert stacked.shape == (2, 3, 3, 16, 16)
    assert torch.equal(stacked[1, 2], resize_crop(images[1, 2]))


def test_an_image_of_the_right_size_is_not_touched():
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)

    assert torch.equal(ResizeCrop((96, 96))(image), torch.from_numpy(image).permute(2, 0, 1))


def test_tensors_and_turned_arrays_are_taken_as_well():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    resize_crop = ResizeCrop((8, 8))

    turned = np.rot90(image)  # a view with negative strides

    assert torch.equal(resize_crop(torch.from_numpy(image)), resize_crop(image))
    assert torch.equal(resize_crop(turned), resize_crop(turned.copy()))


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (np.zeros((8, 8), np.uint8), r"got uint8 of shape \[8, 8\]"),
        (np.zeros((8, 8, 4), np.uint8), r"got uint8 of shape \[8, 8, 4\]"),
        (np.zeros((3, 8, 8), np.uint8), r"got uint8 of shape \[3, 8, 8\]"),
        (np.zeros((8, 8, 3), np.float32), r"got float32 of shape \[8, 8, 3\]"),
    ],
)
def test_wrong_frames_are_rejected(images, found):
    with pytest.raises(RegateError, match=r"must be uint8 of shape \[..., h, w, 3\].*" + found):
        ResizeCrop((8, 8))(images)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"size": (0, 8)}, r"image size must be at least 1x1 pixel, got \(0, 8\)"),
        ({"size": (8, 8), "crop_pct": 0.0}, r"crop_pct must be in \(0, 1\], got 0.0"),
        ({"size": (8, 8), "crop_pct": 1.1}, r"crop_pct must be in \(0, 1\], got 1.1"),
        ({"size": (8, 8), "interpolation": "cubic"}, "interpolation must be one of .* 'cubic'"),
        ({"size": (8, 8), "crop_mode": "border"}, "crop_mode must be one of .* 'border'"),
    ],
)
def test_values_out_of_range_are_rejected(arguments, text):
    with pytest.raises(RegateError, match=text):
        ResizeCrop(**arguments)


@pytest.mark.parametrize("shape", [(0, 8, 3), (8, 0, 3), (2, 0, 0, 3)])
def test_an_image_without_pixels_is_refused(shape):
    height, width = shape[-3:-1]
    with pytest.raises(RegateError, match=f"frames of {height}x{width} pixels are empty: check"):
        ResizeCrop((8, 8))(np.zeros(shape, np.uint8))


def test_no_image_at_all_is_a_stack_of_none():
    assert ResizeCrop((8, 8))(np.zeros((0, 5, 6, 3), np.uint8)).shape == (0, 3, 8, 8)
