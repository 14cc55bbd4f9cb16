"""The learning rate, also of a training that is resumed at another length."""

import pytest
import torch

from policy.tasks.schedule import cosine_to_zero


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
