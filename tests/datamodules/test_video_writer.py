import numpy as np
import pytest

from datamodules.containers import probe
from datamodules.errors import RegateError
from datamodules.video import read_frames
from datamodules.video_writer import VideoWriter


def grey(level, height=32, width=48):
    return np.full((height, width, 3), level, dtype=np.uint8)


def test_what_is_written_can_be_read(tmp_path):
    path = tmp_path / "new" / "out.mp4"
    with VideoWriter(path, fps=12.5) as writer:
        for level in (20, 120, 220):
            writer.write(grey(level))

    frames = list(read_frames(path))
    assert [round(frame.image.mean() / 20) for frame in frames] == [1, 6, 11]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.08, 0.16])
    assert probe(path).rate == 12.5
    assert [file.name for file in path.parent.iterdir()] == ["out.mp4"]
    assert path.stat().st_mode & 0o400


@pytest.mark.parametrize(("size", "padded"), [((31, 47), (32, 48)), ((31, 48), (32, 48))])
def test_odd_sizes_are_padded_by_repeating_the_edge(tmp_path, size, padded):
    path = tmp_path / "odd.mp4"
    with VideoWriter(path, fps=10) as writer:
        writer.write(grey(200, *size))

    (frame,) = read_frames(path)
    assert frame.image.shape == (*padded, 3)
    assert frame.image.min() > 190


def test_a_failed_block_leaves_the_former_file(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"former")

    with pytest.raises(KeyError), VideoWriter(path, fps=10) as writer:
        writer.write(grey(10))
        raise KeyError

    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]
    assert path.read_bytes() == b"former"


def test_no_frame_leaves_no_file(tmp_path):
    with VideoWriter(tmp_path / "out.mp4", fps=10):
        pass

    assert list(tmp_path.iterdir()) == []


def test_a_new_size_is_refused(tmp_path):
    with (
        pytest.raises(RegateError, match=r"a frame of 48x48 cannot follow frames of 32x48; write"),
        VideoWriter(tmp_path / "out.mp4", fps=10) as writer,
    ):
        writer.write(grey(10))
        writer.write(grey(10, 48, 48))


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(RegateError, match=r"cannot write .*file/out\.mp4 \(.*\); choose a folder"):
        VideoWriter(tmp_path / "file" / "out.mp4", fps=10)

    def refuse(**_):  # the superuser may write to folders that are read-only
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(RegateError, match=r"cannot write .*out\.mp4 \(permission denied\)"):
        VideoWriter(tmp_path / "out.mp4", fps=10)


def test_a_wrong_rate_is_refused(tmp_path):
    with pytest.raises(RegateError, match="fps must be above 0, got 0"):
        VideoWriter(tmp_path / "out.mp4", fps=0)
