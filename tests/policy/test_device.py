import pytest
import torch

from datamodules.errors import RegateError
from policy import device
from policy.device import open_device, settle, timed


def test_a_device_is_opened_by_its_name():
    assert open_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "cuda:77", ""])
def test_a_device_that_is_not_there_is_told_in_one_sentence(name):
    with pytest.raises(RegateError) as error:
        open_device(name)

    assert str(error.value) == (
        f"the device {name!r} is not there: give cpu, or cuda on a machine that has one"
    )


def test_the_clock_is_read_when_the_device_is_done(monkeypatch):
    happened = []
    clock = iter([1.0, 1.25])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda on: happened.append(f"settled {on}"))
    monkeypatch.setattr(device.time, "perf_counter", lambda: happened.append("read") or next(clock))

    result, milliseconds = timed(torch.device("cuda"), lambda: happened.append("ran") or 7)

    assert (result, milliseconds) == (7, 250)
    assert happened == ["settled cuda", "read", "ran", "settled cuda", "read"]


def test_a_cpu_has_nothing_to_wait_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda on: pytest.fail("waited"))

    settle(torch.device("cpu"))
