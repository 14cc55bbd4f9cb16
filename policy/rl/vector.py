"""``regate/TokenReuse-v0`` for many clips at a time, all through one backbone in one batch."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from datamodules.errors import RegateError
from policy.rl.actions import checked_actions, make_actions
from policy.rl.options import episodes_from
from policy.rl.simulation import Observations, Simulation, Terms
from policy.rl.world import World

Bools = NDArray[np.bool_]
RENDER_FPS = 10


class TokenReuseVectorEnv(VectorEnv[Observations, NDArray[Any], NDArray[Any]]):
    """A batch of clips, one per environment; the same episodes as ``TokenReuseEnv`` one by one.

    Episodes that were drawn are followed by the next in the same step (SAME_STEP); those of clips
    given to ``reset(options={"clips": ...})`` are not: their last step returns the final
    observation itself, and wants another ``reset``.

    Args:
        num_envs: Clips side by side.
        actions: "box": offsets per block group and a refresh, in [-1, 1]; "discrete": five levels
            of each and two; "tokens": a bit per patch.
        render_mode: None or "rgb_array".
        world: Arguments of ``policy.rl.world.World``.

    Raises:
        RegateError: As ``World``; if there are no environments.
    """

    def __init__(
        self,
        num_envs: int = 1,
        actions: str = "box",
        render_mode: str | None = None,
        **world: Any,  # noqa: ANN401  (typed in World)
    ) -> None:
        if num_envs < 1:
            raise RegateError(f"num_envs must be at least 1, got {num_envs}")
        check_render_mode(render_mode)
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": RENDER_FPS,
            "autoreset_mode": AutoresetMode.SAME_STEP,
        }
        self.render_mode = render_mode
        self.num_envs = num_envs
        self.world = World(actions=actions, **world)
        self.simulation = Simulation(self.world)
        self._actions = make_actions(actions, self.world.gate)
        self.single_action_space = self._actions.space
        self.single_observation_space = observation_space(self.world)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._rngs: list[np.random.Generator] = []
        self._given = False
        self._spent_up = True

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin an episode in every environment.

        Args:
            seed: Of the first environment, the others following; or one for each; None goes on
                drawing from where they are.
            options: See ``policy.rl.options.episodes_from``.

        Raises:
            RegateError: If seeds or options do not fit.
        """
        self._seed(seed)
        options = options or {}
        episodes = episodes_from(self.world, options, self._rngs)
        observations = self.simulation.start(episodes)
        self._given = options.get("clips") is not None
        self._spent_up = False
        return observations, self._with_masks(self._told())

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observations, NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        """Compute the next frame of every clip.

        Raises:
            RegateError: If actions do not fit, or there is no episode.
        """
        if self._spent_up:
            raise RegateError("there is no episode to act in: call reset() first")
        steering = self._actions.steering(checked_actions(self.action_space, actions))
        observations, terms = self.simulation.act(steering)
        rewards = terms.pop("reward")
        ended = np.array([episode.over for episode in self.simulation.episodes])
        infos: dict[str, Any] = {}
        if ended.any():
            observations, infos = self._end(ended, observations, terms)
        else:
            infos = self._with_masks(terms)
        return observations, rewards, np.zeros(self.num_envs, dtype=np.bool_), ended, infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Each environment's frame as ``TokenReuseEnv.render`` shows it."""
        if self.render_mode is None:
            return None
        return tuple(self.simulation.picture(stream) for stream in range(self.num_envs))

    def _end(
        self, ended: Bools, observations: Observations, terms: Terms
    ) -> tuple[Observations, dict[str, Any]]:
        """Keep what ended episodes came to, and begin the next."""
        infos: dict[str, Any] = {}
        if self._given:
            self._spent_up = True
            infos = self._with_masks(terms)
            for stream in np.flatnonzero(ended).tolist():
                self._add_info(infos, {"final_obs": observations[stream].copy()}, stream)
            return observations, infos
        final = observations
        over = np.flatnonzero(ended).tolist()
        drawn = {stream: self.world.draw(self._rngs[stream]) for stream in over}
        observations = self.simulation.restart(drawn)
        told = self._told()
        for stream in range(self.num_envs):
            of_step = {name: float(value[stream]) for name, value in terms.items()}
            if stream in drawn:
                last = {"final_obs": final[stream].copy(), "final_info": of_step}
                self._add_info(infos, last, stream)
                of_step = {name: values[stream] for name, values in told.items()}
            self._add_info(infos, of_step, stream)
        return observations, infos

    def _told(self) -> dict[str, NDArray[Any]]:
        """What ``reset`` tells of the episodes that have begun."""
        told = [reset_info(self.simulation, stream) for stream in range(self.num_envs)]
        return {name: np.array([row[name] for row in told]) for name in told[0]}

    def _with_masks(self, terms: dict[str, Any]) -> dict[str, Any]:
        """Gymnasium's form: beside each array, which environments it holds for."""
        everywhere = np.ones(self.num_envs, dtype=np.bool_)
        return terms | {f"_{name}": everywhere.copy() for name in terms}

    def _seed(self, seed: int | Sequence[int | None] | None) -> None:
        seeds: list[int | None]
        if isinstance(seed, list | tuple):
            seeds = list(seed)
        elif seed is None or isinstance(seed, Integral):
            seeds = [None if seed is None else int(seed) + at for at in range(self.num_envs)]
        else:
            raise RegateError(
                f"seed must be a whole number, a list of one per environment, or None, got {seed!r}"
            )
        if len(seeds) != self.num_envs:
            raise RegateError(f"{len(seeds)} seeds do not fit {self.num_envs} environments")
        if isinstance(seed, Integral):
            super().reset(seed=int(seed))
        self._rngs = [
            self._rngs[index] if one is None and self._rngs else seeding.np_random(one)[0]
            for index, one in enumerate(seeds)
        ]


def observation_space(world: World) -> spaces.Space[Observations]:
    """Every field within its range."""
    listed = world.gate.observation_fields
    low = np.array([entry.low for entry in listed], dtype=np.float32)
    high = np.array([entry.high for entry in listed], dtype=np.float32)
    return cast(spaces.Space[Observations], spaces.Box(low, high, dtype=np.float32))


def reset_info(simulation: Simulation, stream: int) -> dict[str, Any]:
    """What is told of an episode that has begun."""
    episode = simulation.episodes[stream]
    return {
        "clip": episode.name,
        "budget": episode.budget,
        "price": episode.price,
        "knob": episode.knob,
    }


def check_render_mode(render_mode: str | None) -> None:
    """Refuse what is no render mode.

    Raises:
        RegateError: Naming those that are.
    """
    if render_mode not in (None, "rgb_array"):
        raise RegateError(f"render_mode must be rgb_array or None, got {render_mode!r}")
