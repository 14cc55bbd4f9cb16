"""Devices: whether one is there, and when it is really done."""

import os
import platform
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

from datamodules.errors import RegateError

ArgsP = ParamSpec("ArgsP")
ResultT = TypeVar("ResultT")


def open_device(name: str) -> torch.device:
    """The device of a name such as cpu, cuda or cuda:1.

    Raises:
        RegateError: If it is not there.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RegateError(
            f"the device {name!r} is not there: give cpu, or cuda on a machine that has one"
        ) from error
    return device


def machine(device: torch.device) -> str:
    """What a time was measured on, such as ``x86_64, 2 cores, cpu``."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{platform.machine()}, {os.cpu_count()} cores, {name}"


def timed(
    device: torch.device,
    function: Callable[ArgsP, ResultT],
    *args: ArgsP.args,
    **kwargs: ArgsP.kwargs,
) -> tuple[ResultT, float]:
    """A result and the milliseconds until it is really there."""
    return timed_by(time.perf_counter, device, function, *args, **kwargs)


def timed_by(
    clock: Callable[[], float],
    device: torch.device,
    function: Callable[ArgsP, ResultT],
    *args: ArgsP.args,
    **kwargs: ArgsP.kwargs,
) -> tuple[ResultT, float]:
    """As ``timed``, by a clock of seconds that may be another than the machine's."""
    settle(device)
    start = clock()
    result = function(*args, **kwargs)
    settle(device)
    return result, 1000 * (clock() - start)


def settle(device: torch.device) -> None:
    """Wait for all work on a device: an accelerator returns from a call before it has computed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
