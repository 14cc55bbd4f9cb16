"""The real pictures behind the synthetic video, dealt out to the splits once and for all.

scikit-learn ships 1,797 handwritten digits (UCI optdigits) and two photographs (china.jpg and
flower.jpg, CC BY). Which split a picture belongs to never depends on a seed: a backbone trained
under one seed must not have seen the test pictures of another.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_sample_images

from datamodules.base import Split

REGION_SIDE = 106
"""Pixels; 4 x 6 regions fill a photograph of 427 x 640, each a little larger than a frame."""
REGION_ROWS, REGION_COLUMNS = 4, 6

# The digits lie in the order they were collected, writer by writer: shares made of runs keep
# neighbours, and with them most of a writer's digits, on one side.
DIGIT_RUN = 50
DIGIT_SHARES: dict[Split, frozenset[int]] = {
    "train": frozenset({0, 1, 2, 3}),
    "calibration": frozenset({4}),
    "test": frozenset({5}),
}
# Every split gets regions from all over both photographs: 24, 12 and 12 of them.
REGION_SHARES: dict[Split, frozenset[int]] = {
    "train": frozenset({0, 1}),
    "calibration": frozenset({2}),
    "test": frozenset({3}),
}


class Digits(NamedTuple):
    """Handwritten digits of one split."""

    images: NDArray[np.uint8]
    """[n, 8, 8], ink in 0..255."""
    labels: NDArray[np.int64]
    """[n], 0..9."""


class Region(NamedTuple):
    """A square piece of a photograph."""

    name: str
    """For example "china-r2c5"."""
    pixels: NDArray[np.uint8]
    """[106, 106, 3], RGB."""


@cache
def digits(split: Split) -> Digits:
    """The split's share of the handwritten digits."""
    images, labels = load_digits(return_X_y=True)
    runs = np.arange(len(labels)) // DIGIT_RUN % 6
    share = np.isin(runs, list(DIGIT_SHARES[split]))
    ink = (images[share].reshape(-1, 8, 8) * 255 / 16).round().astype(np.uint8)
    return Digits(ink, labels[share].astype(np.int64))


@cache
def regions(split: Split) -> tuple[Region, ...]:
    """The split's share of the photographs' regions."""
    photographs = load_sample_images()
    share = REGION_SHARES[split]
    found = []
    for photograph, file in zip(photographs.images, photographs.filenames, strict=True):
        stem = str(file).replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".jpg")
        for row in range(REGION_ROWS):
            for column in range(REGION_COLUMNS):
                if (row + column) % 4 not in share:
                    continue
                top, left = row * REGION_SIDE, column * REGION_SIDE
                pixels = photograph[top : top + REGION_SIDE, left : left + REGION_SIDE]
                found.append(Region(f"{stem}-r{row}c{column}", np.ascontiguousarray(pixels)))
    return tuple(found)
