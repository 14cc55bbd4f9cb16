"""The demo's folder; the demo itself is run by hand and by ``make demo``."""

import pytest

from datamodules.errors import RegateError
from policy.demo import demo


def test_a_folder_of_videos_is_not_taken_for_an_earlier_demo(tmp_path):
    video = tmp_path / "train" / "cats" / "a.mp4"
    video.parent.mkdir(parents=True)
    video.touch()

    with pytest.raises(RegateError, match=r"train is not of an earlier demo, which would replace"):
        demo(out=str(tmp_path))
    assert video.is_file()
