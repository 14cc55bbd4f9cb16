import warnings

import numpy as np
import pytest

from datamodules import video
from datamodules.containers import probe
from datamodules.errors import RegateError, RegateWarning
from datamodules.video import read_frames

# Frames the container claims, frames that can be decoded, and the size they are seen at.
CODECS = {
    "av1_video.mkv": (125, (360, 640)),
    "h264_10bits.mp4": (30, (200, 200)),
    "h265_10bits.mp4": (30, (200, 200)),
    "h265_video.mp4": (10, (128, 128)),
    "unordered.mov": (4, (50, 50)),
    "var_fps_video.mp4": (300, (128, 128)),
    "video_0.mov": (3, (320, 568)),
    "video_180.mov": (3, (320, 568)),
    "video_270.mov": (3, (568, 320)),
    "video_90.mov": (3, (568, 320)),
}


@pytest.mark.parametrize("name", CODECS)
def test_every_codec_gives_all_its_frames_without_a_warning(assets, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = list(read_frames(assets / "codecs" / name))

    count, size = CODECS[name]
    assert len(frames) == count
    assert {frame.image.shape for frame in frames} == {(*size, 3)}
    assert {frame.image.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert [frame.index for frame in frames] == list(range(count))
    times = [frame.time for frame in frames]
    assert times[0] == 0
    assert times == sorted(times)


def test_a_corrupt_file_gives_its_good_frames_and_one_warning(assets):
    path = assets / "codecs" / "corrupted.mp4"

    with pytest.warns(RegateWarning) as caught:
        frames = list(read_frames(path))

    assert len(frames) == 49
    assert [str(warning.message) for warning in caught] == [
        f"{path}: only 49 of 50 frames could be decoded; the file is damaged or cut short, so "
        f"fetch or export it again if you need the rest."
    ]


def test_reading_past_a_corrupt_frame_warns_even_if_the_end_is_not_reached(assets):
    with pytest.warns(RegateWarning, match=r"corrupted\.mp4: only \d+ of \d+ frames"):
        assert len(list(read_frames(assets / "codecs" / "corrupted.mp4", count=40))) == 40


def test_rotated_files_are_turned_upright(encode, tmp_path, number_of):
    import av

    upright = encode(frames=2, size=(32, 64))
    turned = tmp_path / "turned.mp4"
    with av.open(str(upright)) as source, av.open(str(turned), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    data = bytearray(turned.read_bytes())
    matrix = data.index((0x00010000).to_bytes(4, "big"), data.index(b"tkhd") + 40)
    turn = [0, 0x00010000, 0, -0x00010000, 0, 0, 0, 0, 0x40000000]  # 90 degrees clockwise
    data[matrix : matrix + 36] = b"".join(v.to_bytes(4, "big", signed=True) for v in turn)
    turned.write_bytes(data)

    straight = next(iter(read_frames(upright))).image
    rotated = next(iter(read_frames(turned))).image
    assert rotated.shape == (64, 32, 3)
    assert np.array_equal(rotated, np.rot90(straight, -1))


def test_a_half_turn_shows_the_same_scene_upside_up(assets):
    images = {
        angle: next(iter(read_frames(assets / "codecs" / f"video_{angle}.mov"))).image.astype(int)
        for angle in (0, 90, 180, 270)
    }

    # The same camera, held in four ways: two by two they have the same shape.
    assert images[0].shape == images[180].shape == (320, 568, 3)
    assert images[90].shape == images[270].shape == (568, 320, 3)


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (48, 64)])
def test_odd_sizes_come_out_as_they_are(encode, size):
    frames = list(read_frames(encode(frames=3, size=size, codec="ffv1", name="odd.mkv")))

    assert [frame.image.shape for frame in frames] == [(*size, 3)] * 3


def test_one_frame_is_a_video(encode, number_of):
    (frame,) = read_frames(encode(frames=1))

    assert (frame.index, frame.time, number_of(frame.image)) == (0, 0.0, 0)


def test_raw_streams_without_time_stamps_are_counted(encode, number_of):
    frames = list(read_frames(encode("raw.h264", frames=10, fps=25, format="h264")))

    assert [number_of(frame.image) for frame in frames] == list(range(10))
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(10)])


