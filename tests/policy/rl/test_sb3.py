"""Stable-Baselines3 takes the environment as it is; it is an optional extra."""

import warnings

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra: pip install 'regate[rl]'")

from stable_baselines3.common.env_checker import check_env

from policy.rl.environment import TokenReuseEnv
from policy.rl.yardstick import Yardstick


@pytest.fixture
def world(digits):
    from datamodules.synthetic import SyntheticClips
    from policy.budgets.table import Calibration

    known = Yardstick(Calibration((0.05, 0.2, 0.8), (2.0, 0.5, -1.0), 0.04), (0.0, 0.2, 0.9))
    data = SyntheticClips(num_frames=4, train_clips=8, calibration_clips=2, test_clips=2)
    return {"backbone": digits, "data": data, "yardstick": known}


@pytest.mark.parametrize("actions", ["box", "discrete", "tokens"])
def test_its_checker_finds_no_fault(actions, world):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(TokenReuseEnv(actions=actions, render_mode="rgb_array", **world))


def test_its_ppo_runs_unmodified(docs_script, world):
    sb3 = docs_script("sb3")

    model = sb3.train(steps=32, envs=2, **world)
    assert model.num_timesteps == 32
    agent = sb3.mean_return(lambda o: model.predict(o, deterministic=True)[0], episodes=2, **world)
    threshold = sb3.mean_return(lambda o: np.zeros(2, np.float32), episodes=2, **world)
    assert np.isfinite([agent, threshold]).all()
