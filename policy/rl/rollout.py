"""What an agent saw, did and got while it acted in a batch of environments."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor

Act = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Observations [s, o] → actions [s, k] and the logarithms of their probabilities [s]."""


@dataclass(frozen=True)
class Rollout:
    """Steps of s environments side by side.

    Attributes:
        observations: That were acted on, float32 [t, s, o].
        actions: As drawn, before the environment clips them, [t, s, k].
        log_probs: Of the actions, [t, s].
        rewards: float32 [t, s].
        following: Observations after the steps, [t, s, o]; where an episode ended, its own last.
        terminated: bool [t, s].
        ended: Terminated or truncated, bool [t, s].
        terms: What ``info`` said of each step, by name, [t, s].
    """

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    rewards: Tensor
    following: Tensor
    terminated: Tensor
    ended: Tensor
    terms: dict[str, Tensor]

    def streams(self, index: Tensor) -> Self:
        """Only the given environments."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        terms = {name: value[:, index] for name, value in tensors.pop("terms").items()}
        return replace(
            self, terms=terms, **{name: value[:, index] for name, value in tensors.items()}
        )


@torch.no_grad()
def collect(
    env: VectorEnv[Any, Any, Any],
    observations: NDArray[np.float32],
    act: Act,
    steps: int,
    names: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> tuple[Rollout, NDArray[np.float32]]:
    """Act for a number of steps.

    Args:
        env: With the autoreset mode SAME_STEP, whose ``final_obs`` tells what an ended episode
            came to.
        observations: To begin with: from ``reset``, or where the last rollout stopped.
        act: The agent.
        steps: t.
        names: Of terms in ``info`` to keep.
        device: Of the agent.

    Returns:
        The rollout, and the observations to go on from.
    """
    rows: dict[str, list[Tensor]] = {}
    for _ in range(steps):
        seen = torch.as_tensor(observations, device=device)
        actions, log_probs = act(seen)
        observations, rewards, terminated, truncated, infos = env.step(actions.cpu().numpy())
        ended = terminated | truncated
        step = {
            "observations": seen,
            "actions": actions,
            "log_probs": log_probs,
            "rewards": torch.as_tensor(rewards, dtype=torch.float32, device=device),
            "following": torch.as_tensor(_after(observations, ended, infos), device=device),
            "terminated": torch.as_tensor(terminated, device=device),
            "ended": torch.as_tensor(ended, device=device),
        }
        step |= {f"terms.{name}": _term(infos, ended, name).to(device) for name in names}
        for name, value in step.items():
            rows.setdefault(name, []).append(value)
    stacked = {name: torch.stack(values) for name, values in rows.items()}
    terms = {name: stacked.pop(f"terms.{name}") for name in names}
    return Rollout(terms=terms, **stacked), observations


def _after(
    observations: NDArray[np.float32], ended: NDArray[np.bool_], infos: dict[str, Any]
) -> NDArray[np.float32]:
    """What followed each step, not the first observation of the episode that autoreset began."""
    after = observations.copy()
    for index in np.flatnonzero(ended):
        after[index] = infos["final_obs"][index]
    return after


def _term(infos: dict[str, Any], ended: NDArray[np.bool_], name: str) -> Tensor:
    """A term of each environment; of those whose episode ended it is in ``final_info``."""
    values = np.zeros(len(ended), dtype=np.float32)
    for place, where in ((infos, ~ended), (infos.get("final_info", infos), ended)):
        if where.any():
            values[where] = np.asarray(place[name], dtype=np.float32)[where]
    return torch.from_numpy(values)
