"""Training an agent by PPO and by REINFORCE, through the command line where a user would."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from datamodules.errors import RegateError
from datamodules.records import Clip
from policy.cli import main
from policy.gate_file import load_gate, read_metadata
from policy.gates.heuristic import ThresholdGate
from policy.rl.ppo import PPO
from policy.session import ReuseSession
from policy.tasks.agent import AgentTask
from policy.tasks.ppo import PPOTask
from policy.tasks.reinforce import ReinforceTask

TASKS = {"ppo": PPOTask, "reinforce": ReinforceTask}
STEPS = {"ppo": 4 * 4, "reinforce": 1}  # of the optimiser, per batch
EACH_ROLLOUT = {
    "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
    "init_args": {"filename": "{step}", "every_n_train_steps": 1, "save_top_k": -1},
}


@pytest.fixture(scope="module", params=TASKS)
def policy(request):
    """Each in turn."""
    return request.param


@pytest.fixture(scope="module")
def runs(words, tmp_path_factory):
    """Folder of such a run of each policy, for tests that only read it."""
    done = {}

    def run(policy):
        if policy not in done:
            done[policy] = tmp_path_factory.mktemp(policy) / "run"
            keep = f"--trainer.callbacks={json.dumps([EACH_ROLLOUT])}"
            main(["fit", *words(policy), keep, "--run_dir", str(done[policy])])
        return done[policy]

    return run


@pytest.fixture
def fit(words, tmp_path):
    """Run a fit with changes, in a folder of its own."""

    def run(policy, name, *changes):
        main(["fit", *words(policy), "--run_dir", str(tmp_path / name), *changes])
        return tmp_path / name

    return run


@pytest.mark.parametrize("task", TASKS.values())
def test_before_the_first_update_the_mean_action_is_the_calibrated_threshold(
    task, digits, digit_clips
):
    gate, threshold = task("regate_vit_digits", "random").gate, ThresholdGate()
    frames = digits.normalize(digit_clips[1])
    recomputed = []
    for knob in (-2.0, -1.0, 0.0):
        ours, theirs = ReuseSession(digits, gate), ReuseSession(digits, threshold)
        ours.knob = theirs.knob = knob
        for frame in frames:
            one, other = ours.step(frame), theirs.step(frame)
            assert torch.equal(one.recompute, other.recompute)
            assert torch.equal(one.logits, other.logits)
            recomputed.append(one.recompute.float().mean().item())
    assert 0.05 < sum(recomputed) / len(recomputed) < 0.95


def test_a_fit_ends_with_a_gate_that_serves_any_budget(policy, runs, digits, digit_clips):
    gate = load_gate(runs(policy) / "gate.safetensors", digits)

    assert gate.name == policy
    session = ReuseSession(digits, gate, budget=0.2)
    spent = [session.step(frame).spent.item() for frame in digits.normalize(digit_clips[0])]
    assert 0 < sum(spent[1:]) / 3 < 0.6
    session.budget = 1.0
    assert gate.calibration.source == "synthetic, 2 calibration clips"
    command = read_metadata(runs(policy) / "gate.safetensors")["command"]
    assert f"configs/{policy}/synthetic.yaml" in command


def test_each_rollout_and_each_validation_is_logged(policy, runs, scalars):
    logged = scalars(runs(policy))

    names = ["loss", "reward", "quality", "spent", "excess", "kl", "policy_loss", "approx_kl"]
    if policy == "ppo":
        names += ["reward_minus_threshold", "value_loss", "explained_variance", "clip_fraction"]
    for name in names:
        assert len(logged[f"train/{name}"]) == 4, name
    assert len(logged["val/kl_minus_threshold"]) == 2
    for kl, quality in zip(logged["train/kl"], logged["train/quality"], strict=True):
        assert quality == pytest.approx(1 - kl, abs=1e-5)
    assert logged["train/exploration"][0] == pytest.approx(0.3, rel=0.05)
    values = [value for tag, series in logged.items() if tag[:3] != "hp/" for value in series]
    assert all(map(math.isfinite, values))


def test_the_actor_learns_and_the_backbone_does_not(policy, runs):
    last = torch.load(runs(policy) / "checkpoints" / "last.ckpt")

    parts = {name.split(".")[0] for name in last["state_dict"]}
    critic = {"critic"} if policy == "ppo" else set()
    assert parts == {"gate", "exploration", "value_norm", "bins"} | critic
    assert last["global_step"] == 4 * STEPS[policy]
    assert last["state_dict"]["gate.actor.layers.4.weight"].abs().sum() > 0


def test_an_agent_that_does_not_explore_gets_what_the_threshold_gets(fit, scalars):
    logged = scalars(fit("ppo", "still", "--model.exploration=1e-9", "--trainer.max_epochs=1"))

    assert logged["train/reward_minus_threshold"][0] == 0  # the second batch comes after a step


def test_the_same_seed_makes_the_same_gate(policy, runs, fit):
    whole = load_file(runs(policy) / "gate.safetensors")

    again = load_file(fit(policy, "again") / "gate.safetensors")
    short = ["--trainer.max_epochs=1", "--trainer.limit_val_batches=0"]
    other = load_file(fit(policy, "other", "--seed_everything=1", *short) / "gate.safetensors")

    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert not torch.equal(whole["actor.layers.0.weight"], other["actor.layers.0.weight"])


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_resumed_in_mid_epoch_it_ends_with_the_same_gate(policy, runs, fit, assert_same_gate):
    done = 3 * STEPS[policy]
    checkpoint = runs(policy) / "checkpoints" / f"step={done}.ckpt"

    resumed = fit(policy, "resumed", "--ckpt_path", str(checkpoint))

    assert_same_gate(resumed, runs(policy))


@pytest.mark.parametrize(
    ("command", "asked", "found"),
    [
        ("fit", "PPOTask", "ReinforceTask"),
        ("fit", "ReinforceTask", "PPOTask"),
        ("fit", "PPOTask", "GumbelTask"),
        ("fit", "ReinforceTask", "GumbelTask"),
        ("fit", "GumbelTask", "PPOTask"),
        ("test", "ReinforceTask", "PPOTask"),
    ],
)
def test_a_checkpoint_of_another_task_is_refused_and_its_run_left_as_it_is(
    command, asked, found, runs, words, gumbel, gumbel_run, fails
):
    configs = {"PPOTask": words("ppo"), "ReinforceTask": words("reinforce"), "GumbelTask": gumbel}
    run = gumbel_run if found == "GumbelTask" else runs(found.removesuffix("Task").lower())
    checkpoint = run / "checkpoints" / "last.ckpt"
    before = files_of(run)

    told = fails([command, *configs[asked], "--ckpt_path", str(checkpoint)])

    assert told == (
        f"{checkpoint} was made by {found}, but the config names {asked}: leave --config out, and "
        f"the one in the checkpoint's run folder is read, or name a checkpoint of {asked}"
    )
    assert files_of(run) == before


def files_of(run):
    """All of a run but its logs, of which Lightning opens another whatever happens."""
    found = run.rglob("*")
    return {
        path: path.stat().st_mtime_ns
        for path in found
        if path.is_file() and "tfevents" not in path.name
    }


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    policy, runs, words, tmp_path, regate, assert_same_gate
):
    every_rollout = {
        "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
        "init_args": {
            "filename": "last", "enable_version_counter": False, "every_n_train_steps": 1
        },
    }  # fmt: skip
    cut = ["fit", *words(policy), "--run_dir", str(tmp_path / "cut")]
    cut += [f"--trainer.callbacks={json.dumps([every_rollout])}"]
    killed = regate(*cut, "--model.class_path", f"killed_run.Killed{TASKS[policy].__name__}")
    assert killed.returncode == -9, killed.stderr
    saved = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt")
    assert saved["global_step"] == 3 * STEPS[policy]

    main([*cut, "--ckpt_path", "last"])

    assert_same_gate(tmp_path / "cut", runs(policy))


TWO = ["--trainer.devices", 2, "--trainer.strategy", "ddp", "--data.batch_size", 2]
"""Processes, which share a rollout of four clips."""


@pytest.mark.slow
def test_two_processes_train_one_agent(policy, words, tmp_path, regate, digits):
    far = ["--model.ppo.adv_clip=1e9"] if policy == "ppo" else ["--model.reinforce.adv_clip=1e9"]
    done = regate(
        "fit", *words(policy), "--run_dir", tmp_path / "run", *TWO, *far,
        "--model.class_path", f"watched_run.Watched{TASKS[policy].__name__}",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("gate: ") == 1
    load_gate(tmp_path / "run" / "gate.safetensors", digits)
    one, other = (torch.load(tmp_path / "run" / f"process-{k}.pt") for k in (0, 1))
    assert all(torch.equal(one["weights"][name], other["weights"][name]) for name in one["weights"])
    # Scaled as one, of which each process has a part that is unlike the other.
    for ours, theirs in zip(one["advantages"], other["advantages"], strict=True):
        together = torch.cat([ours, theirs])
        assert together.mean().item() == pytest.approx(0, abs=1e-5)
        assert together.std(correction=0).item() == pytest.approx(1, abs=1e-5)
        assert abs(ours.std(correction=0) - 1) > 1e-3
    if policy == "ppo":
        returns = torch.cat([*one["returns"], *other["returns"]])
        for found in (one["norm"], other["norm"]):
            assert found["count"] == len(returns)
            assert found["mean"].item() == pytest.approx(returns.mean().item(), rel=1e-4)


@pytest.mark.slow
def test_a_reward_that_is_no_number_in_one_process_stops_both(words, tmp_path, regate):
    """One that raised alone would leave the other waiting for ever."""
    done = regate(
        "fit", *words("reinforce"), "--run_dir", tmp_path / "run", *TWO,
        "--model.class_path", "watched_run.BrokenReinforceTask",
    )  # fmt: skip

    assert done.returncode == 2, done.stderr
    assert "error: training stopped at step 1 because a reward is not finite" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def remembered(monkeypatch):
    """The task of a fit that will fail."""
    tasks = []
    original = AgentTask.on_fit_start

    def remember(task):
        tasks.append(task)
        original(task)

    monkeypatch.setattr(AgentTask, "on_fit_start", remember)
    return tasks


def test_a_reward_that_is_no_number_stops_before_anything_has_changed(
    policy, words, tmp_path, monkeypatch, remembered, fails
):
    original = AgentTask._rollout

    def broken(task, batch, bins):
        rollout = original(task, batch, bins)
        rollout.rewards[1, 0] = math.nan
        return rollout

    monkeypatch.setattr(AgentTask, "_rollout", broken)
    told = fails(["fit", *words(policy), "--run_dir", str(tmp_path)])

    assert told == (
        "training stopped at step 0 because a reward is not finite, with the weights still those "
        "before the step; look for broken clips, then go on with --ckpt_path last"
    )
    (task,) = remembered
    assert task.gate.actor.layers[-1].weight.abs().sum() == 0
    assert task.value_norm.count == 0
    assert not (tmp_path / "gate.safetensors").exists()


def test_a_loss_that_is_no_number_stops_before_the_weights_are_touched(
    words, tmp_path, fails, monkeypatch, remembered
):
    monkeypatch.setattr(PPO, "__post_init__", lambda settings: None)  # which would refuse it
    told = fails(["fit", *words("ppo"), "--run_dir", str(tmp_path), "--model.ppo.vf_coef=.nan"])

    assert told.startswith("training stopped at step 0 because the loss is nan, with the weights")
    (task,) = remembered
    assert all(torch.isfinite(parameter).all() for parameter in task.agent.parameters())
    assert task.gate.actor.layers[-1].weight.abs().sum() == 0


@pytest.mark.parametrize("quality", ["accuracy", "agreement", "cosine"])
def test_other_qualities_can_be_learned_from(quality, fit, scalars):
    short = ["--trainer.max_epochs=1", "--trainer.limit_val_batches=0"]
    run = fit("reinforce", quality, f"--model.quality={quality}", *short)

    logged = scalars(run)
    assert all(0 <= value <= 1 for value in logged["train/quality"])
    assert ("train/kl" in logged) == (quality != "accuracy")


def test_they_train_in_half_precision_too(fit, remembered):
    fit("reinforce", "half", "--trainer.precision=bf16-mixed", "--trainer.fast_dev_run=true")

    (task,) = remembered
    learned = task.gate.actor.layers[-1].weight
    assert learned.isfinite().all() and learned.abs().sum() > 0


@pytest.fixture
def copied(policy, runs, tmp_path):
    """A copy of the run, for tests that leave something in it."""
    return shutil.copytree(runs(policy), tmp_path / "copied")


def test_test_predict_and_export_need_the_checkpoint_alone(copied, policy, digits, capsys):
    checkpoint = str(copied / "checkpoints" / "last.ckpt")

    main(["test", "--ckpt_path", checkpoint])
    tested = capsys.readouterr().out
    main(["predict", "--ckpt_path", checkpoint])
    main(["export", "--ckpt", checkpoint, "--out", str(copied / "last.safetensors")])

    assert "test/kl" in tested
    assert len((copied / "predictions.jsonl").read_text().splitlines()) == 2
    assert load_gate(copied / "last.safetensors", digits).name == policy


def test_a_step_limit_counts_steps_of_the_optimiser_and_the_learning_rate_falls_until_then(fit):
    early = ["--model.ppo.target_kl=1e-9"]  # one pass over each rollout instead of four
    limit = ["--trainer.max_steps=16", "--trainer.max_epochs=4", "--trainer.limit_val_batches=0"]
    last = torch.load(fit("ppo", "short", *early, *limit) / "checkpoints" / "last.ckpt")

    assert last["global_step"] == 16
    assert last["lr_schedulers"][0]["last_epoch"] == 16
    assert last["lr_schedulers"][0]["_last_lr"] == pytest.approx([0])


def test_a_clip_without_labels_says_nothing_of_what_accuracy_is_lost(monkeypatch, digit_clips):
    task = PPOTask("regate_vit_digits", "random", quality="accuracy")
    knobs = torch.tensor([0.0, 2.0])

    def lost(*labels):
        clips = [
            Clip(frames, torch.full((len(frames),), label), str(label), "")
            for frames, label in zip(digit_clips, labels, strict=False)
        ]
        monkeypatch.setattr("policy.tasks.agent.spread_clips", lambda *_: clips)
        monkeypatch.setattr(PPOTask, "data", None)
        return task._lost(knobs)

    assert len(lost(3, -1, 4)) == 2
    with pytest.raises(RegateError, match="no calibration clip has any"):
        lost(-1, -1)
