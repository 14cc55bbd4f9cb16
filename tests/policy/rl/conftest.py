"""An environment that anybody could solve with an agent for it, and small ones of the real kind."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from datamodules.base import ClipDataModule, ClipDataset
from datamodules.records import Clip
from datamodules.synthetic import SyntheticClips
from policy.gates import ThresholdGate
from policy.rl.yardstick import Yardstick

REGIONS, USEFUL, PRICE = 6, 2, 0.5


class OneRegion(gym.Env):
    """Six regions move, one of them changes the output: recompute it and leave the others.

    An action above 0 recomputes its region. Reward = quality − price · spent as in the real
    environment: 1 with the useful region recomputed, minus half the share of regions recomputed.
    The best is 1 − 0.5 / 6 = 0.917, everything 0.5, nothing 0.
    """

    observation_space = gym.spaces.Box(-1, 1, (REGIONS,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (REGIONS,), np.float32)

    def __init__(self, frames=8):
        self.frames = frames

    def _look(self):
        return self.np_random.uniform(-1, 1, REGIONS).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.frame = 0
        return self._look(), {}

    def step(self, action):
        recompute = action > 0
        quality, spent = float(recompute[USEFUL]), float(recompute.mean())
        self.frame += 1
        info = {"quality": quality, "spent": spent}
        return self._look(), quality - PRICE * spent, False, self.frame == self.frames, info


@pytest.fixture
def one_region():
    """Make so many of them, side by side."""

    def make(count, frames=8):
        copies = [lambda: OneRegion(frames)] * count
        return SyncVectorEnv(copies, autoreset_mode=AutoresetMode.SAME_STEP)

    return make


@pytest.fixture
def make_agent():
    """An untrained agent for it, with or without a critic."""
    from policy.rl.actor_critic import Actor, Agent, Critic, Exploration
    from policy.rl.value_norm import ValueNorm

    def make(critic=True):
        torch.manual_seed(0)
        return Agent(
            Actor(REGIONS, REGIONS),
            Exploration(REGIONS, 0.5),
            Critic(REGIONS) if critic else None,
            ValueNorm(),
        )

    return make


class Moving(ClipDataset):
    """Clips in which a stripe wanders; every second one is shorter."""

    def __init__(self):
        super().__init__([f"clip/{index}" for index in range(4)], ["scene"] * 4)

    def __getitem__(self, draw):
        index = draw % 4
        generator = torch.Generator().manual_seed(index)
        length = 4 + 2 * (index % 2)
        frames = torch.randint(256, (1, 3, 96, 96), generator=generator).repeat(length, 1, 1, 1)
        for time in range(length):
            frames[time, :, :, 8 * time : 8 * time + 12] = 255 - 40 * time
        labels = torch.full((length,), index)
        return Clip(frames.to(torch.uint8), labels, self.names[index], "scene")


class MovingClips(ClipDataModule):
    name = "moving"

    def __init__(self):
        super().__init__(batch_size=1, num_workers=0, seed=0)

    def undisturbed(self, split):
        return Moving()


@pytest.fixture
def moving_clips():
    """A data module of them."""
    return MovingClips()


@pytest.fixture
def clips():
    """uint8 [3, 5, 3, 96, 96] that move."""
    data = SyntheticClips(num_frames=5, calibration_clips=3).dataset("calibration")
    return torch.stack([data[index].frames for index in range(3)])


@pytest.fixture(scope="session")
def yardstick(digits):
    """Measured once."""
    clips = [Moving()[index] for index in (0, 1)]
    return Yardstick.measure(digits, ThresholdGate(), clips, "kl")


@pytest.fixture
def settings(digits, yardstick, moving_clips):
    """Arguments of a small environment."""
    return {
        "backbone": digits,
        "data": moving_clips,
        "calibration_clips": 2,
        "quality": "kl",
        "yardstick": yardstick,
    }


@pytest.fixture
def given():
    """Options of a reset with clips, each at one knob."""

    def make(clips, knob, **more):
        count = len(clips) * more.get("repeats", 1)
        rows = {"knobs": [knob] * count, "budgets": [0.2] * count, "prices": [0.1] * count}
        return {"clips": clips, **rows, **more}

    return make
