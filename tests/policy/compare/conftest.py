"""Sweeps small enough to count by hand, and a command that is done in seconds."""

import numpy as np
import pytest

from policy.compare.matched import compare
from policy.compare.records import Operating, Sweep


@pytest.fixture(scope="session")
def words(root):
    """A comparison on the command line, on four clips and random weights."""
    settings = {
        "weights": "random",
        "data.num_frames": 4,
        "data.calibration_clips": 4,
        "data.test_clips": 4,
        "calibration_clips": 4,
        "timed_frames": 2,
        "resamples": 50,
    }
    config = str(root / "configs/compare/synthetic.yaml")
    return ["compare", "--config", config, *(f"--{k}={v}" for k, v in settings.items())]


@pytest.fixture
def make_sweep():
    """A sweep from one row per knob: the same for every clip, or one list per clip."""

    def build(policy="threshold", spent=(0.1, 0.4), groups=("a", "b"), learned=False, **metrics):
        def array(values):
            table = np.atleast_2d(np.asarray(values, dtype=float))
            return np.broadcast_to(table, (len(groups), table.shape[1])).copy()

        knobs = array(spent).shape[1]
        drifting = np.arange(1.0, 4.0)[:, None] * np.ones(knobs)  # 1, 2, 3 at each knob
        return Sweep(
            policy=policy,
            seed=0,
            knobs=np.arange(knobs, dtype=float),
            spent=array(spent),
            spent_with_first=0.9 * array(spent) + 0.1,
            metrics={name: array(values) for name, values in metrics.items()},
            over_frames={"kl": drifting, "agreement": 1 / drifting, "spent": drifting / 10},
            dense_macs=1e9,
            clips=tuple(f"clip{i}" for i in range(len(groups))),
            groups=tuple(groups),
            learned=learned,
        )

    return build


@pytest.fixture
def comparison(make_sweep):
    """Dense, hold, a heuristic and a learned policy on 4 clips of 4 groups, at 0.2 and 0.4.

    The learned policy halves the heuristic's KL; ``frame-skip`` cannot go below 0.3.
    """
    groups = ("a", "b", "c", "d")
    clip = np.array([[1.0], [2.0], [3.0], [4.0]])
    sweeps = [
        make_sweep("dense", (1.0,), groups, kl=[0.0], agreement=[1.0], accuracy=[0.9]),
        make_sweep("hold", (0.0,), groups, kl=2 * clip, agreement=[0.4], accuracy=[0.4]),
        make_sweep(
            "threshold", (0.1, 0.4), groups,
            kl=clip * [2.0, 1.0], agreement=[0.5, 0.7], accuracy=[0.5, 0.6],
        ),
        make_sweep(
            "frame-skip", (0.3, 0.6), groups,
            kl=clip * [3.0, 2.0], agreement=[0.4, 0.5], accuracy=[0.4, 0.5],
        ),
        make_sweep(
            "gumbel", (0.1, 0.4), groups, learned=True,
            kl=clip * [1.0, 0.5], agreement=[0.5, 0.7], accuracy=[0.5, 0.6],
        ),
    ]  # fmt: skip
    operating = [
        Operating("dense", None, None, 1.0, 1.0, ms_mean=11, ms_p50=10, ms_p95=11, state_bytes=0),
        Operating(
            "threshold", 0.2, 1.5, 0.2, 0.28,
            ms_mean=5.0, ms_p50=4.0, ms_p95=5.0, state_bytes=3_500_000,
        ),
        Operating(
            "gumbel", 0.2, 0.7, 0.21, 0.289,
            ms_mean=5.5, ms_p50=4.5, ms_p95=5.5, state_bytes=3_600_000,
        ),
    ]  # fmt: skip
    meta = {"data": "digits", "split": "test", "command": "regate compare"}
    return compare(sweeps, operating, [0.2, 0.4], meta, resamples=100)
