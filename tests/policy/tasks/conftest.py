"""What a run of any training leaves behind, read and compared; and how an agent's begins."""

import pytest


@pytest.fixture(scope="session")
def scalars():
    """Read what a run has logged: values by tag, in the order of the steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder):
        events = EventAccumulator(str(folder)).Reload()
        return {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    return read


@pytest.fixture(scope="session")
def assert_same_gate():
    """Check that two runs ended with the same gate file and the same state of the training."""
    import torch
    from safetensors.torch import load_file

    from policy.gate_file import read_metadata

    def check(folder, other):
        ours, theirs = (load_file(run / "gate.safetensors") for run in (folder, other))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        ours, theirs = (read_metadata(run / "gate.safetensors") for run in (folder, other))
        assert (ours["calibration"], ours["knob"]) == (theirs["calibration"], theirs["knob"])
        ours, theirs = (torch.load(run / "checkpoints" / "last.ckpt") for run in (folder, other))
        for name, value in ours["state_dict"].items():
            assert torch.equal(value, theirs["state_dict"][name]), name

    return check


@pytest.fixture(scope="session")
def words(root):
    """Of a fit of an agent's shipped config that takes seconds: 2 rollouts in each of 2 epochs."""
    settings = {
        "model.weights": "random",
        "model.calibration_clips": 2,
        "model.rollouts": 2,
        "model.fallback": "false",
        "model.ppo.target_kl": 1e9,
        "data.num_frames": 4,
        "data.train_clips": 8,
        "data.calibration_clips": 2,
        "data.test_clips": 2,
        "data.batch_size": 4,
        "trainer.max_epochs": 2,
        "trainer.log_every_n_steps": 1,
        "trainer.enable_progress_bar": "false",
    }

    def make(policy):
        own = [f"--{key}={value}" for key, value in settings.items() if "ppo" not in key]
        if policy == "ppo":
            own.append(f"--model.ppo.target_kl={settings['model.ppo.target_kl']}")
        return ["--config", str(root / f"configs/{policy}/synthetic.yaml"), *own]

    return make
