"""Ratios are taken inside each round; efficiency and floors follow from them."""

import pytest

from policy.bench.floors import FloorMeter, Floors
from policy.bench.rows import Samples, bench_rows
from policy.bench.variants import Dense, GateAlone, Learned, Served
from policy.gates import ThresholdGate
from policy.session import ReuseSession

FLOORS = Floors(macs_per_s=1e9, bytes_per_s=1e9, weight_bytes=2_000_000)


@pytest.fixture
def samples(backbone, frames):
    """Three rounds, of which the second found the machine ten times as slow."""
    served = Served("shared", 0.5, ReuseSession(backbone, ThresholdGate()), frames[0])
    alone = GateAlone(Learned(0.5, backbone, frames[0]))
    return [
        Samples(Dense(backbone), [[10, 10], [100, 100], [10, 10]], [8e6] * 6),
        Samples(served, [[6, 6], [60, 60], [7, 7]], [4e6] * 6, peak_bytes=123),
        Samples(alone, [[1, 1], [10, 10], [1, 1]], [1e5] * 6),
    ]


def test_a_slow_round_is_slow_for_all(samples):
    dense, served, alone = bench_rows(samples, 2, FLOORS)
    assert dense.time_ratio == dense.macs_ratio == dense.efficiency == 1
    assert served.time_ratio == pytest.approx(0.6)
    assert (served.time_ratio_low, served.time_ratio_high) == pytest.approx((0.6, 0.65))
    assert served.macs_ratio == 0.5
    assert served.efficiency == pytest.approx(0.5 / 0.6)
    assert served.ms_p50 == pytest.approx(7)  # of all six steps
    assert served.ms_p95 == pytest.approx(60)
    assert served.spread == pytest.approx((33.5 - 6.5) / 7)
    assert served.frames_per_s == pytest.approx(2000 / 7)
    assert served.state_bytes == samples[1].variant.session.state_bytes > 0
    assert served.peak_bytes == 123
    assert alone.efficiency is alone.time_over_floor is None
    assert alone.time_ratio == pytest.approx(0.1)


def test_the_higher_floor_counts(samples):
    dense = bench_rows(samples, 1, FLOORS)[0]
    assert (dense.operations_floor_ms, dense.bytes_floor_ms) == (8, 2)
    assert dense.time_over_floor == pytest.approx(10 / 8)
    fewer = bench_rows(samples, 1, Floors(1e9, 1e8, 2_000_000))[1]
    assert (fewer.operations_floor_ms, fewer.bytes_floor_ms) == (4, 20)
    assert fewer.time_over_floor == pytest.approx(7 / 20)
    two = bench_rows(samples, 2, FLOORS)[0]
    assert (two.operations_floor_ms, two.bytes_floor_ms) == (16, 2)  # weights are read once


def test_both_rates_of_the_machine_are_measured(backbone):
    meter = FloorMeter(backbone)
    meter.measure()
    floors = meter.floors()
    assert 1e8 < floors.macs_per_s < 1e15
    assert 1e8 < floors.bytes_per_s < 1e14
    assert floors.weight_bytes == 4 * sum(weight.numel() for weight in backbone.parameters())
