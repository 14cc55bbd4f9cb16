"""A run that was killed and resumed equals the run that was not, step by step."""

import pytest
import torch
import yaml

from policy.cli import main

FIT = ["fit", "--config", "tiny.yaml"]  # 2 epochs of 6 steps

# As a long epoch would be saved: in its middle.
EVERY_STEP = {
    "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
    "init_args": {"filename": "last", "enable_version_counter": False, "every_n_train_steps": 1},
}


@pytest.fixture
def every_step(tiny):
    (tiny / "every_step.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [EVERY_STEP]}}))
    return ["--config", "every_step.yaml"]


def state(folder):
    """Weights and optimizer moments at the end of a run."""
    saved = torch.load(folder / "checkpoints" / "last.ckpt")
    assert saved["global_step"] == 12
    moments = saved["optimizer_states"][0]["state"][0]
    return [saved["state_dict"]["weight"].tolist()] + [
        moments[name].tolist() for name in ("exp_avg", "exp_avg_sq", "step")
    ]


def test_killed_in_mid_epoch_and_resumed_there(tiny, regate, every_step):
    main([*FIT, "--run_dir", "whole", "--model.log", "whole.log"])

    killed = regate(
        *FIT, *every_step, "--run_dir", "cut", "--model.log", "cut.log", "--model.kill_at", 9
    )
    assert killed.returncode == -9
    assert len((tiny / "cut.log").read_text().splitlines()) == 9
    main([*FIT, *every_step, "--run_dir", "cut", "--model.log", "cut.log", "--ckpt_path", "last"])

    # The same clips with the same losses in the same order, none twice and none left out.
    assert (tiny / "cut.log").read_text() == (tiny / "whole.log").read_text()
    assert state(tiny / "cut") == state(tiny / "whole")


def test_killed_in_mid_epoch_and_resumed_from_the_epoch_before(tiny, regate):
    main([*FIT, "--run_dir", "whole", "--model.log", "whole.log"])

    killed = regate(*FIT, "--run_dir", "cut", "--model.log", "cut.log", "--model.kill_at", 8)
    assert killed.returncode == -9
    main([*FIT, "--run_dir", "cut", "--model.log", "again.log", "--ckpt_path", "last"])

    whole = (tiny / "whole.log").read_text().splitlines()
    assert (tiny / "cut.log").read_text().splitlines() == whole[:8]
    assert (tiny / "again.log").read_text().splitlines() == whole[6:]
    assert state(tiny / "cut") == state(tiny / "whole")


def test_a_finished_run_can_be_trained_for_longer(tiny):
    main([*FIT, "--run_dir", "whole"])
    main([*FIT, "--run_dir", "two", "--trainer.max_epochs", "1"])

    main([*FIT, "--run_dir", "two", "--ckpt_path", "last"])

    assert state(tiny / "two") == state(tiny / "whole")
