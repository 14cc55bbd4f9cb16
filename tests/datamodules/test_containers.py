from fractions import Fraction

import pytest

from datamodules.containers import exact_rate, probe
from datamodules.errors import RegateError


def test_probe_counts_pictures_without_decoding(encode):
    info = probe(encode(frames=10, fps=10, options={"g": "5"}))

    assert (info.pictures, info.promised, info.rate) == (10, 10, 10)
    assert len(info.pts) == 10
    assert len(info.key_pts) == 2


def test_probe_sees_that_a_file_is_cut(encode, cut):
    path = encode(frames=30, noise=True, container_options={"movflags": "faststart"})
    whole = probe(path)
    cut_info = probe(cut(encode("cut.avi", frames=30, noise=True, codec="mpeg4"), 0.6))

    assert whole.pictures == whole.promised == 30
    assert cut_info.promised == 30
    assert 10 < cut_info.pictures < 20


@pytest.mark.parametrize(("fps", "expected"), [(None, 10), (10, 10), (5, 5), (20, 20), (3, 3)])
def test_length_at_a_rate(encode, fps, expected):
    assert probe(encode(frames=10, fps=10)).length(fps) == expected


def test_raw_streams_without_a_clock_have_a_length_too(encode):
    info = probe(encode("raw.h264", frames=10, fps=25, format="h264"))

    assert info.pictures == 10
    assert info.length(12.5) == 5


def test_rates_are_made_exact():
    assert exact_rate(29.97) == Fraction(2997, 100)
    assert exact_rate(1 / 3) == Fraction(1, 3)


@pytest.mark.parametrize("fps", [0, -1, float("nan")])
def test_a_rate_that_is_not_positive_is_rejected(fps):
    with pytest.raises(RegateError, match=f"fps must be above 0, got {fps}"):
        exact_rate(fps)


@pytest.mark.parametrize("fps", [1e-9, float("inf")])
def test_a_rate_that_no_video_has_is_rejected(fps):
    with pytest.raises(RegateError, match=f"fps must be finite and at least 0.001, got {fps:g}"):
        exact_rate(fps)


def test_files_that_are_no_video_are_rejected_by_name(tmp_path, encode):
    empty = tmp_path / "empty.mp4"
    empty.touch()
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video\n" * 100)

    with pytest.raises(RegateError, match=r"there is no file .*missing\.mp4; check the path"):
        probe(tmp_path / "missing.mp4")
    with pytest.raises(RegateError, match=r"empty\.mp4 is empty \(0 bytes\); fetch"):
        probe(empty)
    with pytest.raises(RegateError, match=r"cannot open .*text\.mp4 \(invalid data .*\); check"):
        probe(text)


def test_an_mp4_without_its_index_is_rejected(encode, cut):
    path = cut(encode(frames=30, noise=True), 0.5)  # the index comes last

    with pytest.raises(RegateError, match=r"cannot open .*video\.mp4 \(invalid data"):
        probe(path)


def test_sound_alone_is_rejected(tmp_path):
    import av
    import numpy as np

    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        output.mux(stream.encode(frame))

    with pytest.raises(RegateError, match=r"sound\.wav has no video stream; give one that has"):
        probe(path)


def test_a_name_with_a_colon_is_no_protocol(encode):
    assert probe(encode("12:30.mp4", frames=3)).pictures == 3
