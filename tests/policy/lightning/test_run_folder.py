"""Finding a run from its checkpoint and the checkpoint from its run."""

import os

import pytest

from datamodules.errors import RegateError
from policy.lightning.run_folder import (
    check_unused,
    last_checkpoint,
    newest_config,
    resume_config,
    run_of,
)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").touch()
    return tmp_path / "run"


def test_the_newest_last_checkpoint_is_taken(run):
    for age, name in enumerate(["last-v1.ckpt", "last.ckpt", "best.ckpt"]):
        path = run / "checkpoints" / name
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))

    assert last_checkpoint(run).name == "last-v1.ckpt"


def test_no_last_checkpoint_is_an_error_that_names_the_folder(run):
    (run / "checkpoints" / "best.ckpt").touch()

    with pytest.raises(RegateError) as error:
        last_checkpoint(run)

    assert str(error.value) == (
        f"--ckpt_path last found no checkpoint in {run / 'checkpoints'}; "
        "name the run with --run_dir, or leave --ckpt_path out to start a new one"
    )


def test_the_run_of_a_checkpoint_is_above_or_beside_it(run, tmp_path):
    assert run_of(run / "checkpoints" / "last.ckpt") == run
    assert run_of(run / "moved.ckpt") == run
    assert run_of(tmp_path / "alone.ckpt") is None


def test_a_folder_with_checkpoints_takes_no_second_run(run):
    check_unused(run)
    (run / "checkpoints" / "last.ckpt").touch()

    with pytest.raises(RegateError, match=r"run holds a run already; go on .* --ckpt_path last"):
        check_unused(run)


def test_the_newest_config_is_that_of_the_last_resume(tmp_path):
    assert newest_config(tmp_path) == tmp_path / "config.yaml"
    for number in range(1, 11):  # by number: the word resume-10 comes before resume-2
        resume_config(tmp_path, number).touch()
    assert newest_config(tmp_path) == tmp_path / "config.resume-10.yaml"
