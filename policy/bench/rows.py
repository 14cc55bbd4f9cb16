"""From times to rows: ratios are taken inside each round, then their median."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from policy.bench.floors import Floors
from policy.bench.variants import GateAlone, Variant


@dataclass
class Samples:
    """What was seen of one variant.

    Attributes:
        variant: It.
        rounds: Milliseconds of each step, a list per round.
        macs: Of each step, mean over the streams.
        peak_bytes: Held at once during one step.
    """

    variant: Variant
    rounds: list[list[float]]
    macs: list[float]
    peak_bytes: int = 0


@dataclass(frozen=True)
class BenchRow:
    """One variant beside the dense model.

    Attributes:
        variant: "dense": the untouched model; "dense packed": the same with the linear layers of a
            session; "dense compiled": it under ``torch.compile``; "everything": a session that
            recomputes all tokens; "shared": one that recomputes the fraction, one mask for all
            blocks; "shared compiled": the same compiled; "per block": the same with a mask of
            each block's own; "ragged": shared, with a share of each stream's own; "one by one":
            the same streams in sessions of their own; "learned": a learned gate at that fraction;
            "gate alone": its decisions without any block.
        fraction: Share of the patches computed; None where there is no choice.
        streams: In one step.
        macs_ratio: MACs of the backbone over the dense model's; for "gate alone" the gate's.
        time_ratio: Time over the dense model's in the same round, median of the rounds.
        time_ratio_low: Its lower quartile.
        time_ratio_high: Its upper quartile.
        efficiency: macs_ratio / time_ratio, 1 where all saved MACs are saved time; None for
            "gate alone".
        ms_p50: Milliseconds of a step, all streams.
        ms_p95: Likewise.
        spread: Distance of the quartiles of the rounds' milliseconds over their median.
        frames_per_s: Of all streams together, at the median.
        state_bytes: Kept per stream between two frames.
        peak_bytes: Most that one step holds beyond weights, frames and state.
        operations_floor_ms: MACs over the rate of a large matrix product; None for "gate alone".
        bytes_floor_ms: Weights over bandwidth; likewise.
        time_over_floor: ms_p50 over the higher of the two; likewise.
    """

    variant: str
    fraction: float | None
    streams: int
    macs_ratio: float
    time_ratio: float
    time_ratio_low: float
    time_ratio_high: float
    efficiency: float | None
    ms_p50: float
    ms_p95: float
    spread: float
    frames_per_s: float
    state_bytes: int
    peak_bytes: int
    operations_floor_ms: float | None
    bytes_floor_ms: float | None
    time_over_floor: float | None


def bench_rows(samples: Sequence[Samples], streams: int, floors: Floors) -> list[BenchRow]:
    """One row per variant.

    Args:
        samples: Of each variant, the dense model's first; all of as many rounds.
        streams: In one step.
        floors: Of the same run.
    """
    dense = samples[0]
    return [_row(its, dense, streams, floors) for its in samples]


def _row(its: Samples, dense: Samples, streams: int, floors: Floors) -> BenchRow:
    milliseconds = np.median(its.rounds, axis=1)
    low, ratio, high = np.percentile(
        milliseconds / np.median(dense.rounds, axis=1), [25, 50, 75]
    ).tolist()
    quartiles = np.percentile(milliseconds, [25, 50, 75])
    p50, p95 = np.percentile(its.rounds, [50, 95]).tolist()
    macs = float(np.mean(its.macs))
    macs_ratio = macs / float(np.mean(dense.macs))
    runs_blocks = not isinstance(its.variant, GateAlone)
    operations = floors.operations_ms(macs * streams)
    return BenchRow(
        variant=its.variant.name,
        fraction=its.variant.fraction,
        streams=streams,
        macs_ratio=macs_ratio,
        time_ratio=ratio,
        time_ratio_low=low,
        time_ratio_high=high,
        efficiency=macs_ratio / ratio if runs_blocks else None,
        ms_p50=p50,
        ms_p95=p95,
        spread=float((quartiles[2] - quartiles[0]) / quartiles[1]),
        frames_per_s=1000 * streams / p50,
        state_bytes=its.variant.state_bytes,
        peak_bytes=its.peak_bytes,
        operations_floor_ms=operations if runs_blocks else None,
        bytes_floor_ms=floors.bytes_ms if runs_blocks else None,
        time_over_floor=p50 / max(operations, floors.bytes_ms) if runs_blocks else None,
    )
