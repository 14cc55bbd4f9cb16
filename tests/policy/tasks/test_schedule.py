"""A training has to end for a schedule to be spread over it, also over one that is resumed."""

from types import SimpleNamespace

import pytest
import torch

from policy.cli import main
from policy.tasks.schedule import OneCycle, check_has_end, cosine_to_zero

TOLD = (
    "max_epochs -1 without max_steps is a training without end, over which no schedule can be "
    "spread: give --trainer.max_epochs or --trainer.max_steps, which --trainer.max_time may "
    "still cut short"
)


@pytest.mark.parametrize("config", ["gumbel/synthetic", "backbone/digits"])
@pytest.mark.parametrize("words", [[], ["--trainer.max_time=00:01:00:00"]])
def test_a_training_without_end_is_refused(root, tmp_path, capsys, config, words):
    run = ["--config", f"{root}/configs/{config}.yaml", "--run_dir", str(tmp_path)]
    with pytest.raises(SystemExit, match="2"):
        main(["fit", *run, "--trainer.max_epochs=-1", *words])

    assert capsys.readouterr().err.splitlines()[-1] == f"error: {TOLD}"
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(("epochs", "steps"), [(4, -1), (-1, 100), (4, 100), (0, -1)])
def test_epochs_or_steps_are_an_end(epochs, steps):
    check_has_end(SimpleNamespace(max_epochs=epochs, max_steps=steps))


def make(steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    return optimizer, cosine_to_zero(optimizer, steps)


def rates(optimizer, schedule, count):
    found = []
    for _ in range(count):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_it_is_torchs_cosine_and_stays_at_zero():
    optimizer, schedule = make(8)
    other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(other, 8)

    assert rates(optimizer, schedule, 8) == pytest.approx(rates(other, theirs, 8))
    assert rates(optimizer, schedule, 3) == [0, 0, 0]


def test_a_longer_training_goes_on_along_the_longer_curve():
    optimizer, schedule = make(8)
    rates(optimizer, schedule, 8)
    resumed, longer = make(24)
    resumed.load_state_dict(optimizer.state_dict())
    longer.load_state_dict(schedule.state_dict())
    resumed.step()
    longer.step()

    whole = rates(*make(24), 24)
    assert rates(resumed, longer, 15) == pytest.approx(whole[9:])


def one_cycle(steps):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    return optimizer, OneCycle(optimizer, 0.1, steps)


def test_one_cycle_is_torchs_and_stays_at_its_end():
    optimizer, schedule = one_cycle(8)
    other = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    theirs = torch.optim.lr_scheduler.OneCycleLR(other, 0.1, 8)

    assert rates(optimizer, schedule, 8) == rates(other, theirs, 8)
    assert len(set(rates(optimizer, schedule, 3))) == 1


@pytest.mark.parametrize("length", [24, 6])
def test_a_resumed_cycle_goes_on_along_the_curve_of_its_new_length(length):
    optimizer, schedule = one_cycle(8)
    rates(optimizer, schedule, 4)
    resumed, other = one_cycle(length)
    resumed.load_state_dict(optimizer.state_dict())
    other.load_state_dict(schedule.state_dict())
    resumed.step()
    other.step()

    whole = rates(*one_cycle(length), length)
    assert rates(resumed, other, length - 5) == whole[5:]
    rates(resumed, other, 9)


@pytest.mark.parametrize(
    "config", ["gumbel/synthetic", "ppo/synthetic", "reinforce/synthetic", "backbone/digits"]
)
@pytest.mark.parametrize("rate", ["-1", ".nan"])
def test_a_rate_under_zero_is_refused(root, tmp_path, fails, config, rate):
    run = ["--config", f"{root}/configs/{config}.yaml", "--run_dir", str(tmp_path)]

    assert fails(["fit", *run, "--model.learning_rate", rate]) == (
        f"learning_rate must be 0 or more, got {rate.removeprefix('.')}: 0.001 is a common start"
    )
