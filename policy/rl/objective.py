"""What an update of an agent minimises."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Surrogate:
    """The policy's part of the loss, each a scalar.

    Attributes:
        loss: To be minimised.
        approx_kl: Estimate of KL(policy that acted ‖ policy now), nats.
        clip_fraction: Share of steps whose ratio is beyond the clip.
    """

    loss: Tensor
    approx_kl: Tensor
    clip_fraction: Tensor


def clipped_surrogate(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip_coef: float
) -> Surrogate:
    """PPO's clipped objective, negated (https://arxiv.org/abs/1707.06347, eq. 7).

    A step stops pulling once its action has become ``clip_coef`` more likely (good actions) or
    less likely (bad ones) than when it was taken; it never stops a correction the other way.

    Args:
        log_probs: Of the actions taken, under the policy now, [b].
        old_log_probs: Under the policy that took them, [b].
        advantages: [b].
        clip_coef: Half-width of the interval around 1 that the ratio is free in.
    """
    log_ratio = log_probs - old_log_probs
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_coef, 1 + clip_coef)
    loss = -torch.minimum(ratio * advantages, clipped * advantages).mean()
    with torch.no_grad():
        # Never negative and less scattered than the mean of -log ratio, with the same expectation
        # (http://joschu.net/blog/kl-approx.html).
        approx_kl = (ratio - 1 - log_ratio).mean()
        beyond = ((ratio - 1).abs() > clip_coef).float().mean()
    return Surrogate(loss, approx_kl, beyond)


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """Share of the returns' variance that the values predict; 1 is all, 0 none, below 0 harm.

    Args:
        values: Predicted, of any shape.
        returns: What they should have been; NaN where these do not vary.
    """
    variance = returns.var(correction=0)
    unexplained = (returns - values).var(correction=0)
    return torch.where(variance > 0, 1 - unexplained / variance, torch.nan)
