"""fit, validate, test and predict as a user types them, on a task of three weights."""

import re

import pytest
import torch
import yaml

from policy.cli import main

FIT = ["fit", "--config", "tiny.yaml"]
RUN = "runs/tiny/point/pull/seed0"
LAST = f"{RUN}/checkpoints/last.ckpt"


def fails(words, capsys):
    """The sentence after ``error:`` that a command fails with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("error: ")


def test_a_run_has_one_folder_named_after_data_backbone_policy_and_seed(tiny, capsys):
    main([*FIT, "--seed_everything", "4"])

    folder = tiny / "runs/tiny/point/pull/seed4"
    names = {path.name.split(".out.")[0] for path in folder.iterdir()}
    assert names == {"checkpoints", "config.yaml", "hparams.yaml", "events"}
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["last.ckpt"]
    assert capsys.readouterr().out.startswith("run folder: runs/tiny/point/pull/seed4 (to watch:")


def test_nothing_but_the_run_folder_is_said(tiny, capsys, recwarn):
    main([*FIT, "--run_dir", "mine"])

    printed = capsys.readouterr()
    assert printed.out == "run folder: mine (to watch: tensorboard --logdir mine)\n"
    assert printed.err == ""
    assert [str(warning.message) for warning in recwarn] == []


def test_the_same_seed_makes_the_same_weights_and_another_seed_others(tiny):
    weights = []
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        main([*FIT, "--run_dir", name, "--seed_everything", str(seed)])
        weights.append(weight(tiny / name / "checkpoints/last.ckpt"))

    assert weights[0] == weights[1] != weights[2]


def weight(path):
    return torch.load(path)["state_dict"]["weight"].tolist()


def test_a_checkpoint_alone_is_enough_to_measure_it(tiny, capsys):
    main([*FIT, "--model.target", "5"])

    main(["test", "--ckpt_path", LAST])

    mean = pytest.approx(sum(weight(tiny / LAST)) / 3)
    assert table(capsys) == {"test/target": 5.0, "test/weight": mean}
    main(["validate", "--ckpt_path", "last", "--run_dir", RUN])
    assert table(capsys) == {"val/weight": mean}


def table(capsys):
    """The table that Lightning prints after a measurement."""
    rows = re.findall(r"(\S+/\S+) +│ +(\S+) ", capsys.readouterr().out)
    return {name: float(value) for name, value in rows}


def test_the_command_line_wins_over_the_checkpoint(tiny, capsys):
    """Lightning merges a checkpoint's hyper-parameters last, over what the user typed."""
    main([*FIT, "--model.target", "5"])

    main(["test", "--ckpt_path", LAST, "--model.target", "7"])

    assert table(capsys)["test/target"] == 7.0


def test_a_moved_run_is_still_found_from_its_checkpoint(tiny, capsys):
    main([*FIT, "--run_dir", "old"])
    (tiny / "old").rename(tiny / "new")

    main(["test", "--ckpt_path", "new/checkpoints/last.ckpt"])

    assert "test/target" in capsys.readouterr().out
    assert not (tiny / "old").exists()


def test_predict_sees_each_clip_once(tiny):
    main([*FIT])

    with pytest.warns(UserWarning, match="predict returned None"):
        main(["predict", "--ckpt_path", LAST, "--model.log", "log"])

    assert [line.split()[2] for line in (tiny / "log").read_text().splitlines()] == [
        "clip0",
        "clip1",
        "clip2",
    ]


def test_measuring_without_a_checkpoint_touches_no_run(tiny):
    main(["validate", "--config", "tiny.yaml"])

    assert sorted(path.name for path in tiny.iterdir()) == ["tiny.yaml"]


def test_last_without_a_checkpoint_names_the_folder_looked_in(tiny, capsys):
    """Lightning would train from scratch and exit with 0."""
    assert fails([*FIT, "--ckpt_path", "last"], capsys) == (
        f"--ckpt_path last found no checkpoint in {RUN}/checkpoints; name the run with "
        "--run_dir, or leave --ckpt_path out to start a new one"
    )


def test_an_absent_checkpoint_is_named(tiny, capsys):
    assert fails([*FIT, "--ckpt_path", "none.ckpt"], capsys) == (
        "there is no checkpoint at none.ckpt; --ckpt_path takes a file or last"
    )


def test_a_checkpoint_without_a_config_asks_for_one(tiny, capsys):
    torch.save({}, tiny / "alone.ckpt")

    assert fails(["test", "--ckpt_path", "alone.ckpt"], capsys) == (
        "there is no config.yaml in the folders above alone.ckpt; name one with --config"
    )
    assert fails(["test", "--ckpt_path", "last"], capsys) == (
        "--ckpt_path last needs to know of which run; name it with --run_dir"
    )
    assert fails(["test", "--ckpt_path", "last", "--run_dir", "none"], capsys) == (
        "there is no config.yaml in none; name one with --config"
    )


def test_a_second_run_does_not_mix_into_the_first(tiny, capsys):
    main(FIT)

    assert fails(FIT, capsys) == (
        f"{RUN} holds a run already; go on with it by --ckpt_path last, "
        "or name another folder with --run_dir"
    )


def test_a_place_that_cannot_be_written_is_told_before_training(tiny, capsys):
    (tiny / "file").touch()

    assert fails([*FIT, "--run_dir=file/run"], capsys).startswith("cannot write file/run (Not a")


