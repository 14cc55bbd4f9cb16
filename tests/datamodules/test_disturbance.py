"""Pixels that change although what they show does not."""

import pytest
import torch

from datamodules.base import ClipDataset, DisturbedClips
from datamodules.disturbance import Disturbance, Flicker, Noise, Recompression
from datamodules.errors import RegateError
from datamodules.records import Clip
from datamodules.synthetic import SyntheticClips

KINDS = [Noise(4.0), Flicker(5.0), Recompression(35)]


def grey(level=128, frames=6, side=32):
    return torch.full((frames, 3, side, side), level, dtype=torch.uint8)


def scene(frames=6, height=48, width=64):
    """A still picture of smooth colours."""
    rows = torch.linspace(40, 200, height).view(1, height, 1)
    columns = torch.linspace(0, 40, width).view(1, 1, width)
    levels = torch.tensor([0.0, 10.0, 20.0]).view(3, 1, 1)
    picture = (rows + columns + levels).round().clamp(0, 255).to(torch.uint8)
    return picture.repeat(frames, 1, 1, 1)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_frames_stay_frames_and_are_left_as_they_were(kind):
    frames = scene()
    before = frames.clone()

    disturbed = kind(frames, "clip")

    assert (disturbed.shape, disturbed.dtype) == (frames.shape, torch.uint8)
    assert disturbed.is_contiguous()
    assert torch.equal(frames, before)
    assert not torch.equal(disturbed, frames)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_clip_is_disturbed_in_the_same_way_each_time(kind):
    assert torch.equal(kind(scene(), "clip"), kind(scene(), "clip"))


@pytest.mark.parametrize("kind", [Noise, Flicker])
def test_name_frame_and_seed_each_draw_anew(kind):
    one = kind(20.0)(grey(), "one").float()

    assert not torch.equal(one, kind(20.0)(grey(), "other"))
    assert not torch.equal(one, kind(20.0, seed=1)(grey(), "one"))
    assert len({frame.mean().item() for frame in one}) == len(one)


@pytest.mark.parametrize("kind", [Noise(4.0), Flicker(5.0)], ids=str)
def test_a_frame_is_disturbed_alike_in_a_shorter_clip(kind):
    assert torch.equal(kind(grey(frames=6), "clip")[:3], kind(grey(frames=3), "clip"))


@pytest.mark.parametrize("sigma", [1.0, 8.0])
def test_noise_has_its_strength_in_grey_levels_and_no_mean(sigma):
    changed = Noise(sigma)(grey(side=96), "clip").float() - 128

    assert changed.std().item() == pytest.approx((sigma**2 + 1 / 12) ** 0.5, rel=0.02)
    assert changed.mean().item() == pytest.approx(0, abs=0.05)
    neighbours = torch.corrcoef(torch.stack([changed[0].flatten(), changed[1].flatten()]))[0, 1]
    assert abs(neighbours.item()) < 0.03


def test_flicker_is_one_gain_per_frame_of_its_strength_in_percent():
    changed = Flicker(10.0)(grey(100, frames=400, side=2), "clip").float() / 100

    assert changed.flatten(1).std(1).max() == 0
    gains = changed[:, 0, 0, 0]
    assert gains.mean().item() == pytest.approx(1, abs=0.02)
    assert gains.std().item() == pytest.approx(0.1, rel=0.1)


def test_values_are_cut_off_and_do_not_wrap_around():
    white, black = grey(255, side=8), grey(0, side=8)

    assert Noise(10.0)(white, "clip").min() > 200
    assert Noise(10.0)(black, "clip").max() < 60
    assert Flicker(10.0)(white, "clip").max() == 255
    assert torch.equal(Flicker(10.0)(black, "clip"), black)


def test_a_higher_rate_factor_is_further_off_and_the_lowest_is_close():
    frames = SyntheticClips(num_frames=4).dataset("test")[1].frames

    off = [
        (Recompression(crf)(frames, "clip").float() - frames).abs().mean().item()
        for crf in (0, 30, 45)
    ]

    assert off == sorted(off)
    assert off[0] < 5 < off[2]


def test_odd_sizes_can_be_compressed():
    frames = scene(height=33, width=47)

    disturbed = Recompression(20)(frames, "clip")

    assert disturbed.shape == frames.shape
    assert (disturbed.float() - frames).abs().mean() < 6


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Noise(0.0), "sigma must be above 0, got 0; leave the disturbance out."),
        (lambda: Flicker(-1.0), "sigma must be above 0, got -1; leave the disturbance out."),
        (lambda: Noise(float("nan")), "sigma must be above 0, got nan; leave the"),
        (lambda: Noise(1.0, -1), "the disturbance's seed must be 0 or more, got -1."),
        (lambda: Flicker(1.0, -1), "the disturbance's seed must be 0 or more, got -1."),
        (lambda: Recompression(52), "crf must be in 0 to 51, got 52; 23 is usual."),
        (lambda: Recompression(-1), "crf must be in 0 to 51, got -1; 23 is usual."),
    ],
)
def test_a_strength_out_of_range_is_refused(make, sentence):
    with pytest.raises(RegateError, match=sentence):
        make()


def test_kind_and_strength_are_told():
    assert [str(kind) for kind in KINDS] == ["noise4", "flicker5", "recompression35"]
    assert Noise(2.5).describe() == {"kind": "Noise", "sigma": 2.5, "seed": 0}
    assert Recompression(35).describe() == {"kind": "Recompression", "crf": 35}


class Brighter(Disturbance):
    """One grey level more."""

    def __call__(self, frames, name):
        return frames + 1


class Draws(ClipDataset):
    """Clips that show their draw."""

    def __init__(self):
        super().__init__(["a", "b"], ["x", "y"])

    def __getitem__(self, draw):
        index = draw % 2
        frames = torch.full((2, 3, 4, 4), draw, dtype=torch.uint8)
        return Clip(frames, torch.zeros(2, dtype=torch.long), self.names[index], self.groups[index])


def test_any_dataset_can_be_disturbed_and_keeps_its_clean_frames():
    clips = DisturbedClips(Draws(), Brighter())

    clip = clips[5]  # of the third epoch

    assert (clips.names, clips.groups, len(clips)) == (("a", "b"), ("x", "y"), 2)
    assert (clip.name, clip.group) == ("b", "y")
    assert clip.clean.unique().tolist() == [5]
    assert clip.frames.unique().tolist() == [6]


def test_a_disturbance_without_settings_goes_by_its_kind():
    assert (str(Brighter()), Brighter().describe()) == ("brighter", {"kind": "Brighter"})
