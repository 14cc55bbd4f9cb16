"""The configs that a run keeps beside its checkpoints."""

import pytest
import yaml

from policy.cli import main

FIT = ["fit", "--config", "tiny.yaml", "--run_dir", "run"]


@pytest.fixture
def run(tiny):
    main(FIT)
    return tiny / "run"


def test_the_config_tells_the_command_and_gives_the_run_again(run, tiny):
    text = (run / "config.yaml").read_text()

    assert text.startswith("# regate fit --config tiny.yaml --run_dir run\n# commit: ")
    assert yaml.safe_load(text)["model"]["init_args"]["target"] == 2.0
    main(["fit", "--config", "run/config.yaml", "--run_dir", "again"])
    again = (tiny / "again" / "config.yaml").read_text()
    assert yaml.safe_load(again) == yaml.safe_load(text)


def test_the_config_does_not_pin_the_folder(run):
    assert "run_dir" not in yaml.safe_load((run / "config.yaml").read_text())


def test_each_resume_adds_a_config_and_the_first_stays(run):
    first = (run / "config.yaml").read_text()

    for lr in ("0.2", "0.3"):
        main([*FIT, "--ckpt_path", "last", "--model.lr", lr])

    assert (run / "config.yaml").read_text() == first
    rates = [
        yaml.safe_load((run / f"config.resume-{n}.yaml").read_text())["model"]["init_args"]["lr"]
        for n in (1, 2)
    ]
    assert rates == [0.2, 0.3]


def test_measuring_adds_no_config(run):
    main(["test", "--ckpt_path", "run/checkpoints/last.ckpt"])

    assert [path.name for path in run.glob("config*")] == ["config.yaml"]


def test_a_resume_goes_on_with_what_the_one_before_was_given(run):
    """With the first config, of 2 epochs, Lightning would refuse a checkpoint of 4."""
    resume = ["fit", "--run_dir", str(run), "--ckpt_path", "last"]
    main([*resume, "--trainer.max_epochs", "4", "--model.lr", "0.2"])
    main([*resume, "--model.target", "3"])

    last = yaml.safe_load((run / "config.resume-2.yaml").read_text())
    assert last["trainer"]["max_epochs"] == 4
    assert last["model"]["init_args"] | {"lr": 0.2, "target": 3.0} == last["model"]["init_args"]
