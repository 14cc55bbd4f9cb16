"""``regate calibrate``: the budgets of a gate on other videos."""

import pytest
import torch
from safetensors.torch import load_file

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
    main(["calibrate", "--gate", str(old), *WORDS, "--out", str(new), "--paced", "false"])

    theirs, ours = load_file(old), load_file(new)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    made_by = read_metadata(new)["command"]
    assert made_by.startswith(read_metadata(old)["command"] + " && regate calibrate --gate")
    assert load_gate(new, digits).calibration.paces == ()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--gate", "always"], "the always policy has no knob to calibrate"),
        (["--gate", "gone.safetensors"], "there is no gate file gone.safetensors"),
        (["--gate", "threshold", "--budgets", "1.5"], "budget must be in (0, 1]"),
        (["--gate", "threshold", "--clips", "0"], "clips must be 1 or more, got 0"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["calibrate", *words, *WORDS])
    assert told in capsys.readouterr().err
    assert not list(tmp_path.glob("*.safetensors"))
