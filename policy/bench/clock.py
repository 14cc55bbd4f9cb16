"""What time is: passed on the wall, or spent by this process on its processors."""

import time
from collections.abc import Callable
from typing import Literal, ParamSpec

import torch

from datamodules.errors import RegateError
from policy.device import timed_by

ArgsP = ParamSpec("ArgsP")

Clock = Literal["wall", "processor"]
_CLOCKS: dict[Clock, Callable[[], float]] = {
    "wall": time.perf_counter,
    "processor": time.process_time,
}


def milliseconds(
    clock: Clock,
    device: torch.device,
    function: Callable[ArgsP, object],
    *args: ArgsP.args,
    **kwargs: ArgsP.kwargs,
) -> float:
    """Until the result of a call is really there."""
    return timed_by(_CLOCKS[clock], device, function, *args, **kwargs)[1]


def check_clock(clock: Clock, device: torch.device) -> None:
    """Refuse a clock that does not see what a device does.

    Raises:
        RegateError: If it is the processor's and the device is not one.
    """
    if clock == "processor" and device.type != "cpu":
        raise RegateError(
            f"--clock processor does not see what {device} does: give --clock wall or --device cpu"
        )
