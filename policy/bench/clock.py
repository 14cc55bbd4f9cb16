"""What time is: passed on the wall, or spent by this process on its processors."""

import time
from collections.abc import Callable
from typing import Literal, ParamSpec

import torch

from policy.device import settle

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
    now = _CLOCKS[clock]
    settle(device)
    start = now()
    function(*args, **kwargs)
    settle(device)
    return 1000 * (now() - start)
