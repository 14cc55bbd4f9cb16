"""What a user may change between an image and a frame, and what is refused."""

import json

import pytest

from backbones import Preprocessing
from datamodules.errors import RegateError

FULL = Preprocessing(224, (0.5, 0.4, 0.3), (0.25, 0.25, 0.25), 0.9, "bicubic")


def test_what_is_given_wins_and_the_rest_is_the_others():
    asked = Preprocessing(mean=(0.0, 0.0, 0.0), crop_pct=1.0)

    assert asked.given() == {"mean": (0.0, 0.0, 0.0), "crop_pct": 1.0}
    assert asked.over(FULL) == Preprocessing(
        224, (0.0, 0.0, 0.0), (0.25, 0.25, 0.25), 1.0, "bicubic"
    )
    assert Preprocessing().over(FULL) == FULL
    assert Preprocessing().given() == {}


def test_it_goes_through_json_and_takes_what_an_older_version_wrote():
    assert Preprocessing.from_json(json.loads(json.dumps(FULL.to_json()))) == FULL
    assert Preprocessing.from_json({"crop_pct": 1.0}) == Preprocessing(crop_pct=1.0)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"image_size": 0},
            "image_size must be 1 pixel or more, got 0: give a multiple of the model's patch "
            "size, such as 224",
        ),
        (
            {"mean": (0.4, 123.675, 0.4)},
            "mean must be in [0, 1] in each channel, got 123.675: divide by 255 what "
            "is meant for pixels of 0 to 255, or leave it to the model",
        ),
        (
            {"std": (0.2, 0.2, 0.0)},
            "std must be in (0, 1] in each channel, got 0: divide by 255 what "
            "is meant for pixels of 0 to 255, or leave it to the model",
        ),
        (
            {"std": (0.2, float("nan"), 0.2)},
            "std must be in (0, 1] in each channel, got nan: divide by 255 what "
            "is meant for pixels of 0 to 255, or leave it to the model",
        ),
        (
            {"interpolation": "cubic"},
            "interpolation must be one of bicubic, bilinear, nearest, lanczos, box, hamming, got "
            "'cubic'",
        ),
        ({"crop_pct": 0.0}, "crop_pct must be in (0, 1], got 0: 1.0 keeps the whole image"),
        ({"crop_pct": 1.5}, "crop_pct must be in (0, 1], got 1.5: 1.0 keeps the whole image"),
    ],
)
def test_a_value_out_of_range_is_refused(settings, told):
    with pytest.raises(RegateError) as error:
        Preprocessing(**settings)
    assert str(error.value) == told


def test_the_ends_of_the_ranges_are_allowed():
    least = Preprocessing(image_size=1, mean=(0.0, 1.0), std=(0.001, 1.0), crop_pct=1.0)
    assert (least.image_size, least.mean, least.crop_pct) == (1, (0.0, 1.0), 1.0)
