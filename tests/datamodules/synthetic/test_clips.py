import numpy as np
import pytest
import torch

from datamodules.base import SPLITS
from datamodules.errors import RegateError
from datamodules.geometry import ResizeCrop
from datamodules.synthetic import SyntheticClips, generator_fingerprint


def test_the_generator_has_not_changed_unnoticed():
    # Results and shipped weights hold for these clips: retrain and remeasure before a new value.
    assert (
        generator_fingerprint()
        == "613c3bf3e4df8faacadb818f50c3bb3dee79cf3733f71ed25675864555ec26c9"
    )


def test_clips_have_the_shape_that_was_asked_for():
    data = SyntheticClips(num_frames=5, train_clips=7, calibration_clips=3, test_clips=4)

    assert [len(data.dataset(split)) for split in SPLITS] == [7, 3, 4]
    clip = data.dataset("train")[0]
    assert (clip.frames.shape, clip.frames.dtype) == ((5, 3, 96, 96), torch.uint8)
    assert (clip.labels.shape, clip.labels.dtype) == ((5,), torch.int64)


def test_every_fourth_clip_is_plain_and_says_so():
    clips = SyntheticClips(test_clips=6).dataset("test")

    assert clips.names == (
        "test/plain/0000",
        "test/busy/0001",
        "test/busy/0002",
        "test/busy/0003",
        "test/plain/0004",
        "test/busy/0005",
    )
    assert clips[4].name == "test/plain/0004"


def test_48_test_clips_show_each_region_four_times_and_once_plain():
    clips = SyntheticClips(test_clips=48).dataset("test")
    plain = [g for g, name in zip(clips.groups, clips.names, strict=True) if "plain" in name]

    assert sorted(clips.groups.count(group) for group in set(clips.groups)) == [4] * 12
    assert len(plain) == len(set(plain)) == 12


@pytest.mark.parametrize("kind", ["plain", "busy"])
def test_test_clips_of_one_kind_are_those_among_all(kind):
    every = SyntheticClips(test_clips=8).dataset("test")
    data = SyntheticClips(test_clips=8, calibration_clips=5, test_kind=kind)
    clips = data.dataset("test")

    assert clips.names == tuple(name for name in every.names if kind in name)
    for place, name in enumerate(clips.names):
        clip = clips[place]
        assert (clip.name, clip.group) == (name, clips.groups[place])
        assert torch.equal(clip.frames, every[every.names.index(name)].frames)
    assert len(data.dataset("calibration")) == 5
    assert data.describe()["test_kind"] == kind


def test_a_kind_that_is_not_there_is_refused():
    with pytest.raises(RegateError, match="test_kind must be all, plain or busy, got 'dull'"):
        SyntheticClips(test_kind="dull")


def test_groups_of_the_splits_are_disjoint():
    data = SyntheticClips()
    groups = [set(data.dataset(split).groups) for split in SPLITS]

    assert sum(map(len, groups)) == len(set().union(*groups)) == 48


def test_training_clips_are_new_in_each_epoch_and_the_others_are_not():
    data = SyntheticClips(train_clips=8, calibration_clips=8, test_clips=8)
    same = {
        split: np.array_equal(data.dataset(split)[1].frames, data.dataset(split)[8 + 1].frames)
        for split in SPLITS
    }

    assert same == {"train": False, "calibration": True, "test": True}
    assert data.dataset("train")[8 + 1].name == data.dataset("train")[1].name
    assert data.dataset("train")[8 + 1].group == data.dataset("train")[1].group


def test_frames_are_resized_to_the_backbone_but_never_cropped():
    native = SyntheticClips().dataset("test")[0].frames
    data = SyntheticClips()
    data.resize_crop = ResizeCrop((48, 48), crop_pct=0.5)
    small = data.dataset("test")[0].frames

    assert small.shape[-2:] == (48, 48)
    averaged = torch.nn.functional.avg_pool2d(native.float(), 2)
    assert (averaged - small).abs().mean() < 4

    data.resize_crop = ResizeCrop((96, 96), crop_pct=0.9)
    assert torch.equal(data.dataset("test")[0].frames, native)


def test_describe_fingerprints_the_names_and_counts_the_groups():
    described = SyntheticClips(train_clips=8, calibration_clips=8, test_clips=24).describe()

    assert described["name"] == "synthetic"
    assert described["clips"] == {"train": 8, "calibration": 8, "test": 24}
    assert described["groups"] == {"train": 8, "calibration": 8, "test": 12}
    assert len(set(described["fingerprint"].values())) == 3
    assert all(len(value) == 64 for value in described["fingerprint"].values())


@pytest.mark.parametrize(
    ("argument", "value", "text"),
    [
        ("num_frames", 0, "num_frames must be at least 1, got 0"),
        ("test_clips", 0, "test_clips must be at least 1, got 0"),
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("num_workers", -1, "num_workers must be 0 or more, got -1"),
        ("seed", -1, "seed must be 0 or more, got -1"),
    ],
)
def test_numbers_out_of_range_are_rejected(argument, value, text):
    with pytest.raises(RegateError, match=text):
        SyntheticClips(**{argument: value})
