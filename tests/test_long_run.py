"""The long-run script of the docs, on a video of twelve frames."""

import numpy as np
import pytest

from backbones import load_backbone
from datamodules.video_writer import VideoWriter
from policy.budgets.table import Calibration
from policy.gates import TopRGate
from policy.guard import Guard


@pytest.fixture(scope="module")
def script(docs_script):
    return docs_script("long_run")


@pytest.fixture
def video(tmp_path):
    noise = np.random.default_rng(0).integers(60, 120, (96, 96, 3), np.uint8)
    with VideoWriter(tmp_path / "walk.mp4", fps=10) as writer:
        for index in range(12):
            image = noise.copy()
            image[16:40, 6 * index : 6 * index + 24] = 255
            writer.write(image)
    return tmp_path / "walk.mp4"


def test_windows_leave_out_what_does_not_fill_one(script):
    assert script.windows(np.array([1.0, 3.0, 5.0, 7.0, 100.0]), 2).tolist() == [2, 6]


def test_growth_looks_at_what_exceeds_a_fresh_start(script):
    fresh = np.array([0.1, 0.9, 0.2, 0.7, 0.3])  # how hard the windows are, which does not count

    assert script.growth(fresh + np.array([0, 1, 2, 3, 4]), fresh)[0] == 1
    assert script.growth(fresh + np.array([0, 4, 3, 2, 1]), fresh)[0] == -1


def test_each_session_goes_its_own_way(script, video, capsys, tmp_path):
    backbone = load_backbone("regate_vit_digits", "random")
    gate = TopRGate()
    gate.calibration = Calibration((0.2, 0.5), (0.1, 0.4), 0.05)
    guards = {script.ALONE: None, "max_age 4": Guard(max_age=4)}
    runs = script.run(video, backbone, gate, 0.2, guards, window=4)

    fresh, alone, guarded = (runs[name] for name in (script.FRESH, *guards))
    assert [len(found.kl) for found in runs.values()] == [12, 12, 12]
    assert np.flatnonzero(fresh.spent == 1).tolist() == [0, 4, 8]
    assert np.flatnonzero(alone.spent >= 1).tolist() == [0]
    assert np.flatnonzero(guarded.spent >= 1).tolist() == [0, 4, 8]
    assert (fresh.flushes, alone.flushes, guarded.flushes) == (0, 0, 2)
    assert fresh.kl[8] < 0.1 * alone.kl[8]

    script.print_tables("walk.mp4", runs, window=4)
    script.draw({"walk": runs}, 4, tmp_path / "out.png")
    printed = capsys.readouterr().out.splitlines()
    assert printed[1] == "walk.mp4, 12 frames"
    assert [line.split(" | ")[0] for line in printed[5:8]] == [
        *("| begun afresh", "| no guard", "| max_age 4")
    ]
    # Its flushes fall on the windows' starts: nothing is left of what came before, nothing grows.
    assert printed[7].endswith("| +0.000 | – |")
    assert [line.split(" | ")[0] for line in printed[-3:]] == ["| 0", "| 4", "| 8"]
    assert (tmp_path / "out.png").stat().st_size > 5000
