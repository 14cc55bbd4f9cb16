"""The latency controller on simulated machines, whose frames take a + b · spent and noise."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from datamodules.errors import RegateError
from policy.serving.latency import AT_FLOOR, LatencyController

TARGET, FLOOR = 20.0, 0.035


@dataclass
class Machine:
    """Takes ``base + slope · spent`` milliseconds, times noise; ``jumps`` are of the slope."""

    base: float = 4.0
    slope: float = 31.0
    noise: float = 0.03
    jumps: dict[int, float] = field(default_factory=dict)
    spikes: float = 0.0  # share of frames that take two to three times as long
    quiet: float = 0.0  # share of frames that spend less than they might

    def serve(self, target=TARGET, frames=600, ceiling=1.0, seed=0):
        """Milliseconds, spent and budgets of a stream, and what was complained of."""
        rng, slope = np.random.default_rng(seed), self.slope
        controller = LatencyController(target, FLOOR, ceiling)
        served, complaints = [], []
        for index in range(frames):
            slope = self.jumps.get(index, slope)
            budget = controller.budget if index else 1.0
            spent = budget * (rng.uniform(0.2, 1) if rng.random() < self.quiet else 1.0)
            ms = (self.base + slope * spent) * np.exp(self.noise * rng.normal())
            ms *= rng.uniform(2, 3) if rng.random() < self.spikes else 1
            served.append((ms, spent, budget))
            controller.observe(spent, ms, steered=index > 0)
            complaints += [sentence] if (sentence := controller.complaint()) else []
        return (*np.array(served).T, complaints)


MACHINES = {
    "calm": Machine(),
    "noisy": Machine(noise=0.1),
    "spikes": Machine(spikes=0.03),
    "a large base": Machine(base=12, slope=23),
    "slower in mid-run": Machine(jumps={300: 62.0}),
    "slower for a while": Machine(noise=0.05, jumps={250: 62.0, 400: 31.0}),
    "much slower for a while": Machine(noise=0.1, jumps={250: 93.0, 400: 31.0}),
    "another load every second": Machine(
        noise=0.05, jumps={50 * i: 31 + 31 * (i % 2) for i in range(12)}
    ),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", MACHINES)
def test_it_keeps_to_the_target_and_uses_it(name, seed):
    ms, _, _, complaints = MACHINES[name].serve(seed=seed)

    assert np.quantile(ms[100:], 0.95) <= 1.1 * TARGET
    assert ms[100:].mean() >= 0.75 * TARGET
    assert complaints == []


@pytest.mark.parametrize("seed", range(3))
def test_quiet_frames_are_no_reason_to_spend_more_on_busy_ones_than_fits(seed):
    """Most frames spend less than they might; those that do not are to be on time."""
    ms, spent, budget, _ = Machine(quiet=0.9, noise=0.05).serve(seed=seed)

    busy = spent[100:] == budget[100:]
    assert busy.any() and np.quantile(ms[100:][busy], 0.95) <= 1.1 * TARGET


def test_a_machine_that_slows_down_costs_four_frames_at_most():
    ms, _, budget, _ = Machine(jumps={300: 62.0}).serve()

    late = np.flatnonzero(ms[300:] > 1.1 * TARGET)
    assert len(late) <= 4 and late.max() <= 4
    assert budget[310:].mean() == pytest.approx(budget[200:300].mean() / 2, rel=0.1)


def test_a_machine_that_recovers_is_used_again_within_seconds():
    _, _, budget, _ = Machine(jumps={200: 93.0, 350: 31.0}).serve()

    assert budget[400:].mean() == pytest.approx(budget[100:200].mean(), rel=0.05)
    assert np.diff(np.log(budget[1:])).max() <= np.log(1.1) + 1e-9, "it rises step by step"


def test_it_goes_to_the_ceiling_where_there_is_time_enough():
    assert Machine().serve(target=80)[2][-1] == 1.0
    _, _, budget, _ = Machine().serve(target=80, ceiling=0.4)
    assert budget[1:].max() == budget[-1] == 0.4


def test_a_target_out_of_reach_is_told_once_with_the_time_at_the_floor():
    ms, _, budget, complaints = Machine(base=30, slope=40).serve(frames=200)

    assert (budget[2:] == FLOOR).all()
    at_floor = np.sort(ms[2 : 2 + AT_FLOOR])[28]  # 29 of 30 take no longer
    (sentence,) = complaints
    assert sentence.startswith(
        f"20 ms per frame cannot be kept: at the lowest budget, 0.035, a frame takes {at_floor:.3g}"
    )
    assert sentence.endswith("or leave the machine less else to do")


def test_it_leaves_the_floor_when_the_machine_allows():
    _, _, budget, complaints = Machine(jumps={0: 700.0, 150: 31.0}).serve(frames=300)

    assert len(complaints) == 1 and budget[140] == FLOOR and budget[-1] > 0.4


def test_the_first_frame_speaks_for_the_machine_with_caution():
    controller = LatencyController(20.0, FLOOR)
    controller.observe(1.0, 40.0, steered=False)

    assert controller.budget == pytest.approx(0.5 * 20 / 1.03 / 40)


@pytest.mark.parametrize("target", [0.0, -3.0, float("nan"), float("inf")])
def test_a_target_is_a_positive_number(target):
    with pytest.raises(
        RegateError, match=f"latency_ms must be > 0, milliseconds .* got {target:g}"
    ):
        LatencyController(target, FLOOR)
