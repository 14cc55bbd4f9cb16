"""What time is, and on which device which time means something."""

import time

import pytest
import torch

from datamodules.errors import RegateError
from policy.bench import run
from policy.bench.clock import check_clock, milliseconds

CPU = torch.device("cpu")


def test_waiting_takes_time_on_the_wall_and_none_of_the_processor():
    assert milliseconds("wall", CPU, time.sleep, 0.05) >= 50
    assert milliseconds("processor", CPU, time.sleep, 0.05) < 40


def test_an_accelerator_is_not_timed_by_the_processor(monkeypatch):
    monkeypatch.setattr(run, "open_device", torch.device)
    with pytest.raises(RegateError) as refused:
        run.bench(model="regate_vit_digits", weights="random", device="cuda:1", clock="processor")
    assert str(refused.value) == (
        "--clock processor does not see what cuda:1 does: give --clock wall or --device cpu"
    )
    check_clock("processor", CPU)
    check_clock("wall", torch.device("cuda"))
