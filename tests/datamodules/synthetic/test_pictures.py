import numpy as np
import pytest

from datamodules.base import SPLITS
from datamodules.synthetic.pictures import digits, regions


def test_digits_of_the_splits_are_disjoint_and_complete():
    counts = {split: len(digits(split).labels) for split in SPLITS}
    drawn = [image.tobytes() for split in SPLITS for image in digits(split).images]

    assert counts == {"train": 1200, "calibration": 300, "test": 297}
    assert len(set(drawn)) == len(drawn) == 1797  # no two of the 1,797 are alike


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_every_class(split):
    assert np.bincount(digits(split).labels, minlength=10).min() >= 25


def test_regions_of_the_splits_are_disjoint():
    names = {split: {region.name for region in regions(split)} for split in SPLITS}

    assert {split: len(found) for split, found in names.items()} == {
        "train": 24,
        "calibration": 12,
        "test": 12,
    }
    assert len(set().union(*names.values())) == 48


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_sees_both_photographs(split):
    names = [region.name for region in regions(split)]

    assert sum(name.startswith("china") for name in names) == len(names) / 2
    assert all(region.pixels.shape == (106, 106, 3) for region in regions(split))
