"""``regate bench``: how much of the saved MACs becomes saved time on this machine."""

import json as json_format
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from backbones.loading import load_backbone
from backbones.preprocessing import Preprocessing
from backbones.vit import Backbone
from datamodules.errors import RegateError
from policy.atomic import check_writable
from policy.bench.clock import Clock, check_clock, milliseconds
from policy.bench.figure import draw_bench
from policy.bench.floors import FloorMeter, Floors
from policy.bench.memory import peak_bytes
from policy.bench.rows import BenchRow, Samples, bench_rows
from policy.bench.table import print_rows
from policy.bench.variants import Variant, variants
from policy.compare.figure import png
from policy.compare.table import terminal
from policy.compare.writing import replace_file
from policy.cost import BackboneMacs
from policy.device import machine, open_device
from policy.progress import progress
from policy.provenance import command, commit
from policy.reuse.executions import CacheDtype, named_dtype

FRACTIONS = [0.5, 0.25, 0.1]

Dtype = Literal["float32", "bfloat16"]
DTYPES: dict[Dtype, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def bench(
    *,
    model: str,
    weights: str = "pretrained",
    fractions: list[float] | None = None,
    streams: int = 1,
    threads: int | None = None,
    rounds: int = 10,
    frames: int = 4,
    json: str | None = None,
    device: str = "cpu",
    clock: Clock = "wall",
    dtype: Dtype = "float32",
    cache_dtype: CacheDtype | None = None,
    compiled: bool = False,
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
) -> list[BenchRow]:
    """Time sessions beside the dense model with fused attention and the floors of the machine.

    In each round every variant passes the same frames, so that a machine that slows down for a
    while slows all of them; ratios are taken inside a round, and their median over the rounds is
    shown. Which tokens are computed is exact: the share that drifted most. Frames are noise: time
    depends on how many tokens are computed, not on what they show. First frames, which are dense,
    are not counted, nor is the first round.

    Args:
        model: timm's name.
        weights: "pretrained", a local .safetensors or .pth file, or "random", which is as fast.
        fractions: Shares of the patches that are computed, in (0, 1]; 0.5,0.25,0.1 by default. At
            each a session with one mask for all blocks, one with a mask per block, an untrained
            learned gate, and that gate's decisions alone.
        streams: Passed in lock-step, the dense model's in one batch. More than one are also timed
            with shares that differ from stream to stream, in one session and one by one.
        threads: Of the CPU; torch's own choice by default.
        rounds: Of which medians are taken. In each, every variant passes the same frames, and its
            time is held against the dense model's in that round.
        frames: Per round and variant.
        json: Write the rows, and what they depend on, to this .json file, and the figure of time
            against MACs to the .png beside it.
        device: cpu, cuda, cuda:1, ...
        clock: "wall", or "processor" for the time that this process has spent on all its threads:
            give it --threads 1 on a machine that others use. With device cpu alone.
        dtype: Of weights and frames: "float32" or "bfloat16".
        cache_dtype: Of the keys and values that sessions cache; the weights' by default.
        compiled: Also time what ``torch.compile`` makes of the dense model and of sessions with one
            mask for all blocks; some minutes more before the first round. For GPUs, where it
            replays a frame as one CUDA graph.
        preprocessing: What happens to an image first; of it only image_size changes the time.

    Raises:
        RegateError: If a value is outside its range, or something cannot be loaded or written.
    """
    shares = sorted(set(FRACTIONS if fractions is None else fractions), reverse=True)
    _check(shares, streams=streams, threads=threads, rounds=rounds, frames=frames)
    out = None if json is None else _output(json)
    where = open_device(device)
    check_clock(clock, where)
    backbone = load_backbone(model, weights, preprocessing=preprocessing)
    backbone = backbone.to(where, DTYPES[dtype])
    with _threads(threads):
        first, draw = _noise(backbone, streams)
        timed = list(variants(backbone, shares, first, named_dtype(cache_dtype), compiled))
        samples, floors = _measure(timed, FloorMeter(backbone, clock), draw, rounds, frames)
        meta = _meta(backbone, weights, streams, rounds, frames, floors)
        meta |= {"clock": clock, "cache_dtype": cache_dtype}
    rows = bench_rows(samples, streams, floors)
    title = _title(meta)
    print_rows(rows, title, terminal())
    print(_legend(floors, BackboneMacs.of(backbone).dense * streams))
    if out is not None:
        told = {"meta": meta, "rows": [asdict(row) for row in rows]}
        text = json_format.dumps(told, indent=1, allow_nan=False, ensure_ascii=False)
        replace_file(out, (text + "\n").encode())
        replace_file(out.with_suffix(".png"), png(draw_bench(rows, floors, title)))
        print(f"wrote {out}\nwrote {out.with_suffix('.png')}")
    return rows


def _measure(
    timed: Sequence[Variant],
    meter: FloorMeter,
    draw: Callable[[], Tensor],
    rounds: int,
    frames: int,
) -> tuple[list[Samples], Floors]:
    samples = [Samples(variant, [], []) for variant in timed]
    with progress() as bar:
        task = bar.add_task("rounds", total=(rounds + 1) * len(samples))
        for index in range(rounds + 1):
            shown = [draw() for _ in range(frames)]
            for its in samples:
                taken = _steps(its, shown, meter.clock)
                if index:  # the first round warms up
                    its.rounds.append(taken)
                bar.advance(task)
            meter.measure()
    last = draw()
    for place, its in enumerate(samples):
        its.variant.prepare(last)
        # What the step replaces must outlive it, or the count would begin with what is freed.
        kept = its.variant.held()
        peak = peak_bytes(last.device, its.variant.step, last)
        samples[place] = replace(its, peak_bytes=peak)
        del kept
    return samples, meter.floors()


def _steps(its: Samples, shown: Sequence[Tensor], clock: Clock) -> list[float]:
    """Milliseconds of each frame of a round."""
    taken = []
    for frames in shown:
        its.variant.prepare(frames)
        taken.append(milliseconds(clock, frames.device, its.variant.step, frames))
        its.macs.append(its.variant.macs())
    return taken


def _noise(backbone: Backbone, streams: int) -> tuple[Tensor, Callable[[], Tensor]]:
    """Frames of each stream of which every patch differs from the one before: first and next."""
    generator = torch.Generator().manual_seed(0)
    shape = (streams, backbone.in_chans, *backbone.image_size)

    def draw() -> Tensor:
        noise = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return backbone.normalize(noise)

    return draw(), draw


def _check(fractions: Sequence[float], **counts: int | None) -> None:
    if not fractions:
        raise RegateError("no fractions: give at least one, such as --fractions 0.5,0.1")
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise RegateError(
                f"fractions must be in (0, 1], got {fraction:g}: each is the share of the patches "
                "that is computed"
            )
    for name, count in counts.items():
        if count is not None and count < 1:
            raise RegateError(f"{name} must be at least 1, got {count}")


def _output(path: str) -> Path:
    out = Path(path)
    if out.suffix != ".json":
        raise RegateError(
            f"the file of --json must end in .json, got {path!r}: the figure goes to the .png "
            "beside it"
        )
    check_writable(out.parent)
    return out


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _meta(
    backbone: Backbone, weights: str, streams: int, rounds: int, frames: int, floors: Floors
) -> dict[str, object]:
    """What the rows depend on; call it while the threads are those of the run."""
    height, width = backbone.image_size
    return {
        "model": backbone.name,
        "weights": Path(weights).name,
        "image_size": [height, width],
        "tokens": backbone.num_tokens,
        "dense_macs": BackboneMacs.of(backbone).dense,
        "streams": streams,
        "rounds": rounds,
        "frames": frames,
        "dtype": str(backbone.mean.dtype).removeprefix("torch."),
        "machine": machine(backbone.mean.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "floors": asdict(floors),
        "command": command(),
        "commit": commit(),
    }


def _title(meta: dict[str, object]) -> str:
    caches = "" if meta["cache_dtype"] is None else f", {meta['cache_dtype']} caches"
    return (
        f"{meta['model']} · {meta['tokens']} tokens · {meta['streams']} "
        f"stream{'' if meta['streams'] == 1 else 's'} · {meta['machine']}, {meta['threads']} "
        f"thread{'' if meta['threads'] == 1 else 's'}, {meta['dtype']}{caches}"
        f"{' · processor time' if meta['clock'] == 'processor' else ''}"
    )


def _legend(floors: Floors, macs: float) -> str:
    return (
        "MACs and time are over the dense model's; efficiency is (dense time / time) / (dense MACs "
        "/ MACs).\n"
        f"Floors: {1e-9 * floors.macs_per_s:.1f} GMACs/s, so a dense step takes "
        f"{floors.operations_ms(macs):.2f} ms at least; "
        f"{1e-9 * floors.bytes_per_s:.1f} GB/s, so reading {1e-6 * floors.weight_bytes:.0f} MB of "
        f"weights takes {floors.bytes_ms:.2f} ms."
    )
