"""What is exported of a gate, and what is refused."""

import json
import subprocess
import sys

import pytest
import torch

from policy.budgets.table import Calibration, Fallback, Verdict
from policy.exporting.programs import METADATA, Programs, programs
from policy.gates import LearnedGate, ThresholdGate
from policy.gates.top_k import TopK
from policy.session import ReuseSession


@pytest.fixture
def without_tracing(monkeypatch):
    """Choosing a gate takes no time; writing a program down takes seconds."""
    monkeypatch.setattr(torch.export, "export", lambda *args, **kwargs: None)


@pytest.fixture
def calibrated(backbone):
    """A learned gate of three budgets, of which the threshold serves the highest."""
    gate = LearnedGate(backbone.dim, backbone.depth, releases=False)
    theirs = Calibration((0.3, 0.7, 0.95), (5.0, 4.0, 3.0), floor=0.05)
    verdicts = tuple(
        Verdict(budget, -0.1, (-0.2, -0.1 if better else 0.1))
        for budget, better in ((0.3, True), (0.7, True), (0.95, False))
    )
    gate.calibration = Calibration(
        (0.3, 0.7, 0.95), (2.0, 1.0, 0.0), 0.05, fallback=Fallback(theirs, verdicts, 8, 4)
    )
    return gate


def test_a_calibrated_gate_is_taken_as_it_serves_what_such_a_frame_spends(
    without_tracing, calibrated, backbone
):
    few = programs(backbone, calibrated, patches=2)
    many = programs(backbone, calibrated, patches=14)

    assert few.gate.gate is calibrated
    assert few.gate.knob == calibrated.calibration.knob(few.spent)
    assert 1 < few.gate.knob < 2
    assert type(many.gate.gate) is ThresholdGate
    assert many.metadata["policy"] == "threshold"


def test_a_count_beyond_the_calibrated_budgets_is_served_at_the_nearest(
    without_tracing, calibrated, backbone
):
    calibrated.calibration = Calibration((0.4, 0.6), (2.0, 1.0), floor=0.05)

    assert programs(backbone, calibrated, patches=1).gate.knob == 2.0
    assert programs(backbone, calibrated, patches=16).gate.knob == 1.0


def test_as_there_is_no_pace_the_knob_is_that_of_a_frame_which_is_looked_at(
    without_tracing, backbone
):
    gate = ThresholdGate()
    spent = programs(backbone, gate, patches=5).spent
    gate.calibration = Calibration(
        (spent / 2, spent, 0.9), (2.0, 1.5, 1.0), floor=0.05, paces=(0.5, 0.75, 1.0)
    )

    assert programs(backbone, gate, patches=5).gate.knob == pytest.approx(2.0)


def test_what_a_program_spends_is_what_the_session_counts(without_tracing, backbone, make_frames):
    exported = programs(backbone, ThresholdGate(), patches=5)
    session = ReuseSession(backbone, TopK(ThresholdGate(), 5))
    for frame in make_frames(backbone, 2):
        result = session.step(frame)

    assert exported.spent == pytest.approx(float(result.spent), abs=1e-12)


@pytest.mark.parametrize("patches", [0, 17])
def test_a_count_that_no_frame_has_is_refused(patches, backbone):
    with pytest.raises(ValueError) as refused:
        programs(backbone, ThresholdGate(), patches)

    assert str(refused.value) == (
        "a frame of vit_tiny_patch16_224 has 16 patches, so that 1 to 16 can be recomputed, "
        f"not {patches}"
    )


def test_no_stream_is_refused(backbone):
    with pytest.raises(ValueError, match="streams must be 1 or more, got 0"):
        programs(backbone, ThresholdGate(), 5, streams=0)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write .*first\.pt2"):
        Programs(None, None, None, 0.0, {}).save(tmp_path / "file")


ELSEWHERE = """
import sys
import torch

step = torch.export.load("step.pt2").module()
frames, state, expected = torch.load("clip.pt")
with torch.no_grad():
    for frame, logits in zip(frames, expected):
        output = step(frame, state)
        state = output["state"]
        assert (output["logits"] - logits).abs().max() < 1e-5
ours = {"policy", "backbones", "datamodules", "timm"} & {n.split(".")[0] for n in sys.modules}
assert not ours, ours
print("equal", len(frames))
"""


@pytest.mark.slow
def test_a_saved_program_runs_where_there_is_no_regate(backbone, make_frames, tmp_path):
    exported = programs(backbone, ThresholdGate(), patches=5)
    exported.save(tmp_path)
    session = ReuseSession(backbone, TopK(ThresholdGate(), 5))
    first, *later = make_frames(backbone, 4)
    session.step(first)
    state = exported.first.module()(first)["state"]
    expected = [session.step(frame).logits for frame in later]
    torch.save((later, state, expected), tmp_path / "clip.pt")

    # Isolated: neither the folder nor PYTHONPATH is looked for modules in.
    words = [sys.executable, "-I", "-c", ELSEWHERE]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    assert run.stdout == "equal 3\n", run.stderr
    told = {METADATA: ""}
    torch.export.load(tmp_path / "first.pt2", extra_files=told)
    assert json.loads(told[METADATA]) == exported.metadata
    assert {path.name for path in tmp_path.iterdir()} == {"first.pt2", "step.pt2", "clip.pt"}
