import warnings

import pytest
import torch

from datamodules import video_clips
from datamodules.camera import Camera
from datamodules.containers import probe
from datamodules.errors import RegateWarning
from datamodules.geometry import ResizeCrop
from datamodules.video_clips import Sampling, Video, VideoClips

SMALL = ResizeCrop((16, 16))


def clips(path, random=False, num_frames=4, per_video=1, fps=None, seed=0, label=2):
    sampling = Sampling(num_frames, fps, per_video, seed, random)
    return VideoClips([Video(probe(path), "a", label, "g")], sampling, SMALL)


@pytest.fixture
def numbers(number_of):
    """Numbers of the frames of a clip."""
    return lambda clip: [number_of(frame) for frame in clip.frames]


def test_the_centre_is_taken_for_calibration_and_test(encode, numbers):
    clip = clips(encode(frames=10))[0]

    assert numbers(clip) == [3, 4, 5, 6]
    assert (clip.frames.shape, clip.frames.dtype) == ((4, 3, 16, 16), torch.uint8)
    assert clip.labels.tolist() == [2, 2, 2, 2]
    assert (clip.name, clip.group) == ("a", "g")


def test_several_windows_are_spread_evenly(encode, numbers):
    dataset = clips(encode(frames=14), per_video=3, num_frames=2)

    assert dataset.names == ("a#0", "a#1", "a#2")
    assert [numbers(dataset[i]) for i in range(3)] == [[2, 3], [6, 7], [10, 11]]


def test_training_takes_a_window_by_seed_and_draw(encode, numbers):
    path = encode(frames=40)
    drawn = [numbers(clips(path, random=True)[draw])[0] for draw in range(40)]
    again = [numbers(clips(path, random=True)[draw])[0] for draw in range(40)]
    other = [numbers(clips(path, random=True, seed=1)[draw])[0] for draw in range(40)]

    assert drawn == again != other
    assert min(drawn) < 8
    assert 28 < max(drawn) <= 36
    assert len(set(drawn)) > 15


def test_a_rate_can_be_asked_for(encode, numbers):
    assert numbers(clips(encode(frames=12, fps=10), fps=5)[0]) == [2, 4, 6, 8]


def test_a_short_video_is_held_on_its_last_frame(encode, numbers):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the folder has told it already

        assert numbers(clips(encode(frames=3), num_frames=6)[0]) == [0, 1, 2, 2, 2, 2]
        assert numbers(clips(encode(frames=1), num_frames=3)[0]) == [0, 0, 0]


def test_a_window_behind_the_last_good_frame_holds_it(encode, cut, numbers):
    path = encode("video.avi", frames=40, codec="mpeg4", noise=True)
    dataset = clips(path, num_frames=4, per_video=2)
    cut(path, 0.5)  # after the index was made

    with pytest.warns(RegateWarning, match=r"video\.avi: only \d+ of 40 frames"):
        last = dataset[1]

    assert len({frame.numpy().tobytes() for frame in last.frames}) == 1


def test_a_damaged_file_is_told_of_once(assets):
    dataset = clips(assets / "codecs" / "corrupted.mp4", num_frames=50, per_video=2)

    with pytest.warns(RegateWarning) as caught:
        assert len(dataset[0].frames) == len(dataset[1].frames) == 50

    assert len(caught) == 1


def test_decoded_clips_are_kept_but_training_clips_are_not(encode, monkeypatch):
    path = encode(frames=10)
    kept, dropped = clips(path), clips(path, random=True)

    assert kept[0] is kept[0]
    assert dropped[0] is not dropped[0]


def test_memory_for_decoded_clips_is_bounded(encode, monkeypatch):
    one_clip = 4 * 3 * 16 * 16
    monkeypatch.setattr(video_clips, "CACHE_BYTES", 2 * one_clip)
    dataset = clips(encode(frames=20), per_video=3)
    first = [dataset[i] for i in range(3)]

    assert [dataset[i] is first[i] for i in range(3)] == [True, True, False]


def test_a_camera_films_training_windows_by_seed_and_draw(encode):
    video = Video(probe(encode(frames=10)), "a", 2, "g")

    def draw(number, seed=0):
        sampling = Sampling(4, None, 1, seed, random=True, camera=Camera(moving=1.0, zoom=0.5))
        return VideoClips([video], sampling, SMALL)[number].frames

    assert draw(0).shape == (4, 3, 16, 16)
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert not torch.equal(draw(0), draw(0, seed=1))