def test_variable_frame_rate_is_resampled_by_time(encode, number_of):
    # Pictures at 0, 0.1, 0.4 and 0.5 s: the second is on screen for three tenths.
    path = encode("vfr.mkv", frames=4, fps=10, pts=[0, 1, 4, 5])

    assert [number_of(frame.image) for frame in read_frames(path)] == [0, 1, 2, 3]
    even = list(read_frames(path, fps=10))
    assert [number_of(frame.image) for frame in even] == [0, 1, 1, 1, 2, 3]
    assert [frame.index for frame in even] == [0, 1, 2, 3, 4, 5]
    assert [frame.time for frame in even] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("fps", "expected"),
    [(None, range(12)), (12, range(12)), (6, range(0, 12, 2)), (4, [0, 3, 6, 9])],
)
def test_frame_rates(encode, number_of, fps, expected):
    frames = list(read_frames(encode(frames=12, fps=12), fps))

    assert [number_of(frame.image) for frame in frames] == list(expected)


@pytest.mark.parametrize("fps", [None, 6])
@pytest.mark.parametrize("window", [(0, 3), (4, 2), (5, 100), (11, 1), (40, 2), (3, 0)])
def test_a_window_is_a_slice_of_all_frames(encode, fps, window):
    path = encode(frames=12, fps=12)
    start, count = window
    everything = [(f.index, f.time) for f in read_frames(path, fps)]

    assert [(f.index, f.time) for f in read_frames(path, fps, start, count)] == everything[
        start : start + count
    ]


@pytest.mark.parametrize("fps", [None, 7.0])
@pytest.mark.parametrize(
    "name",
    [
        "codecs/var_fps_video.mp4",
        "codecs/av1_video.mkv",
        "codecs/h265_10bits.mp4",
        "videos/static-dog.mp4",
        "videos/asl/asl_gestures_yes.mkv",
    ],
)
def test_seeking_finds_the_frames_that_decoding_from_the_start_finds(
    assets, monkeypatch, name, fps
):
    path = assets / name
    info = probe(path)
    start = info.length(fps) * 2 // 3
    expected = list(read_frames(path, fps, start, 4))

    monkeypatch.setattr(video, "SEEK_SAVES", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(read_frames(info, fps, start, 4))

    assert [(f.index, f.time) for f in found] == [(f.index, f.time) for f in expected]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.image, other.image)


def test_seeking_saves_decoding(encode, monkeypatch, number_of):
    path = encode(frames=40, options={"g": "10"})
    monkeypatch.setattr(video, "SEEK_SAVES", 0)
    decoded = []
    convert = video.Decoding.pictures

    def count(self):
        for shown in convert(self):
            decoded.append(shown.index)
            yield shown

    monkeypatch.setattr(video.Decoding, "pictures", count)

    assert [number_of(f.image) for f in read_frames(path, start=33, count=2)] == [33, 34]
    assert decoded[0] == 30


def test_a_cut_file_warns_with_both_counts(encode, cut):
    path = cut(encode("cut.mkv", frames=30, noise=True), 0.5)

    with pytest.warns(RegateWarning, match=r"cut\.mkv: only 1\d of 30 frames could be decoded"):
        list(read_frames(path))


def test_a_file_of_which_no_frame_can_be_decoded_is_an_error(encode):
    path = encode("noise.avi", frames=5, codec="mpeg4", noise=True)
    data = bytearray(path.read_bytes())
    movie = data.index(b"movi") + 16  # leave the chunk headers, blank what they hold
    index = data.index(b"idx1")
    data[movie:index] = b"\xff" * (index - movie)
    path.write_bytes(data)

    with pytest.raises(RegateError, match=r"no frame of .*noise\.avi can be decoded; it is"):
        list(read_frames(path))


def test_damage_can_be_told_to_somebody_else(encode, cut):
    told = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(read_frames(cut(encode("cut.mkv", frames=30, noise=True), 0.5), on_damage=told.append))

    assert len(told) == 1


def test_frames_come_one_by_one(encode):
    frames = read_frames(encode(frames=50))

    assert next(frames).index == 0
    frames.close()  # and the file with it


def test_a_wrong_rate_is_refused(encode):
    with pytest.raises(RegateError, match="fps must be above 0, got 0"):
        list(read_frames(encode(frames=2), fps=0))
