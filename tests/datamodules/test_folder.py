import re
import warnings

import pytest
import torch
from jsonargparse import ArgumentParser

from datamodules.base import SPLITS
from datamodules.camera import Camera
from datamodules.disturbance import Noise
from datamodules.errors import RegateError, RegateWarning
from datamodules.folder import VideoFolder
from datamodules.geometry import ResizeCrop
from datamodules.splits import SplitOptions


@pytest.fixture
def folder(encode, tmp_path):
    """Six videos of two classes, ten frames each."""
    for label in ("hug", "kick"):
        for number in range(3):
            encode(f"my_videos/{label}/{number}.mp4", frames=10)
    return tmp_path / "my_videos"


def make(root, **settings):
    data = VideoFolder(str(root), num_frames=4, batch_size=2, **settings)
    data.resize_crop = ResizeCrop((16, 16))
    return data


def test_class_folders_become_labelled_splits(folder):
    data = make(folder)
    names = [data.dataset(split).names for split in SPLITS]

    assert data.name == "my_videos"
    assert [len(found) for found in names] == [3, 1, 2]
    assert len(set().union(*names)) == 6
    assert data.class_names == ("hug", "kick")
    for split in SPLITS:
        for clip in (data.dataset(split)[i] for i in range(len(data.dataset(split)))):
            assert clip.frames.shape == (4, 3, 16, 16)
            assert clip.labels.tolist() == [clip.name.startswith("kick")] * 4


def test_batches_come_through_the_loaders(folder):
    data = make(folder)

    assert [batch.frames.shape for batch in data.train_dataloader()] == [
        (2, 4, 3, 16, 16),
        (1, 4, 3, 16, 16),
    ]
    assert len(next(iter(data.val_dataloader())).names) == 1


def test_worker_processes_decode_the_same_frames(folder):
    here, there = make(folder), make(folder, num_workers=2)

    for one, other in zip(here.train_dataloader(), there.train_dataloader(), strict=True):
        assert one.names == other.names
        assert torch.equal(one.frames, other.frames)


def test_predict_takes_every_video_once_whatever_its_split(folder):
    names = [name for batch in make(folder).predict_dataloader() for name in batch.names]

    assert names == [f"{label}/{i}.mp4" for label in ("hug", "kick") for i in range(3)]


def test_a_folder_can_be_disturbed_also_to_predict(folder):
    plain, noisy = make(folder), make(folder, disturbance=Noise(4.0))

    assert noisy.name == "my_videos-noise4"
    batches = zip(plain.predict_dataloader(), noisy.predict_dataloader(), strict=True)
    for batch, disturbed in batches:
        assert torch.equal(disturbed.clean, batch.frames)
        assert not torch.equal(disturbed.frames, batch.frames)
    # Named in training and in a comparison alike, so disturbed alike.
    in_split = noisy.dataset("test")[0]
    by_name = {
        name: frames
        for batch in noisy.predict_dataloader()
        for name, frames in zip(batch.names, batch.frames, strict=True)
    }
    assert torch.equal(by_name[in_split.name], in_split.frames)


def test_predict_needs_no_split(encode, tmp_path):
    encode("one/only.mp4", frames=5)
    data = make(tmp_path / "one")

    assert [batch.names for batch in data.predict_dataloader()] == [["only.mp4"]]
    assert data.class_names == ()
    with pytest.raises(RegateError, match=r"needs at least 3 groups, got 1 \(only\.mp4\)"):
        data.train_dataloader()


def test_unlabelled_clips_have_label_minus_one(encode, tmp_path):
    for number in range(3):
        encode(f"loose/{number}.mkv", frames=5)

    assert make(tmp_path / "loose").dataset("test")[0].labels.tolist() == [-1] * 4


def test_without_a_backbone_frames_are_224_pixels(folder):
    data = make(folder)
    data.resize_crop = None

    assert data.dataset("test")[0].frames.shape == (4, 3, 224, 224)


def test_the_split_depends_on_its_own_seed_alone(folder):
    def names_tested(**settings):
        return make(folder, **settings).dataset("test").names

    seeds = {names_tested(split=SplitOptions(seed=seed)) for seed in range(5)}

    assert names_tested(seed=1) == names_tested(seed=2)
    assert len(seeds) > 1


def test_stated_splits_are_honoured(folder):
    (folder / "list.csv").write_text(
        "path,label,split\nhug/0.mp4,hug,test\nhug/1.mp4,hug,train\nkick/0.mp4,kick,val\n"
    )
    data = make(folder, csv="list.csv")

    assert [data.dataset(split).names for split in SPLITS] == [
        ("hug/1.mp4",),
        ("kick/0.mp4",),
        ("hug/0.mp4",),
    ]


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ("hug/0.mp4,a,test\nhug/1.mp4,b,train\n", r"states no video for the calibration split"),
        ("hug/0.mp4,a,test\nhug/1.mp4,b,\n", r"hug/1\.mp4 has no split while others do"),
        ("hug/0.mp4,a,test\nhug/1.mp4,a,train\n", r"group 'a' is stated to be in both test and t"),
    ],
)
def test_stated_splits_that_make_no_sense_are_refused(folder, lines, error):
    (folder / "list.csv").write_text("path,group,split\n" + lines)

    with pytest.raises(RegateError, match=error):
        make(folder, csv="list.csv").dataset("calibration")


