"""Stable-Baselines3's PPO on the environment as it is: nothing here is specific to reuse.

    pip install -e '.[rl]'
    python docs/sb3.py --steps 20000

Prints the return of the threshold heuristic (action 0) and of the agent on the same episodes.
"""

import argparse
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import RecordEpisodeStatistics
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import policy  # noqa: F401  (registers the environment)

Act = Callable[[NDArray[np.float32]], NDArray[Any]]
ENVIRONMENT = "regate/TokenReuse-v0"


def train(steps: int, envs: int = 4, seed: int = 0, **world: Any) -> PPO:  # noqa: ANN401
    """PPO with a small network, from scratch.

    Args:
        steps: Frames to act on.
        envs: Clips side by side.
        seed: Of everything.
        world: Arguments of the environment.
    """
    env = make_vec_env(ENVIRONMENT, n_envs=envs, seed=seed, env_kwargs=world)
    steps_each = min(256, max(8, steps // envs))
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=steps_each,
        batch_size=min(256, steps_each * envs),
        gamma=0.9,  # a recompute pays back over a few frames
        policy_kwargs={"log_std_init": -1.0},
        device="cpu",
        seed=seed,
    )
    return model.learn(steps)


def mean_return(act: Act, episodes: int, **world: Any) -> float:  # noqa: ANN401
    """Mean sum of rewards over the same episodes for whoever acts."""
    env = RecordEpisodeStatistics(gymnasium.make(ENVIRONMENT, split="test", **world))
    returns = []
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            observation, _, terminated, truncated, info = env.step(act(observation))
            over = terminated or truncated
        returns.append(info["episode"]["r"])
    return float(np.mean(returns))


def main() -> None:
    """Train, then hold the agent against doing nothing about the threshold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--episodes", type=int, default=64)
    arguments = parser.parse_args()
    model = train(arguments.steps)
    still = np.zeros(2, np.float32)
    threshold = mean_return(lambda observation: still, arguments.episodes)
    agent = mean_return(lambda o: model.predict(o, deterministic=True)[0], arguments.episodes)
    print(f"mean return over {arguments.episodes} test episodes")
    print(f"threshold (action 0)  {threshold:.3f}")
    print(f"PPO                   {agent:.3f}")


if __name__ == "__main__":
    main()
