"""``regate/TokenReuse-v0``: the environment in which a reuse policy is learned."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from datamodules.errors import RegateError
from policy.rl.actions import checked_actions, make_actions
from policy.rl.options import episodes_from
from policy.rl.simulation import Observations, Simulation
from policy.rl.vector import RENDER_FPS, check_render_mode, observation_space, reset_info
from policy.rl.world import World


class TokenReuseEnv(gymnasium.Env[Observations, NDArray[Any]]):
    """One clip is one episode, and one step computes one frame.

    ## Description
    A frozen ViT watches a video; the agent steers the threshold that decides which tokens of the
    next frame are recomputed. It drives the same ``ReuseSession`` that serves the trained gate.
    The first frame of a clip is dense at ``reset``; a clip of t frames has t − 2 steps, so that
    the last observation too is about a real frame.

    ## Action space
    ``Box(-1, 1, (groups + 1,))``: per block group, how far the threshold is lowered (1: by 2 in
    log drift; 0: the calibrated threshold), and a refresh, which above 0.75 recomputes the frame.
    ``actions="discrete"``: five levels of each offset and two of the refresh. ``"tokens"``: one
    bit per patch.

    ## Observation space
    A flat ``Box``, whose fields are listed in docs/rl.md.

    ## Rewards
    ``quality − price · spent``, each in ``info``.

    ## Episode end
    ``truncated`` at the end of the clip; never ``terminated``.

    Args:
        actions: "box", "discrete" or "tokens".
        render_mode: None or "rgb_array".
        world: Arguments of ``policy.rl.world.World``; none for the embedded default.

    Raises:
        RegateError: As ``World``.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": RENDER_FPS}  # noqa: RUF012

    def __init__(
        self,
        actions: str = "box",
        render_mode: str | None = None,
        **world: Any,  # noqa: ANN401  (typed in World)
    ) -> None:
        check_render_mode(render_mode)
        self.render_mode = render_mode
        self.world = World(actions=actions, **world)
        self.simulation = Simulation(self.world)
        self._actions = make_actions(actions, self.world.gate)
        self.action_space = self._actions.space
        self.observation_space = observation_space(self.world)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Draw a clip, a budget and with it a price; compute the first frame.

        Args:
            seed: Of the draws.
            options: See ``policy.rl.options.episodes_from``, for one environment.

        Raises:
            RegateError: If an option does not fit.
        """
        super().reset(seed=seed)
        episodes = episodes_from(self.world, options or {}, [self.np_random])
        observations = self.simulation.start(episodes)
        return observations[0], reset_info(self.simulation, 0)

    def step(self, action: NDArray[Any]) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Compute the next frame.

        Raises:
            RegateError: If the action does not fit, or there is no episode.
        """
        episodes = self.simulation.episodes
        if not episodes or episodes[0].over:
            raise RegateError("there is no episode to act in: call reset() first")
        checked = checked_actions(self.action_space, action)
        observations, terms = self.simulation.act(self._actions.steering(checked[None]))
        told = {name: float(values[0]) for name, values in terms.items()}
        return observations[0], told.pop("reward"), False, episodes[0].over, told

    def render(self) -> NDArray[np.uint8] | None:
        """The frame computed last: what was recomputed, spent and quality so far."""
        if self.render_mode is None:
            return None
        if not self.simulation.episodes:
            raise RegateError("there is no frame to show: call reset() first")
        return self.simulation.picture(0)
