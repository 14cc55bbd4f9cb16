"""Advantages, returns and the baseline from others, against numbers worked out by hand."""

import pytest
import torch

from policy.rl.gae import discounted_returns, generalised_advantages, minus_mean_of_others


def column(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype).unsqueeze(1)


def advantages(rewards, values, next_values, terminated, ended, gamma=0.5, gae_lambda=0.5):
    flags = (column(*flags, dtype=torch.bool) for flags in (terminated, ended))
    found = generalised_advantages(
        column(*rewards), column(*values), column(*next_values), *flags, gamma, gae_lambda
    )
    return found.squeeze(1).tolist()


def test_a_truncated_clip_is_worth_what_would_have_come_after_it():
    # Surprises: 1 + 4/2 - 2 = 1, 0 + 8/2 - 4 = 0, 2 + 6/2 - 8 = -3. Each step adds a quarter of
    # the next: -3, 0 - 3/4, 1 - 3/16.
    assert advantages(
        rewards=(1, 0, 2), values=(2, 4, 8), next_values=(4, 8, 6),
        terminated=(0, 0, 0), ended=(0, 0, 1),
    ) == [0.8125, -0.75, -3]  # fmt: skip


def test_after_a_termination_nothing_comes():
    # The last surprise is 2 - 8 = -6; then 0 - 6/4 and 1 - 6/16.
    assert advantages(
        rewards=(1, 0, 2), values=(2, 4, 8), next_values=(4, 8, 6),
        terminated=(0, 0, 1), ended=(0, 0, 1),
    ) == [0.625, -1.5, -6]  # fmt: skip


def test_an_episode_takes_nothing_from_the_next():
    # Step 1 truncates with a last value of 10: 0 + 10/2 - 4 = 1. What follows belongs to others.
    assert advantages(
        rewards=(1, 0, 100), values=(2, 4, 8), next_values=(4, 10, 6),
        terminated=(0, 0, 0), ended=(0, 1, 1),
    ) == [1 + 1 / 4, 1, 100 + 3 - 8]  # fmt: skip


def test_a_reward_at_the_end_reaches_each_step_by_its_distance():
    """Stable-Baselines3's check: values constantly 0, so advantages are (γλ)^distance."""
    found = advantages((0, 0, 0, 1), (0,) * 4, (0,) * 4, (0, 0, 0, 1), (0, 0, 0, 1), 0.8, 0.5)

    assert found == pytest.approx([0.4**3, 0.4**2, 0.4, 1])


def test_lambda_1_gives_the_discounted_return_less_the_value():
    rewards, values = (1.0, -2.0, 4.0), (3.0, 0.5, 2.0)
    found = advantages(
        rewards, values, (0.5, 2.0, 6.0), (0, 0, 0), (0, 0, 1), gamma=0.5, gae_lambda=1.0
    )

    # 1 - 2/2 + 4/4 + 6/8 = 1.75 and so on.
    assert found == pytest.approx([1.75 - 3, 1.5 - 0.5, 7 - 2])


def test_streams_are_apart():
    rewards = torch.tensor([[1.0, 5.0], [2.0, 7.0]])
    zeros, never = torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.bool)

    found = generalised_advantages(rewards, zeros, zeros, never, never, 1.0, 1.0)

    assert found.tolist() == [[3, 12], [2, 7]]


def test_returns_are_discounted_by_frames():
    assert discounted_returns(column(1, 2, 4), 0.5).squeeze(1).tolist() == [3, 4, 4]


def test_the_baseline_of_a_rollout_is_the_mean_of_the_others():
    returns = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])

    assert minus_mean_of_others(returns).tolist() == [[-3, -1.5, 4.5], [-1.5, -1.5, 3]]


def test_what_all_rollouts_of_a_clip_share_cancels():
    returns = torch.tensor([1.0, 2.0, 6.0])

    assert torch.equal(minus_mean_of_others(returns), minus_mean_of_others(returns + 100))


def test_one_rollout_has_no_others():
    with pytest.raises(
        ValueError, match="a baseline from others needs 2 rollouts or more of a clip, got 1"
    ):
        minus_mean_of_others(torch.zeros(3, 1))