def test_a_damaged_checkpoint_is_told_in_a_sentence(tiny, capsys):
    main(FIT)
    (tiny / LAST).write_bytes((tiny / LAST).read_bytes()[:500])

    assert "last.ckpt cannot be read as a checkpoint" in fails(
        ["test", "--ckpt_path", LAST], capsys
    )


def test_a_nan_stops_the_run_with_status_2_and_leaves_the_last_good_checkpoint(tiny, capsys):
    sentence = fails([*FIT, "--model.nan_at", "8", "--run_dir", "run"], capsys)

    assert sentence.startswith("training stopped at step 8 because the loss is nan")
    assert torch.load(tiny / "run/checkpoints/last.ckpt")["global_step"] == 6


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model.lrr", "1"], "Option 'lrr' is not accepted"),
        (["--trainer.max_epoch", "1"], "--trainer.max_epoch"),
        (["--model.target", "abc"], "Parser key \"target\": Expected a <class 'float'>"),
        (["--model.target", "-1"], "target must be >= 0, got -1.0."),
    ],
)
def test_a_mistake_names_the_option(tiny, capsys, words, sentence):
    assert sentence in fails([*FIT, *words], capsys)


def test_a_typo_in_a_config_names_the_key(tiny, capsys):
    config = yaml.safe_load((tiny / "tiny.yaml").read_text())
    config["model"]["init_args"]["taget"] = 1.0
    (tiny / "typo.yaml").write_text(yaml.safe_dump(config))

    assert "Option 'taget' is not accepted" in fails(["fit", "--config", "typo.yaml"], capsys)


def test_lists_of_a_task_are_written_with_commas(root, capsys):
    words = ["--model.preprocessing.mean", "0.5,0.25,0.5", "--model.budget_range=0.1,0.4"]
    with pytest.raises(SystemExit):
        main(["fit", "--config", f"{root}/configs/gumbel/synthetic.yaml", *words, "--print_config"])

    model = yaml.safe_load(capsys.readouterr().out)["model"]["init_args"]
    assert model["preprocessing"]["mean"] == [0.5, 0.25, 0.5]
    assert model["budget_range"] == [0.1, 0.4]


def test_data_root_is_short_for_the_argument_of_the_data_class(tiny, capsys):
    with pytest.raises(SystemExit):
        main([*FIT, "--data.root", "my_videos", "--print_config"])

    assert yaml.safe_load(capsys.readouterr().out)["data"]["init_args"]["root"] == "my_videos"


def test_a_users_own_callbacks_logger_and_checkpoints_are_kept(tiny):
    callbacks = [
        {
            "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
            "init_args": {"monitor": "val/weight", "filename": "best"},
        }
    ]
    (tiny / "more.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": callbacks}}))

    main([*FIT, "--config", "more.yaml", "--trainer.logger", "false", "--run_dir", "run"])

    assert sorted(path.name for path in (tiny / "run/checkpoints").iterdir()) == [
        "best.ckpt",
        "last.ckpt",
    ]
    assert not list((tiny / "run").glob("events*"))


def test_a_trial_run_writes_nothing(tiny):
    main([*FIT, "--trainer.fast_dev_run", "true"])

    assert sorted(path.name for path in tiny.iterdir()) == ["tiny.yaml"]


def test_a_measurement_is_logged_beside_the_training_and_a_prediction_not_at_all(tiny):
    """Logged at step 0 of the run itself, it would bend the curves of the training."""
    main([*FIT])
    before = {path.name for path in (tiny / RUN).iterdir()}

    for command in ("validate", "test", "predict"):
        main([command, "--ckpt_path", LAST])

    assert {path.name for path in (tiny / RUN).iterdir()} - before == {"validate", "test"}


@pytest.mark.parametrize("name", ["fit", "validate", "test", "predict"])
def test_the_help_begins_with_what_the_command_does(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])

    first = capsys.readouterr().out.splitlines()[:12]
    assert first[0].startswith(f"usage: regate {name} --")
    assert any("--model.help GumbelTask" in line for line in first)
    with pytest.raises(SystemExit) as stopped:
        main([name, "--model.help", "GumbelTask"])
    assert not stopped.value.code
    listed = capsys.readouterr().out
    assert "--model.budget_range" in listed
    assert "--model.preprocessing.crop_pct" in listed


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fit", "fit needs to know of what: give --config FILE, such as configs/gumbel/"),
        ("test", "test needs to know of what: give --ckpt_path FILE, a checkpoint in the folder"),
    ],
)
def test_a_command_alone_is_told_what_it_lacks(name, told, capsys):
    assert fails([name], capsys).startswith(told)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_refused(tiny, capsys, seed):
    told = fails([*FIT, "--seed_everything", str(seed)], capsys)

    assert told == f"--seed_everything must be 0 to 4294967295, got {seed}"
    assert not (tiny / "runs").exists()


@pytest.mark.parametrize("seed", ["0", "true", "false"])
def test_any_other_seed_is_taken(tiny, seed):
    main([*FIT, "--seed_everything", seed, "--run_dir", "run", "--trainer.max_epochs", "1"])

    assert (tiny / LAST.replace(RUN, "run")).is_file()
