"""The gate file of any checkpoint."""

import math

import pytest
import torch
from safetensors.torch import load_file

from policy.cli import main
from policy.gate_file import load_gate, read_metadata


def test_the_best_checkpoint_gives_the_file_that_the_fit_wrote(gumbel_run, tmp_path, capsys):
    out = tmp_path / "new" / "gate.safetensors"

    main(["export", "--ckpt", str(gumbel_run / "checkpoints" / "best.ckpt"), "--out", str(out)])

    assert capsys.readouterr().out.startswith(f"gate: {out} (")
    ours, theirs = load_file(out), load_file(gumbel_run / "gate.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    exported, fitted = read_metadata(out), read_metadata(gumbel_run / "gate.safetensors")
    for name in ("knob", "calibration", "identity", "settings", "command"):
        assert exported[name] == fitted[name]


def test_a_checkpoint_in_mid_training_gives_the_gate_of_that_step(gumbel_run, digits, tmp_path):
    checkpoint = gumbel_run / "checkpoints" / "step=2.ckpt"

    main(["export", "--ckpt", str(checkpoint), "--out", str(tmp_path / "gate.safetensors")])

    gate = load_gate(tmp_path / "gate.safetensors", digits)
    saved = torch.load(checkpoint)["state_dict"]
    for name, value in gate.state_dict().items():
        assert torch.equal(value, saved[f"gate.{name}"])
    assert gate.calibration.floor < gate.calibration.lowest < 0.04  # by skipping frames


def test_a_gate_is_calibrated_anew_for_other_frames(gumbel_run, tmp_path):
    words = ["--ckpt", str(gumbel_run / "checkpoints" / "last.ckpt")]
    out = tmp_path / "gate.safetensors"

    main(["export", *words, "--out", str(out), "--preprocessing.std", "0.25,0.25,0.25"])

    exported, fitted = read_metadata(out), read_metadata(gumbel_run / "gate.safetensors")
    assert exported["preprocessing"] == fitted["preprocessing"] | {"std": [0.25] * 3}
    # Twice the contrast is about twice the drift, and knobs are logarithms.
    assert exported["knob"] - fitted["knob"] == pytest.approx(math.log(2), abs=0.2)


def test_without_out_the_file_lies_in_the_folder_of_the_run(gumbel, tmp_path):
    run = tmp_path / "run"
    main(["fit", *gumbel, "--run_dir", str(run), "--trainer.max_epochs=1"])
    (run / "gate.safetensors").unlink()

    main(["export", "--ckpt", str(run / "checkpoints" / "last.ckpt")])

    assert (run / "gate.safetensors").is_file()


@pytest.mark.parametrize("out", ["", "folder"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_computed(
    out, gumbel_run, tmp_path, monkeypatch, fails
):
    monkeypatch.setattr("policy.export.task_and_data", lambda *_: pytest.fail("computed"))
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)

    told = fails(["export", "--ckpt", str(gumbel_run / "checkpoints/best.ckpt"), "--out", out])

    assert told == f"cannot write {out or '.'}, which is a folder: name a file in it"


def test_a_missing_checkpoint_is_told(tmp_path, fails):
    assert fails(["export", "--ckpt", "runs/nowhere/last.ckpt"]) == (
        "there is no checkpoint at runs/nowhere/last.ckpt; --ckpt takes a .ckpt file of a run"
    )


def test_a_checkpoint_away_from_its_run_is_told(gumbel_run, tmp_path, fails):
    alone = tmp_path / "a" / "b" / "c" / "last.ckpt"
    alone.parent.mkdir(parents=True)
    alone.write_bytes((gumbel_run / "checkpoints" / "last.ckpt").read_bytes())

    assert fails(["export", "--ckpt", str(alone)]) == (
        f"there is no config.yaml in the folders above {alone}; "
        "leave the checkpoint in the folder of its run"
    )


def test_a_task_without_a_gate_is_told(tiny, fails):
    main(["fit", "--config", "tiny.yaml", "--run_dir", "run"])

    assert fails(["export", "--ckpt", "run/checkpoints/last.ckpt"]) == (
        "run/checkpoints/last.ckpt holds no gate, it was made by a TinyTask"
    )


@pytest.fixture
def copied(gumbel_run, tmp_path):
    """The run's config beside a checkpoint that a test writes."""
    (tmp_path / "config.yaml").write_text((gumbel_run / "config.yaml").read_text())
    return tmp_path / "last.ckpt"


def test_a_cut_checkpoint_is_told(gumbel_run, copied, fails):
    whole = (gumbel_run / "checkpoints" / "last.ckpt").read_bytes()
    copied.write_bytes(whole[: len(whole) // 2])

    told = fails(["export", "--ckpt", str(copied)])

    assert told.startswith(f"{copied} cannot be read as a checkpoint (")


def test_a_checkpoint_of_another_backbone_is_refused(gumbel_run, copied, fails):
    checkpoint = torch.load(gumbel_run / "checkpoints" / "last.ckpt")
    checkpoint["backbone"] = {"name": "vit_tiny_patch16_224", "fingerprint": "0123"}
    torch.save(checkpoint, copied)

    assert fails(["export", "--ckpt", str(copied)]).startswith(
        f"{copied} belongs to vit_tiny_patch16_224 with weights 0123, but the backbone is reg"
    )


def test_a_checkpoint_without_the_gate_is_refused(gumbel_run, copied, fails):
    """Loading is not strict, since the backbone is left out on purpose."""
    checkpoint = torch.load(gumbel_run / "checkpoints" / "last.ckpt")
    del checkpoint["state_dict"]["gate.meaning.weight"]
    torch.save(checkpoint, copied)

    assert fails(["export", "--ckpt", str(copied)]) == (
        f"{copied} lacks 'gate.meaning.weight': it is of another version or task"
    )


def test_an_output_that_cannot_be_written_is_told(gumbel_run, tmp_path, fails):
    (tmp_path / "taken").touch()
    checkpoint = str(gumbel_run / "checkpoints" / "last.ckpt")

    told = fails(["export", "--ckpt", checkpoint, "--out", str(tmp_path / "taken" / "g")])

    assert told.startswith(f"cannot write {tmp_path}/taken (")


def test_the_config_of_the_last_resume_counts(gumbel_run, copied, fails):
    """The data of the run's start may have been moved since."""
    config = copied.parent / "config.yaml"
    config.rename(copied.parent / "config.resume-1.yaml")
    config.write_text("model:\n  class_path: moved.Task\ndata:\n  class_path: moved.Data\n")
    copied.write_bytes(b"cut")

    assert fails(["export", "--ckpt", str(copied)]).startswith(f"{copied} cannot be read as a chec")
