"""Training a gate, through the command line where a user would."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from backbones import load_backbone
from datamodules.disturbance import Noise
from datamodules.synthetic import SyntheticClips
from policy import quality
from policy.cli import main
from policy.gate_file import load_gate, read_metadata
from policy.gates.learned import LearnedGate
from policy.session import ReuseSession
from policy.tasks import base
from policy.tasks.base import READ_AT
from policy.tasks.gumbel import GumbelTask


def test_a_fit_ends_with_a_gate_that_serves_any_budget(gumbel_run, digits, digit_clips):
    gate = load_gate(gumbel_run / "gate.safetensors", digits)

    spent = []
    for clip in digit_clips:
        session = ReuseSession(digits, gate, budget=0.2)
        spent += [session.step(frame).spent.item() for frame in digits.normalize(clip)][1:]

    assert sum(spent) / len(spent) == pytest.approx(0.2, rel=0.02)
    session.budget = 0.5
    session.budget = 1.0
    assert gate.knob == pytest.approx(gate.calibration.knob(0.2))


def test_the_gate_file_knows_the_command_that_made_it(gumbel_run):
    metadata = read_metadata(gumbel_run / "gate.safetensors")

    assert metadata["command"].startswith("regate fit --config ")
    assert metadata["calibration"]["source"] == "synthetic, 4 calibration clips"
    assert metadata["calibration"]["floor"] < metadata["budgets"][0] < 0.04  # by skipping frames


def test_each_step_and_each_validation_is_logged(gumbel_run, scalars):
    logged = scalars(gumbel_run)

    for tag in ("train/loss", "train/kl", "train/cosine", "train/spent", "train/price"):
        assert len(logged[tag]) == 4, tag
    for tag in ("val/kl", "val/spent", "val/kl_minus_threshold", "hp/kl_minus_threshold"):
        assert len(logged[tag]) >= 2, tag
    assert logged["train/temperature"][0] == pytest.approx(0.3)
    assert logged["train/temperature"][-1] == pytest.approx(0.3 * (2 / 3) ** (3 / 4))
    assert logged["hp/spent"][-1] == logged["val/spent"][-1]
    values = [value for tag, series in logged.items() if tag[:3] != "hp/" for value in series]
    assert all(map(math.isfinite, values))


def test_the_decisions_are_drawn_without_being_asked_for(gumbel_run):
    events = EventAccumulator(str(gumbel_run), size_guidance={"images": 0}).Reload()

    assert len(events.Images("val/overlay")) == 2
    assert "val/recompute_rate/block_03" in events.Tags()["scalars"]


def test_a_checkpoint_holds_the_gate_and_not_the_backbone(gumbel_run):
    checkpoint = torch.load(gumbel_run / "checkpoints" / "last.ckpt")

    names = set(checkpoint["state_dict"])
    assert {name.split(".")[0] for name in names} == {
        "gate", "budgets", "log_price", "unit", "shift"
    }  # fmt: skip
    assert checkpoint["backbone"]["name"] == "regate_vit_digits"


@pytest.fixture
def fit(gumbel, tmp_path):
    """Run a fit with changes, in a folder of its own."""

    def run(name, *words):
        main(["fit", *gumbel, "--run_dir", str(tmp_path / name), *words])
        return tmp_path / name

    return run


def test_of_disturbed_clips_the_undisturbed_frames_are_the_reference(fit, monkeypatch):
    """In the loss, the prices it starts from, validation, and the choice of paces."""
    undisturbed, referred = set(), []
    disturb, dense_clip = Noise.__call__, quality.dense_clip

    def disturbing(noise, frames, name):
        undisturbed.add(digits_of(frames))
        return disturb(noise, frames, name)

    def refer(backbone, frames):
        pixels = frames * backbone.std + backbone.mean
        referred.append(digits_of((255 * pixels).round().byte()))
        return dense_clip(backbone, frames)

    def digits_of(frames):
        return frames.numpy().tobytes()

    monkeypatch.setattr(Noise, "__call__", disturbing)
    monkeypatch.setattr(quality, "dense_clip", refer)
    few = ["--data.train_clips=4", "--data.num_frames=3", "--model.calibration_clips=2"]
    noise = ["--data.disturbance=datamodules.disturbance.Noise", "--data.disturbance.sigma=20"]
    run = fit("noisy", *few, "--data.calibration_clips=2", "--trainer.max_epochs=1", *noise)
    main(["test", "--run_dir", str(run), "--ckpt_path", str(run / "checkpoints/last.ckpt")])

    # Prices 2, training 4, validation 2, paces 2, test 4.
    assert len(referred) == 14
    assert set(referred) <= undisturbed


def test_a_fit_ends_with_the_best_gate_where_a_later_one_is_worse(
    fit, monkeypatch, capsys, scalars
):
    def spoiled(task):
        if task.current_epoch == 1:
            torch.nn.init.normal_(task.gate.admit[2].weight, std=5.0)
        task.on_validation_start_as_it_was()

    monkeypatch.setattr(
        GumbelTask, "on_validation_start_as_it_was", GumbelTask.on_validation_start, raising=False
    )
    monkeypatch.setattr(GumbelTask, "on_validation_start", spoiled)

    few = ["--data.train_clips=4", "--data.num_frames=3", "--model.calibration_clips=2"]
    run = fit("spoiled", *few, "--data.calibration_clips=2")

    first, second = scalars(run)["val/kl_minus_threshold"]
    assert first < second
    assert (
        f"weights: of epoch 1 (step 1), where val/kl_minus_threshold was lowest, {first:.4f}\n"
        f"gate: {run}/gate.safetensors ("
    ) in capsys.readouterr().out
    exported = load_file(run / "gate.safetensors")
    best, last = (torch.load(run / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    for name, value in exported.items():
        assert torch.equal(value, best["state_dict"][f"gate.{name}"])
    spoilt = last["state_dict"]["gate.admit.2.weight"]
    assert not torch.equal(exported["admit.2.weight"], spoilt)


def test_the_same_seed_makes_the_same_gate(gumbel_run, fit):
    whole = load_file(gumbel_run / "gate.safetensors")

    again = load_file(fit("again") / "gate.safetensors")
    words = ["--seed_everything=1", "--trainer.max_epochs=1"]
    other = load_file(fit("other", *words) / "gate.safetensors")

    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert not torch.equal(whole["meaning.weight"], other["meaning.weight"])


def test_a_budget_under_the_floor_does_not_stop_a_training_that_has_others(fit):
    run = fit("low", "--model.budget", "0.005", "--trainer.max_epochs", "1")
    assert (run / "checkpoints" / "best.ckpt").is_file() and (run / "gate.safetensors").is_file()


def test_labels_can_be_learned_from_too(fit, gumbel_run, scalars):
    folder = fit("labels", "--model.label_weight", "1", "--trainer.max_epochs", "1")

    loss, without = (scalars(run)["train/loss"][0] for run in (folder, gumbel_run))
    assert loss > without


def test_labels_of_other_classes_are_refused(gumbel, tmp_path, monkeypatch, fails):
    monkeypatch.setattr(SyntheticClips, "class_names", ("even", "odd"))
    words = ["fit", *gumbel, "--run_dir", str(tmp_path), "--model.label_weight", "1"]

    assert fails(words) == (
        "label_weight 1 needs the backbone's own 10 classes as labels, but synthetic has 2: "
        "set it to 0, which trains without labels"
    )


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("budget_range", "[0,1]", "budget_range must be two ascending values in (0, 1], got 0 and"),
        ("budget_range", "[0.5,0.2]", "budget_range must be two ascending values in (0, 1], got"),
        ("temperature", "[1,0]", "temperature must be two values above 0, got 1 and 0"),
        ("noise_scale", "-1", "noise_scale must be 0 or more, got -1"),
        ("probes", "0", "probes must be in (0, 1], the share probed; got 0"),
        ("label_weight", "-0.5", "label_weight must be 0 or more, got -0.5"),
    ],
)
def test_a_setting_out_of_its_range_is_told(setting, value, told, gumbel, fails):
    assert fails(["fit", *gumbel, f"--model.{setting}={value}"]).startswith(told)


def test_an_untrained_gate_is_the_threshold(fit, monkeypatch, scalars):
    """Its own cost set aside, which is a few percent of the lowest budget on so small a model."""
    monkeypatch.setattr(LearnedGate, "macs", lambda gate, block, dim: 0.0 if block else float(dim))

    logged = scalars(fit("idle", "--model.learning_rate", "0", "--trainer.max_epochs", "1"))

    assert abs(logged["val/kl_minus_threshold"][0]) < 1e-3
    for budget in READ_AT:
        assert abs(logged[f"val/kl_minus_threshold_at_{budget:g}"][0]) < 1e-6


def test_validation_charges_the_gate_for_its_own_cost(fit, scalars):
    logged = scalars(fit("idle", "--model.learning_rate", "0", "--trainer.max_epochs", "1"))

    assert 0 < logged["val/kl_minus_threshold"][0] < 0.2


@pytest.fixture
def copied(gumbel_run, tmp_path):
    """A copy of the run, for tests that leave something in it."""
    return shutil.copytree(gumbel_run, tmp_path / "copied")


def test_test_and_validate_need_the_checkpoint_alone(copied, capsys, scalars):
    checkpoint = str(copied / "checkpoints" / "last.ckpt")

    main(["validate", "--ckpt_path", checkpoint])
    validated = capsys.readouterr().out
    main(["test", "--ckpt_path", checkpoint])
    tested = capsys.readouterr().out

    # Beside the curves of the training, not in them.
    assert set(scalars(copied / "validate")) > {"val/kl", "val/kl_minus_threshold"}
    assert not any(tag.startswith("test/") for tag in scalars(copied))
    assert "val/kl_minus_threshold" in validated
    for metric in ("kl", "agreement", "cosine", "cosine_worst5", "excess_flips", "spent"):
        assert f"test/{metric}" in tested


def test_what_the_run_was_calibrated_to_is_what_is_tested(copied, monkeypatch):
    calibrated = []
    budget_table = base.budget_table

    def counting(*words, **options):
        calibrated.append(1)
        return budget_table(*words, **options)

    monkeypatch.setattr(base, "budget_table", counting)

    main(["test", "--ckpt_path", str(copied / "checkpoints" / "best.ckpt")])
    assert not calibrated
    main(["test", "--ckpt_path", str(copied / "checkpoints" / "step=1.ckpt")])  # another gate
    assert calibrated


def test_the_budget_of_a_test_can_be_asked_for(copied, fails):
    checkpoint = str(copied / "checkpoints" / "last.ckpt")

    assert fails(["test", "--ckpt_path", checkpoint, "--model.budget", "1.5"]) == (
        "budget must be in (0, 1], the fraction of a dense frame's MACs; got 1.5"
    )
    assert fails(["test", "--ckpt_path", checkpoint, "--model.budget", "0.001"]).startswith(
        "budget 0.001 is under this gate's floor of 0.0"
    )


def test_a_checkpoint_of_another_backbone_is_refused(copied, digits, tmp_path, fails):
    torch.manual_seed(1)
    other = {name: torch.randn_like(value) for name, value in digits.vit.state_dict().items()}
    torch.save(other, tmp_path / "other.pth")
    checkpoint = str(copied / "checkpoints" / "last.ckpt")

    told = fails(
        ["test", "--ckpt_path", checkpoint, "--model.weights", str(tmp_path / "other.pth")]
    )

    theirs = load_backbone("regate_vit_digits", str(tmp_path / "other.pth")).fingerprint
    assert told == (
        f"{checkpoint} belongs to regate_vit_digits with weights {digits.fingerprint}, but the "
        f"backbone is regate_vit_digits with {theirs}: load that backbone with those weights"
    )


def test_a_loss_that_is_no_number_stops_before_the_weights_are_touched(gumbel, tmp_path, fails):
    task = None

    def remember(module):
        nonlocal task
        task = module

    original = GumbelTask.on_fit_start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GumbelTask, "on_fit_start", lambda self: (remember(self), original(self))[1])
        words = ["fit", *gumbel, "--run_dir", str(tmp_path), "--model.cosine_weight", ".nan"]
        told = fails(words)

    assert told.startswith("training stopped at step 0 because the loss is nan, with the weights")
    assert all(torch.isfinite(parameter).all() for parameter in task.gate.parameters())
    assert task.gate.admit[2].weight.abs().sum() == 0  # as initialised
    assert not (tmp_path / "gate.safetensors").exists()


def test_a_trial_run_of_one_batch_leaves_no_gate(gumbel, tmp_path):
    main(["fit", *gumbel, "--run_dir", str(tmp_path / "run"), "--trainer.fast_dev_run", "true"])

    assert not (tmp_path / "run" / "gate.safetensors").exists()


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")  # step=3 is not kept
def test_resumed_in_mid_epoch_it_ends_with_the_same_gate(gumbel_run, fit, assert_same_gate):
    checkpoint = gumbel_run / "checkpoints" / "step=3.ckpt"

    resumed = fit("resumed", "--ckpt_path", str(checkpoint))

    assert_same_gate(resumed, gumbel_run)
    begun, gone_on = read_metadata(resumed / "gate.safetensors")["command"].split(" && ")
    assert begun == read_metadata(gumbel_run / "gate.safetensors")["command"]
    assert gone_on.endswith(f"--ckpt_path {checkpoint}")


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    gumbel_run, gumbel, tmp_path, regate, assert_same_gate
):
    every_step = {
        "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
        "init_args": {
            "filename": "last", "enable_version_counter": False, "every_n_train_steps": 1
        },
    }  # fmt: skip
    cut = ["fit", *gumbel, "--run_dir", str(tmp_path / "cut")]
    cut += [f"--trainer.callbacks={json.dumps([every_step])}"]
    killed = regate(*cut, "--model.class_path", "killed_run.KilledAtStep3")
    assert killed.returncode == -9, killed.stderr
    saved = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt")
    assert saved["global_step"] == 3

    main([*cut, "--ckpt_path", "last"])

    assert_same_gate(tmp_path / "cut", gumbel_run)


@pytest.mark.slow
def test_two_processes_train_one_gate(gumbel, tmp_path, regate, digits, scalars):
    done = regate(
        "fit", *gumbel, "--run_dir", tmp_path / "run", "--trainer.devices", 2,
        "--trainer.strategy", "ddp", "--data.batch_size", 2,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("gate: ") == 1
    load_gate(tmp_path / "run" / "gate.safetensors", digits)
    assert len(scalars(tmp_path / "run")["train/kl"]) == 4
