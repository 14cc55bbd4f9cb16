import numpy as np
import pytest

from datamodules.video import VideoFrame
from datamodules.video_writer import VideoWriter
from policy.serving.files import playing_rate


def frame(time, name="0"):
    return VideoFrame(np.zeros((2, 2, 3), np.uint8), time, 0, name)


def test_an_overlay_plays_at_the_average_rate_of_its_file(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, fps=12) as writer:
        for _ in range(3):
            writer.write(np.zeros((16, 16, 3), np.uint8))

    assert playing_rate(frame(0.0, str(path)), frame(9.0, str(path))) == 12


@pytest.mark.parametrize(
    ("second", "rate"), [(frame(0.05), 20), (frame(0.0), 25), (frame(60.0), 25), (None, 25)]
)
def test_a_camera_plays_as_fast_as_its_first_two_frames_if_they_can_be_believed(second, rate):
    assert playing_rate(frame(0.0), second) == pytest.approx(rate)
