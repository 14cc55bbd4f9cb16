"""The most memory that a call holds at once beyond what was there before it."""

import gc
import os
from collections.abc import Callable
from typing import ParamSpec

import torch
from torch.profiler import ProfilerActivity, profile

ArgsP = ParamSpec("ArgsP")


def peak_bytes(
    device: torch.device,
    function: Callable[ArgsP, object],
    *args: ArgsP.args,
    **kwargs: ArgsP.kwargs,
) -> int:
    """Run a function once and find the most that its tensors held at once, its result included.

    What libraries allocate inside of a kernel, past torch, is not seen.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function(*args, **kwargs)
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    # Or the profiler's library reports on stderr that it began, ended and found no GPU.
    os.environ.setdefault("KINETO_LOG_LEVEL", "9")
    gc.collect()  # garbage of before that is freed meanwhile would be told of on stderr
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function(*args, **kwargs)
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = profiler.profiler.kineto_results.events()
    memory = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = peak = 0
    for _, change in memory:
        held += change
        peak = max(peak, held)
    return peak
