import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from backbones import load_backbone
from datamodules.video import VideoFrame
from policy.gates import AlwaysRecompute
from policy.serving.rows import frame_row
from policy.serving.serve import serve
from policy.serving.show import BUDGET_HEADER, HEADER, LiveLine, frame_line
from policy.session import ReuseSession


@pytest.fixture
def served():
    """Two frames, each of another source, and their rows."""
    backbone = load_backbone("regate_vit_digits", "random")
    frames = [VideoFrame(np.zeros((96, 96, 3), np.uint8), 0.0, 0, name) for name in "ab"]
    session = ReuseSession(backbone, AlwaysRecompute())
    names = [f"a class with a name of {'very ' * 9}many letters"] * 10
    return [(one, frame_row(one, names, 10)) for one in serve(frames, session)]


def test_a_line_keeps_to_its_columns_whatever_the_name(served):
    line = frame_line(served[0][1])

    assert line.index(" 1.00") + 5 == HEADER.index("spent") + 5
    assert "a class with a name of …" in line


def test_the_live_line_shows_the_last_frame_and_keeps_what_must_not_be_missed(served):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    with Progress(TextColumn("{task.fields[line]}"), console=console) as progress:
        live = LiveLine(progress, total=2)
        for one, row in served:
            live.add(one, row)
        assert progress.tasks[0].completed == 2

    assert "b begins: a new stream, its first frame is dense" in screen.getvalue()
    assert "spent 1.00" in screen.getvalue()


def test_a_budget_that_is_steered_has_a_column(served):
    row = replace(served[0][1], budget=0.3141)

    assert frame_line(row, steered=True).index("0.314") + 5 == len(HEADER + BUDGET_HEADER)
    assert "0.314" not in frame_line(row)
