"""How much better an action was than expected: generalised advantages and returns."""

import torch
from torch import Tensor


def generalised_advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    ended: Tensor,
    gamma: float,
    gae_lambda: float,
) -> Tensor:
    """Generalised advantage estimation (https://arxiv.org/abs/1506.02438, eq. 16).

    An episode's end cuts the sum over later steps; only a *termination* makes what follows worth
    nothing. A clip's end is a truncation: the stream would have gone on, so the value of the
    observation after it counts. Without that, what a recompute buys for later frames would be
    worth less the nearer the clip's end is.

    Args:
        rewards: Of each step, [t, s].
        values: Of the observation that the step acted on, [t, s].
        next_values: Of the observation that followed, [t, s]; where an episode ended, that of its
            own last observation, and not of the next episode's first.
        terminated: Whether nothing can follow, bool [t, s].
        ended: Whether the episode ended with the step, terminated or truncated, bool [t, s].
        gamma: Discount per frame, in [0, 1].
        gae_lambda: In [0, 1]: 0 trusts the values, 1 the rewards.

    Returns:
        [t, s]; added to ``values`` they are the targets of the values.
    """
    surprise = rewards + gamma * next_values * ~terminated - values
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[0])
    for step in reversed(range(len(rewards))):
        following = surprise[step] + gamma * gae_lambda * following * ~ended[step]
        advantages[step] = following
    return advantages


def discounted_returns(rewards: Tensor, gamma: float) -> Tensor:
    """Discounted sum of a step's reward and all later ones of one episode, [t, s] → [t, s]."""
    returns = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[0])
    for step in reversed(range(len(rewards))):
        following = rewards[step] + gamma * following
        returns[step] = following
    return returns


def minus_mean_of_others(returns: Tensor) -> Tensor:
    """Each rollout's return minus the mean of the other rollouts of the same clip.

    The leave-one-out baseline (https://openreview.net/forum?id=r1lgTGL5DE): what makes a clip easy
    or hard is the same for all its rollouts and cancels, and since no rollout is part of its own
    baseline, the policy gradient keeps its expectation.

    Args:
        returns: Of g ≥ 2 rollouts, [..., g].

    Raises:
        ValueError: If there is one rollout only, which has no others.
    """
    group = returns.shape[-1]
    if group < 2:
        raise ValueError(f"a baseline from others needs 2 rollouts or more of a clip, got {group}")
    return (returns - returns.mean(-1, keepdim=True)) * (group / (group - 1))
