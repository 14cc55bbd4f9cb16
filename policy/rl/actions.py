"""How an agent may act: what its action space is, and what the gate is told of an action."""

from typing import Any, Literal, get_args

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from backbones.vit import Backbone
from datamodules.errors import RegateError
from policy.gates.dictated import DictatedGate
from policy.gates.steered import SteeredGate

ActionKind = Literal["box", "discrete", "tokens"]
LEVELS = 5
"""Of an offset in the discrete variant; the middle one is the threshold itself."""


class BoxActions:
    """An offset per block group and a refresh, each in [-1, 1]."""

    def __init__(self, size: int) -> None:
        self.space = spaces.Box(-1, 1, (size,), np.float32)

    def steering(self, actions: NDArray[Any]) -> Tensor:
        """As they are."""
        return torch.from_numpy(np.asarray(actions, np.float32))


class DiscreteActions:
    """One of five levels per block group, from -1 to 1, and whether to refresh."""

    def __init__(self, size: int) -> None:
        self.space = spaces.MultiDiscrete([LEVELS] * (size - 1) + [2])
        self._values = np.linspace(-1, 1, LEVELS, dtype=np.float32)

    def steering(self, actions: NDArray[Any]) -> Tensor:
        """Levels become offsets, and a refresh becomes -1 or 1."""
        levels = self._values[actions[:, :-1]]
        refresh = 2 * actions[:, -1:].astype(np.float32) - 1
        return torch.from_numpy(np.concatenate([levels, refresh], axis=1))


class TokenActions:
    """One bit per patch: its mask in all blocks."""

    def __init__(self, patches: int) -> None:
        self.space = spaces.MultiBinary(patches)

    def steering(self, actions: NDArray[Any]) -> Tensor:
        """As they are."""
        return torch.from_numpy(np.asarray(actions, np.float32))


Actions = BoxActions | DiscreteActions | TokenActions


def make_gate(backbone: Backbone, kind: str, groups: int) -> SteeredGate:
    """The gate that a kind of action steers.

    Raises:
        RegateError: If there is no such kind, or it does not go with block groups.
    """
    if kind not in get_args(ActionKind):
        raise RegateError(f"actions must be one of {', '.join(get_args(ActionKind))}, got {kind!r}")
    if kind != "tokens":
        return SteeredGate(groups, backbone.depth)
    if groups != 1:
        raise RegateError(f"actions per token have one mask for all blocks: groups=1, not {groups}")
    return DictatedGate(backbone.grid[0] * backbone.grid[1])


def make_actions(kind: str, gate: SteeredGate) -> Actions:
    """The action space of a gate."""
    kinds: dict[str, type[Actions]] = {
        "box": BoxActions,
        "discrete": DiscreteActions,
        "tokens": TokenActions,
    }
    return kinds[kind](gate.action_size)


def checked_actions(space: spaces.Space[Any], actions: NDArray[Any]) -> NDArray[Any]:
    """Actions of the space's shape whose numbers are finite and, but for a Box, within it.

    What lies outside [-1, 1] is left to the gate, which clamps it.

    Raises:
        RegateError: If they are not.
    """
    actions = np.asarray(actions)
    if actions.shape != space.shape:
        raise RegateError(
            f"an action for this environment has shape {list(space.shape or ())}, "
            f"got {list(actions.shape)}"
        )
    if not np.isfinite(actions).all():
        raise RegateError("the action has NaN or infinite values: has the agent diverged?")
    if isinstance(space, spaces.Box):
        return actions
    whole = actions.astype(space.dtype)
    if not space.contains(whole) or (whole != actions).any():
        raise RegateError(f"the action is outside {space}")
    return whole
