"""``regate calibrate``: the budgets of a gate on other videos."""

import pytest
import torch
from safetensors.torch import load_file

from datamodules.errors import RegateWarning
from policy.budgets.risk import BudgetTest, RiskLimit
from policy.cli import main
from policy.gate_file import load_gate, read_metadata
from policy.session import ReuseSession

WORDS = [
    "--data=SyntheticClips",
    "--data.num_frames=4",
    "--data.calibration_clips=3",
    "--backbone=regate_vit_digits",
    "--weights=random",
]


def test_a_policy_by_name_becomes_a_file_that_serves_budgets(tmp_path, digits, capsys):
    path = tmp_path / "threshold.safetensors"
    main(["calibrate", "--gate", "threshold", *WORDS, "--out", str(path), "--budgets", "0.2,0.4"])

    gate = load_gate(path, digits)
    session = ReuseSession(digits, gate, budget=0.4)
    assert session.knob == gate.calibration.knob(0.4)
    assert gate.calibration.source == "synthetic, 3 calibration clips"
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[:3]] == ["budget", "0.2", "0.4"]


def test_a_trained_gate_keeps_its_weights_and_what_made_it(gumbel_run, digits, tmp_path):
    old, new = gumbel_run / "gate.safetensors", tmp_path / "new.safetensors"
    main(
        [
            "calibrate",
            "--gate",
            str(old),
            *WORDS,
            "--out",
            str(new),
            "--paced=false",
            "--fallback=false",
        ]
    )

    theirs, ours = load_file(old), load_file(new)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    made_by = read_metadata(new)["command"]
    assert made_by.startswith(read_metadata(old)["command"] + " && regate calibrate --gate")
    table = load_gate(new, digits).calibration
    assert table.paces == () and table.fallback is None


def test_a_trained_gate_is_set_against_the_threshold(gumbel_run, digits, tmp_path, capsys):
    """After four steps on random weights it is no better anywhere."""
    old, new = gumbel_run / "gate.safetensors", tmp_path / "new.safetensors"
    few = ["--data.num_frames=3", "--budgets=0.2", "--clips=1", "--paced=false"]
    main(["calibrate", "--gate", str(old), *WORDS, *few, "--out", str(new)])

    told = (
        "the threshold serves every budget: over 3 calibration clips in 3 groups, gumbel is "
        "nowhere found closer to dense"
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("  threshold") and lines[2] == told
    with pytest.warns(RegateWarning, match=told):
        gate = load_gate(new, digits)
    assert ReuseSession(digits, gate, budget=0.2).serving.name == "threshold"


def test_a_limit_on_the_risk_is_tested_kept_in_the_file_and_told(tmp_path, digits, capsys):
    path = tmp_path / "threshold.safetensors"
    few = ["--clips=1", "--budgets=0.4", "--paced=false", "--out", str(path)]
    asked = ["--risk=0.5", "--confidence=0.7", "--tolerance=0.4"]
    main(["calibrate", "--gate", "threshold", *WORDS, *few, *asked])

    risk = load_gate(path, digits).calibration.risk
    assert risk.limit == RiskLimit(0.5, 0.7, 0.4)
    assert risk.videos == 2  # of the three groups one is what the knobs were found on
    table = load_gate(path, digits).calibration
    assert risk.tested[0] == BudgetTest(min(table.spent[-1], 1.0), failures=0, p=0.25)
    assert risk.budget in {step.budget for step in risk.tested}
    assert risk.told() in capsys.readouterr().out.splitlines()


def test_too_few_videos_are_refused_before_anything_is_computed(tmp_path, capsys):
    path = tmp_path / "threshold.safetensors"
    with pytest.raises(SystemExit):
        main(["calibrate", "--gate=threshold", *WORDS, "--out", str(path), "--risk=0.05"])
    assert (
        "a risk of 0.05 at a confidence of 0.95 needs 59 calibration videos of different groups, "
        "beside the 3 groups that budgets are found on; synthetic has 0: give more videos"
    ) in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--gate", "always"], "the always policy has no knob to calibrate"),
        (["--gate", "gone.safetensors"], "there is no gate file gone.safetensors"),
        (["--gate", "threshold", "--budgets", "1.5"], "budget must be in (0, 1]"),
        (["--gate", "threshold", "--clips", "0"], "clips must be 1 or more, got 0"),
        (["--gate", "threshold", "--risk", "0"], "risk must be between 0 and 1, got 0"),
        (["--gate", "threshold", "--tolerance", "0.2"], "how a risk is tested: give --risk too"),
        (["--gate", "threshold", "--out", ""], "cannot write ., which is a folder"),
        (["--gate", "top-r", "--data.num_frames", "1"], "on clips of at least two frames"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["calibrate", *WORDS, *words])
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_folder_is_no_gate_file(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["calibrate", "--gate=threshold", *WORDS, "--out", str(tmp_path)])
    assert "is a folder: name a file in it" in capsys.readouterr().err


def test_a_threshold_per_block_gets_its_offsets(tmp_path, digits):
    path = tmp_path / "gate.safetensors"
    main(["calibrate", "--gate=threshold-per-block", *WORDS, "--out", str(path), "--budgets=0.3"])

    offsets = load_gate(path, digits).offsets
    assert offsets[0] == 0 and len(set(offsets)) == digits.depth
