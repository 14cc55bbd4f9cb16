import numpy as np
import pytest

from datamodules.synthetic.pictures import regions
from datamodules.synthetic.render import Recipe, render


def recipe(draw=0, plain=False, split="train", seed=0, region=0):
    return Recipe(split=split, seed=seed, draw=draw, region=region, plain=plain)


def test_a_clip_has_a_label_for_each_frame():
    frames, labels = render(recipe(), 16)

    assert (frames.shape, frames.dtype) == ((16, 96, 96, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((16,), np.int64)
    assert labels.min() >= 0
    assert labels.max() <= 9


def test_a_clip_depends_on_its_recipe_alone():
    first, _ = render(recipe(draw=3), 8)
    render(recipe(draw=4), 8)
    again, _ = render(recipe(draw=3), 8)

    assert np.array_equal(first, again)


@pytest.mark.parametrize("change", [{"draw": 1}, {"seed": 1}, {"split": "test"}, {"region": 1}])
def test_each_part_of_the_recipe_matters(change):
    assert not np.array_equal(render(recipe(), 8)[0], render(recipe(**change), 8)[0])


def test_a_plain_clip_changes_only_where_the_digit_is():
    changed = []
    for draw in range(20):
        frames, labels = render(recipe(draw=draw, plain=True), 16)
        still = (frames == frames[0]).all(axis=(0, 3))  # [h, w]
        changed.append(1 - still.mean())

        assert len(set(labels)) == 1
        # A digit of at most 36 pixels with its halo, moved by at most 45, covers no more.
        assert changed[-1] < 0.9
    assert np.median(changed) < 0.5


def test_a_busy_clip_has_noise_everywhere():
    frames, _ = render(recipe(draw=1), 16)

    assert ((frames != frames[0]).any(axis=(0, 3))).mean() > 0.95


def test_noise_is_a_few_grey_levels_and_the_light_drifts_slowly():
    deviations, drifts = [], []
    for draw in range(40):
        frames, _ = render(recipe(draw=draw), 16)
        differences = np.diff(frames[..., 1].astype(float), axis=0)
        typical = np.median(np.abs(differences))
        deviations.append(typical)
        brightness = np.median(frames, axis=(1, 2, 3))
        drifts.append(np.ptp(brightness) / max(1, brightness.mean()))

    assert 1 <= np.median(deviations) <= 6
    assert 0.02 < np.median(drifts) < 0.3


def test_half_of_the_busy_clips_change_their_digit_in_the_middle():
    changes = 0
    for draw in range(200):
        _, labels = render(recipe(draw=draw), 16)
        at = np.flatnonzero(np.diff(labels))
        assert len(at) <= 1
        if len(at):
            changes += 1
            assert 4 <= at[0] + 1 <= 12

    assert 80 <= changes <= 120


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_short_clips_can_be_drawn(num_frames):
    for draw in range(10):
        frames, labels = render(recipe(draw=draw), num_frames)
        assert len(frames) == len(labels) == num_frames


def test_the_background_is_the_region_named():
    region = regions("test")[5].pixels
    frames, _ = render(recipe(split="test", region=5, plain=True), 1)
    places = [
        (image == frames[0]).all(axis=-1).mean()
        for top in range(11)
        for left in range(11)
        for image in [region[top : top + 96, left : left + 96]]
        for image in (image, image[:, ::-1])
    ]

    assert max(places) > 0.75  # all but the digit
