"""The command that writes the programs of a session."""

import pytest
import torch

from policy.cli import main

DIGITS = ["--backbone", "regate_vit_digits", "--weights", "random"]


def test_a_policy_by_name_is_exported(tmp_path, capsys, digits):
    out = tmp_path / "new"

    main(["export-step", "--gate", "threshold", *DIGITS, "--patches", "36", "--out", str(out)])

    assert capsys.readouterr().out.splitlines() == [
        f"{out}/first.pt2: a stream's first frame, dense",
        f"{out}/step.pt2: later frames, 36 of 144 patches by threshold, "
        "0.274 of the dense frame's MACs",
    ]
    frame = torch.rand(1, 3, 96, 96)
    first = torch.export.load(out / "first.pt2").module()(frame)
    assert (first["logits"] - digits(frame)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("gate", "sentence"),
    [
        ("hold", "the hold gate cannot pick a fixed count of patches: it holds whole frames."),
        ("cosine-per-block", "the cosine-per-block gate cannot pick a fixed count of patches: "),
        (
            "periodic",
            "the periodic gate cannot pick a fixed count of patches: it gives no score to rank "
            "patches by. What can are gates with one mask and a score: threshold, top-r, cosine",
        ),
        ("gone.safetensors", "there is no gate file gone.safetensors: "),
    ],
)
def test_what_does_not_export_is_refused_in_a_sentence(gate, sentence, fails, tmp_path):
    words = ["export-step", "--gate", gate, *DIGITS, "--patches", "36", "--out", str(tmp_path)]
    assert fails(words).startswith(sentence)


def test_a_gate_that_releases_patches_is_refused_with_the_cure(fails, tmp_path, digits):
    from policy.gate_file import save_gate
    from policy.gates import LearnedGate

    save_gate(tmp_path / "gate.safetensors", LearnedGate(digits.dim, digits.depth), digits)
    words = ["export-step", "--gate", str(tmp_path / "gate.safetensors"), "--weights", "random"]

    assert fails([*words, "--patches", "36", "--out", str(tmp_path)]) == (
        "the gumbel gate cannot pick a fixed count of patches: it releases patches at later "
        "blocks (train one with --model.releases false). What can are gates with one mask and a "
        "score: threshold, top-r, cosine, and learned ones that release nothing"
    )
