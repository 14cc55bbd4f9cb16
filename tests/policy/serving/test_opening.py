import math
from types import SimpleNamespace

import pytest

from backbones import Preprocessing, load_backbone
from datamodules.errors import RegateError, RegateWarning
from policy.budgets.table import Calibration
from policy.gate_file import save_gate
from policy.gates import ThresholdGate
from policy.serving import opening
from policy.serving.opening import open_session

DIGITS = {"backbone": "regate_vit_digits", "weights": "random"}


@pytest.fixture
def gate_file(tmp_path):
    """A calibrated gate for regate_vit_digits."""
    gate = ThresholdGate()
    gate.calibration = Calibration((0.1, 0.25, 0.5), (3.0, 2.0, 1.0), floor=0.1)
    path = tmp_path / "gate.safetensors"
    save_gate(path, gate, load_backbone("regate_vit_digits", "random"))
    return str(path)


def test_a_gate_file_knows_its_backbone_and_serves_a_quarter_by_default(gate_file):
    session = open_session(gate_file, weights="random")

    assert session.backbone.name == "regate_vit_digits"
    assert (session.budget, session.knob) == (0.25, 2.0)


def test_a_gate_file_knows_the_frames_that_it_was_calibrated_on(tmp_path, recwarn):
    path, calibrated = tmp_path / "gate.safetensors", Preprocessing(48, (0.25,) * 3)
    trained = load_backbone("regate_vit_digits", "random", preprocessing=calibrated)
    save_gate(path, ThresholdGate(), trained)

    assert open_session(str(path), weights="random").backbone.preprocessing == trained.preprocessing
    assert list(recwarn) == []
    asked = Preprocessing(crop_pct=0.875)
    with pytest.warns(RegateWarning, match="with crop_pct 1.0, but the backbone has crop_pct 0.8"):
        session = open_session(str(path), weights="random", preprocessing=asked)
    assert session.backbone.preprocessing == asked.over(trained.preprocessing)


def test_a_budget_picks_the_knob_of_a_gate_file(gate_file):
    assert open_session(gate_file, weights="random", budget=0.5).knob == 1.0


def test_a_knob_stands_in_for_a_budget(gate_file):
    session = open_session(gate_file, weights="random", knob=1.5)

    assert (session.budget, session.knob) == (None, 1.5)


def test_a_gate_file_without_calibration_brings_its_knob(tmp_path):
    path = tmp_path / "gate.safetensors"
    save_gate(path, ThresholdGate(math.e), load_backbone("regate_vit_digits", "random"))

    session = open_session(str(path), weights="random")

    assert (session.budget, session.knob) == (None, pytest.approx(1.0))


def test_a_gate_of_another_backbone_is_refused(gate_file):
    with pytest.raises(RegateError, match=r"belongs to regate_vit_digits .* but the backbone is "):
        open_session(gate_file, "vit_tiny_patch16_224", "random")


def test_a_policy_by_name_takes_a_knob():
    session = open_session("threshold", knob=1.2, **DIGITS)

    assert (session.gate.name, session.knob) == ("threshold", 1.2)


def test_what_happens_to_an_image_can_be_changed():
    asked = Preprocessing(image_size=48, mean=(0.25,) * 3)
    backbone = open_session("always", preprocessing=asked, **DIGITS).backbone

    assert backbone.image_size == (48, 48)
    assert backbone.mean.flatten().tolist() == [0.25] * 3


def test_a_hard_budget_is_a_quarter_by_default_and_picks_the_calibrated_knob(gate_file):
    session = open_session(gate_file, weights="random", hard=True)

    assert (session.budget, session.hard, session.knob) == (0.25, True, 2.0)


def test_without_calibration_a_hard_budget_stands_beside_the_knob(tmp_path):
    session = open_session("top-r", knob=0.7, budget=0.5, hard=True, **DIGITS)
    assert (session.budget, session.hard, session.knob) == (0.5, True, 0.7)

    path = tmp_path / "gate.safetensors"
    save_gate(path, ThresholdGate(math.e), load_backbone("regate_vit_digits", "random"))
    session = open_session(str(path), weights="random", budget=0.5, hard=True)
    assert (session.budget, session.hard, session.knob) == (0.5, True, pytest.approx(1.0))


def test_a_calibrated_gate_takes_no_knob_beside_a_hard_budget(gate_file):
    with pytest.raises(RegateError, match=r"picks its knob: leave --knob 1\.5 out"):
        open_session(gate_file, weights="random", knob=1.5, hard=True)


@pytest.mark.parametrize(
    ("gate", "options", "message"),
    [
        ("gone.safetensors", {}, "there is no gate file gone.safetensors: give one that"),
        ("alwys", {}, "no policy 'alwys': choose one of"),
        ("always", {"backbone": ""}, "the policy always fits any backbone: say which with"),
        ("threshold", {}, "the policy threshold has a knob and no calibration .*: give --knob, "),
        ("always", {"knob": 1.0}, "the policy always has no knob: leave --knob 1 out"),
        (
            "threshold-paced",
            {},
            "threshold-paced has a pace for each budget, .*: give threshold,",
        ),
        ("top-r", {"knob": 1.5}, r"the knob of top-r must be in \[0, 1\], got 1.5$"),
        ("threshold", {"knob": 99}, r"in \[-9, 9\], got 99: it is the threshold's logarithm"),
        ("threshold", {"knob": math.nan}, r"the knob of threshold must be in \[-9, 9\], got nan"),
        ("top-r", {"knob": 0.5, "budget": 0.5}, "--budget 0.5 and --knob 0.5 both set how much"),
        ("top-r", {"budget": 0.5}, "the policy top-r has a knob and no calibration .*: give --k"),
        ("always", {"budget": 0.5}, "the policy always has no knob: leave --budget 0.5 out"),
        ("always", {"hard": True}, "the always gate gives none: choose one of threshold, "),
        ("random", {"hard": True, "knob": 0.5}, "the random gate gives none: choose one of"),
        ("top-r", {"hard": True}, "the policy top-r has a knob and no calibration .*: give --k"),
        ("always", {"device": "gpu"}, "the device 'gpu' is not there: give cpu, or cuda on"),
        ("always", {"backbone": "vit_huge"}, "timm knows no model 'vit_huge'"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(gate, options, message):
    with pytest.raises(RegateError, match=message):
        open_session(gate, **(DIGITS | options))


def test_a_device_that_fails_when_used_is_refused(monkeypatch):
    def empty(*args, device):
        raise AssertionError("Torch not compiled with CUDA enabled")

    stub = SimpleNamespace(device=opening.torch.device, empty=empty)
    monkeypatch.setattr(opening, "torch", stub)

    with pytest.raises(RegateError, match="the device 'cuda' is not there"):
        open_session("always", device="cuda", **DIGITS)
