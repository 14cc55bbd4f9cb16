"""An agent in a gate file: read back, streamed, compared and falling back like any other."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules.errors import RegateError, RegateWarning
from datamodules.video_writer import VideoWriter
from policy.budgets.search import calibrate
from policy.budgets.table import Calibration, Fallback, Verdict
from policy.cli import main
from policy.gate_file import load_gate, read_metadata, save_gate
from policy.gates import ThresholdGate
from policy.gates.selective import SelectiveGate
from policy.rl.actor_critic import Actor
from policy.session import ReuseSession
from policy.tasks.agent import untrained_gate


@pytest.fixture
def gate(digits, digit_clips):
    """One that has learned something, calibrated."""
    torch.manual_seed(0)
    gate = untrained_gate("ppo")
    torch.nn.init.normal_(gate.actor.layers[-1].weight, std=0.3)
    gate.aim(calibrate(digits, ThresholdGate(), digit_clips[:2]))
    gate.calibration = calibrate(digits, gate, digit_clips[:2])
    return gate


@pytest.fixture
def file(gate, digits, tmp_path):
    path = tmp_path / "agent.safetensors"
    save_gate(path, gate, digits, "regate fit")
    return path


def served(gate, backbone, clip, budget=0.2):
    session = ReuseSession(backbone, gate, budget)
    return [session.step(frame) for frame in backbone.normalize(clip)]


def test_what_is_read_back_decides_as_what_was_written(gate, file, digits, digit_clips):
    loaded = load_gate(file, digits)

    assert isinstance(loaded, SelectiveGate)
    assert loaded.name == "ppo"
    assert loaded.calibration == gate.calibration
    results = [served(each, digits, digit_clips[3]) for each in (gate, loaded)]
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours.recompute, theirs.recompute)
        assert torch.equal(ours.spent, theirs.spent)


def test_the_actor_is_charged_for(gate, digits, digit_clips):
    plain = ThresholdGate()
    gate.steer(torch.zeros(1, 4))
    sessions = [ReuseSession(digits, each) for each in (gate, plain)]
    for frame in digits.normalize(digit_clips[3][:2]):
        for session in sessions:
            session.knob = 0.0
        ours, theirs = (session.step(frame) for session in sessions)

    weights = sum(layer.weight.numel() for layer in gate.actor.layers if hasattr(layer, "weight"))
    extra = (ours.macs - theirs.macs).item()
    assert extra == weights + (16 + 14) * 144  # patches of the digits
    assert 0 < extra / sessions[0].macs.dense < 2e-4


def test_an_agent_that_observes_something_else_is_refused(gate, file, digits, monkeypatch):
    names = [field.name for field in gate.observation_fields]
    monkeypatch.setattr(SelectiveGate, "__init__", less(SelectiveGate.__init__))

    with pytest.raises(RegateError) as refused:
        load_gate(file, digits)

    assert str(refused.value) == (
        f"{file} holds an agent that observes {', '.join(names)}, but this version tells it "
        f"{', '.join(names[:-2])}: train it again"
    )


def less(init):
    """Of a version in which the last two fields do not exist."""

    def changed(gate, *args, **kwargs):
        init(gate, *args, **kwargs)
        gate.observation_fields = gate.observation_fields[:-2]

    return changed


def test_its_file_is_small_and_says_what_it_is(file):
    metadata = read_metadata(file)

    assert file.stat().st_size < 20_000
    assert (metadata["policy"], metadata["masks"]) == ("ppo", "shared")
    assert metadata["settings"]["hidden"] == Actor(1, 1).hidden


def test_it_streams(file, tmp_path, capsys):
    video = tmp_path / "walk.mp4"
    with VideoWriter(video, fps=10) as writer:
        for index in range(4):
            image = np.full((96, 96, 3), 80, np.uint8)
            image[16:40, 8 * index : 8 * index + 24] = 255
            writer.write(image)
    out = tmp_path / "out.json"

    words = ["--weights=random", "--budget=0.3", f"--json={out}"]
    main(["stream", str(video), "--gate", str(file), *words])

    assert len(json.loads(out.read_text())["rows"]) == 4


def test_it_is_compared_plain_and_paced(file, tmp_path, root):
    settings = {
        "weights": "random", "policies": "ppo,ppo-paced", "gates": file, "budgets": "0.2",
        "data.num_frames": 4, "data.calibration_clips": 2, "data.test_clips": 2,
        "calibration_clips": 2, "timed_frames": 0, "resamples": 20, "out": tmp_path / "out",
    }  # fmt: skip
    words = [f"--{name}={value}" for name, value in settings.items()]

    main(["compare", "--config", str(root / "configs/compare/synthetic.yaml"), *words])

    rows = json.loads((tmp_path / "out/results.json").read_text())["rows"]
    assert {row["policy"]: row["learned"] for row in rows} == {
        "ppo": True, "ppo-paced": True
    }  # fmt: skip


def test_it_falls_back_to_the_threshold_in_mid_stream_and_comes_back(
    gate, digits, digit_clips, tmp_path
):
    table = gate.calibration
    verdicts = tuple(
        Verdict(spent, -0.1, (-0.2, -0.05 if spent > 0.3 else 0.1)) for spent in table.spent
    )
    theirs = calibrate(digits, ThresholdGate(), digit_clips[:2])
    assert isinstance(theirs, Calibration)
    gate.calibration = replace(table, fallback=Fallback(theirs, verdicts, 2, 2))
    save_gate(tmp_path / "both.safetensors", gate, digits, "regate fit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RegateWarning)
        loaded = load_gate(tmp_path / "both.safetensors", digits)
    session, plain = ReuseSession(digits, loaded, 0.1), ReuseSession(digits, ThresholdGate())
    plain.knob = theirs.knob(0.1)

    frames = digits.normalize(digit_clips[3])
    for frame in frames[:2]:
        assert torch.equal(session.step(frame).recompute, plain.step(frame).recompute)
    session.budget = 0.8
    by_agent = session.step(frames[2])
    session.budget = 0.1
    session.step(frames[3])

    assert by_agent.score is not None
    assert session.state.gate.memo.shape == (1, gate.memo_size)
