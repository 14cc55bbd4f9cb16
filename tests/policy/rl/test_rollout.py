"""Rollouts from a vectorised environment that starts the next episode in the same step."""

import numpy as np
import torch

from policy.rl.rollout import collect


def zeros(observations):
    return torch.zeros(len(observations), 6), torch.zeros(len(observations))


def always(observations):
    return torch.ones(len(observations), 6), torch.full((len(observations),), -1.5)


def test_a_rollout_holds_what_was_seen_done_and_got(one_region):
    env = one_region(2, frames=3)
    first, _ = env.reset(seed=0)

    rollout, last = collect(env, first, always, 2, names=("quality", "spent"))

    assert torch.equal(rollout.observations[0], torch.from_numpy(first))
    assert torch.equal(rollout.following[0], rollout.observations[1])
    assert np.array_equal(rollout.following[1].numpy(), last)
    assert rollout.actions.shape == (2, 2, 6)
    assert rollout.log_probs.tolist() == [[-1.5] * 2] * 2
    assert rollout.rewards.tolist() == [[0.5] * 2] * 2
    assert rollout.terms["quality"].tolist() == rollout.terms["spent"].tolist() == [[1, 1]] * 2
    assert not rollout.ended.any()


def test_what_follows_an_episodes_end_is_its_own_last_observation(one_region):
    env, twin = one_region(2, frames=2), one_region(2, frames=3)
    first, _ = env.reset(seed=0)
    same, _ = twin.reset(seed=0)

    rollout, _ = collect(env, first, zeros, 3, names=("spent",))
    whole, _ = collect(twin, same, zeros, 2)

    assert rollout.ended.tolist() == [[False] * 2, [True] * 2, [False] * 2]
    assert not rollout.terminated.any()
    assert torch.equal(rollout.following[1], whole.following[1])
    assert not torch.equal(rollout.following[1], rollout.observations[2])
    assert rollout.terms["spent"].tolist() == [[0, 0]] * 3  # from final_info at the end


def test_streams_can_be_taken_out(one_region):
    env = one_region(3)
    rollout, _ = collect(env, env.reset(seed=0)[0], zeros, 2, names=("spent",))

    part = rollout.streams(torch.tensor([2, 0]))

    assert torch.equal(part.observations, rollout.observations[:, [2, 0]])
    assert part.terms["spent"].shape == (2, 2)