def test_bad_files_are_left_out_with_one_warning_each_and_the_run_goes_on(folder, encode, cut):
    (folder / "hug" / "empty.mp4").touch()
    (folder / "hug" / "text.mp4").write_text("not a video " * 99)
    cut(encode("my_videos/kick/headless.mp4", frames=30, noise=True), 0.5)
    cut(encode("my_videos/kick/cut.avi", frames=30, noise=True, codec="mpeg4"), 0.6)
    encode("my_videos/kick/one_frame.mp4", frames=1)
    data = make(folder)

    with pytest.warns(RegateWarning) as caught:
        data.setup()
    told = sorted(str(warning.message).replace(f"{folder}/", "") for warning in caught)

    # How many frames are left of a cut file is the encoder's affair.
    told = [re.sub(r"only \d+ of", "only so many of", message) for message in told]
    assert [message.split(";")[0].split(" (")[0] for message in told] == [
        "kick/cut.avi: only so many of 30 frames are there",
        "kick/one_frame.mp4: has 1 of the 4 frames of a clip",
        "left out: cannot open hug/text.mp4",
        "left out: cannot open kick/headless.mp4",
        "left out: hug/empty.mp4 is empty",
    ]
    assert len(data.predict_dataloader().dataset) == 8
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sum(len(batch.names) for batch in data.predict_dataloader()) == 8


@pytest.mark.filterwarnings("ignore::datamodules.errors.RegateWarning")
def test_a_folder_of_bad_files_is_refused(tmp_path):
    (tmp_path / "a.mp4").touch()

    with pytest.raises(RegateError, match=r"none of the 1 videos of .* can be read"):
        make(tmp_path).dataset("train")


def test_a_listed_file_that_is_missing_is_left_out(folder):
    (folder / "list.csv").write_text("path\nhug/0.mp4\nhug/9.mp4\n")

    with pytest.warns(RegateWarning, match=r"left out: there is no file .*hug/9\.mp4"):
        make(folder, csv="list.csv").setup()


def test_describe_tells_the_clips_apart_from_others(folder):
    described = make(folder).describe()

    assert described["root"] == str(folder)
    assert described["clips"] == {"train": 3, "calibration": 1, "test": 2}
    assert described["fingerprint"] == make(folder).describe()["fingerprint"]
    other = make(folder, split=SplitOptions(seed=3)).describe()
    assert described["fingerprint"] != other["fingerprint"]


def test_videos_only_to_be_compared_on_need_no_training_split(folder):
    (folder / "list.csv").write_text("path,split\nhug/0.mp4,test\nhug/1.mp4,calibration\n")
    data = make(folder, csv="list.csv")

    assert [data.has(split) for split in SPLITS] == [False, True, True]
    described = data.describe()
    assert described["clips"] == {"calibration": 1, "test": 1}
    assert set(described["fingerprint"]) == {"calibration", "test"}


def test_arguments_are_pleasant_on_the_command_line(folder):
    parser = ArgumentParser()
    parser.add_class_arguments(VideoFolder, "data")
    found = parser.parse_args(["--data.root", str(folder), "--data.split.test", "0.5"])
    data = parser.instantiate_classes(found).data

    assert data.root == folder
    assert data.split == SplitOptions(calibration=0.2, test=0.5, seed=0)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"num_frames": 0}, "num_frames must be at least 1, got 0"),
        ({"clips_per_video": 0}, "clips_per_video must be at least 1, got 0"),
        ({"fps": 0.0}, "fps must be above 0, got 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(settings, error):
    with pytest.raises(RegateError, match=error):
        VideoFolder("anywhere", **settings)


def test_ut_interaction_splits_by_sequence(assets):
    data = VideoFolder(
        str(assets / "ut-interaction"), csv="annotations.csv", group_column="sequence"
    )
    data.resize_crop = ResizeCrop((32, 32))

    with warnings.catch_warnings():
        warnings.simplefilter("error", RegateWarning)  # every clip is sound
        described = data.describe()
        clip = data.dataset("calibration")[0]

    assert described["groups"] == {"train": 10, "calibration": 4, "test": 6}
    assert sum(described["clips"].values()) == 218
    assert data.class_names == ("handshake", "hug", "kick", "none", "point", "punch", "push")
    assert clip.frames.shape == (16, 3, 32, 32)
    groups = [set(data.dataset(split).groups) for split in SPLITS]
    assert len(set().union(*groups)) == 20
    assert torch.equal(clip.labels, clip.labels[:1].expand(16))


def test_a_camera_films_training_clips_alone(folder, encode):
    for number in range(6):  # grey frames look the same through every window
        encode(f"my_videos/hug/noise{number}.mp4", noise=True)
    plain, filmed = make(folder), make(folder, camera=Camera(zoom=0.5))

    for split in ("calibration", "test"):
        assert torch.equal(plain.dataset(split)[0].frames, filmed.dataset(split)[0].frames)
    ours, theirs = plain.dataset("train"), filmed.dataset("train")
    assert any(not torch.equal(ours[i].frames, theirs[i].frames) for i in range(len(ours)))


def test_a_camera_may_film_every_split_the_same_way_each_time(folder, encode):
    for number in range(6):
        encode(f"my_videos/hug/noise{number}.mp4", noise=True)
    plain, filmed = make(folder), make(folder, camera=Camera(zoom=0.5, everywhere=True))

    assert (plain.name, filmed.name) == ("my_videos", "my_videos-filmed")
    assert filmed.describe()["camera"]["zoom"] == 0.5
    ours, theirs = plain.dataset("test"), filmed.dataset("test")
    assert any(not torch.equal(ours[i].frames, theirs[i].frames) for i in range(len(ours)))
    again = make(folder, camera=Camera(zoom=0.5, everywhere=True)).dataset("test")
    for index in range(len(again)):
        assert torch.equal(again[index].frames, theirs[index].frames)
        assert torch.equal(again[index + len(again)].frames, theirs[index].frames)  # next epoch
