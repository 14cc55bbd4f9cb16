"""The agent: an actor that is served, and what only training needs beside it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from policy.rl.value_norm import ValueNorm


class Actor(nn.Module):
    """Observation → mean action in (−1, 1).

    The last layer starts at zero: before the first update the mean action is exactly 0, which is
    the calibrated threshold.

    Args:
        observations: Numbers per observation, o.
        actions: Numbers per action, k.
        hidden: Width of both hidden layers.
    """

    def __init__(self, observations: int, actions: int, hidden: int = 32) -> None:
        super().__init__()
        self.observations, self.actions, self.hidden = observations, actions, hidden
        self.layers = _layers(observations, actions, hidden)
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, observation: Tensor) -> Tensor:
        """[s, o] → [s, k]."""
        mean: Tensor = self.layers(observation).tanh()
        return mean


class Critic(nn.Module):
    """Observation → expected return, in the unit of ``ValueNorm``.

    Args:
        observations: Numbers per observation, o.
        hidden: Width of both hidden layers.
    """

    def __init__(self, observations: int, hidden: int = 64) -> None:
        super().__init__()
        self.layers = _layers(observations, 1, hidden)

    def forward(self, observation: Tensor) -> Tensor:
        """[..., o] → [...]."""
        value: Tensor = self.layers(observation).squeeze(-1)
        return value


class Exploration(nn.Module):
    """How far actions are drawn from the actor's mean: one spread per number, of no state.

    Args:
        actions: Numbers per action, k.
        std: At the start.
    """

    def __init__(self, actions: int, std: float) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.full((actions,), std).log())

    def forward(self, mean: Tensor) -> Independent[Normal]:
        """The distribution that actions are drawn from; the environment clips what it is given."""
        return Independent(Normal(mean, self.log_std.exp().expand_as(mean)), 1)


@dataclass(frozen=True)
class Agent:
    """What a training updates together. Only the actor is kept in a gate file.

    Attributes:
        actor: Observation → mean action.
        exploration: Around it.
        critic: Observation → value; None where the baseline comes from other rollouts.
        value_norm: The critic's unit.
    """

    actor: nn.Module
    exploration: Exploration
    critic: nn.Module | None
    value_norm: ValueNorm

    def policy(self, observation: Tensor) -> Independent[Normal]:
        """What actions are drawn from at an observation [..., o]."""
        policy: Independent[Normal] = self.exploration(self.actor(observation))
        return policy

    def value(self, observation: Tensor) -> Tensor:
        """Expected return at an observation [..., o], in the unit of rewards, [...]."""
        assert self.critic is not None
        return self.value_norm.inverse(self.critic(observation))

    def parameters(self) -> Iterator[nn.Parameter]:
        """All that an optimiser moves."""
        for module in (self.actor, self.exploration, self.critic):
            if module is not None:
                yield from module.parameters()


class _Layers(nn.Sequential):
    """Computed in full precision under autocast too.

    They cost nothing, actions leave them for the environment, which is numpy's, and an action that
    training rounds would be another than the one that is served.
    """

    def forward(self, values: Tensor) -> Tensor:
        """[..., inputs] → [..., outputs]."""
        with torch.autocast(values.device.type, enabled=False):
            for layer in self:
                values = layer(values)
        return values


def _layers(inputs: int, outputs: int, hidden: int) -> _Layers:
    return _Layers(
        nn.Linear(inputs, hidden),
        nn.Tanh(),
        nn.Linear(hidden, hidden),
        nn.Tanh(),
        nn.Linear(hidden, outputs),
    )
