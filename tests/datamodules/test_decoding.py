import warnings

import pytest

from datamodules.containers import open_file
from datamodules.decoding import Decoding

CONTAINERS = {
    "mp4": {"options_": {"movflags": "faststart"}},
    "mkv": {},
    "webm": {"codec": "libvpx-vp9"},
    "avi": {"codec": "mpeg4"},
    "ts": {},
    "h264": {"format": "h264"},
}


def make(encode, suffix):
    settings = dict(CONTAINERS[suffix])
    if "options_" in settings:  # of the container, where encode's options are the codec's
        settings["container_options"] = settings.pop("options_")
    return encode(f"video.{suffix}", frames=30, noise=True, **settings)


def decode(path):
    with open_file(path) as container:
        decoding = Decoding(container, path.name)
        count = sum(1 for _ in decoding.pictures())
        return count, decoding.damage(complete=True)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_sound_file_is_not_accused(encode, suffix):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(make(encode, suffix)) == (30, None)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_what_a_cut_file_still_holds_comes_through_and_the_rest_is_missed(
    encode, cut, suffix, share
):
    count, damage = decode(cut(make(encode, suffix), share))

    assert 0 < count < 30 * share + 2  # AVI's first frame alone is a fifth of the file
    assert damage is not None
    assert f"video.{suffix}: only {count} of " in damage
    assert "cut short" in damage


def test_a_damaged_packet_costs_its_picture_only(encode):
    path = make(encode, "avi")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)

    count, _ = decode(path)

    assert 25 <= count <= 30
