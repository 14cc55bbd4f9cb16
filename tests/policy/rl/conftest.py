"""An environment that anybody could solve, and an agent of the shipped kind for it."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

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
