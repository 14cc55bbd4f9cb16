"""REINFORCE with a baseline from other rollouts of the same clip."""

from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.errors import RegateError
from policy.rl.actor_critic import Agent
from policy.rl.gae import discounted_returns, minus_mean_of_others
from policy.rl.moments import Gather, alone
from policy.rl.objective import clipped_surrogate
from policy.rl.ppo import Experience, Update, check_share, standardised
from policy.rl.rollout import Rollout


@dataclass(frozen=True)
class Reinforce:
    """The algorithm's settings (Williams 1992; baseline: https://openreview.net/forum?id=r1lgTGL5DE).

    A step's advantage is its return (what came from it on) minus the mean return, from the same
    frame on, of the other rollouts of its clip at its budget: self-critical, without a critic.

    Args:
        gamma: Discount per frame, in [0, 1].
        ent_coef: Of the entropy, which keeps exploration up.
        adv_clip: Standardised advantages are clipped to this, as in ``PPO``.

    Raises:
        RegateError: If a value is outside its range.
    """

    gamma: float = 0.95
    ent_coef: float = 0.0
    adv_clip: float = 4.0

    def __post_init__(self) -> None:
        """Refuse what would train nonsense."""
        check_share("gamma", self.gamma)
        if not self.ent_coef >= 0:
            raise RegateError(f"ent_coef must be 0 or more, got {self.ent_coef:g}")
        if not self.adv_clip > 0:
            raise RegateError(f"adv_clip must be above 0, got {self.adv_clip:g}")

    @torch.no_grad()
    def experience(self, rollout: Rollout, group: int, gather: Gather = alone) -> Experience:
        """What a rollout of whole episodes teaches.

        Args:
            rollout: Of s streams, of which ``group`` neighbours each show one clip.
            group: Rollouts per clip, at least 2.
            gather: Over processes, whose rollouts are scaled as one.
        """
        returns = discounted_returns(rollout.rewards, self.gamma)  # [t, s]
        apart = minus_mean_of_others(returns.unflatten(1, (-1, group))).flatten(1)
        return Experience(
            observations=rollout.observations.flatten(0, 1),
            actions=rollout.actions.flatten(0, 1),
            log_probs=rollout.log_probs.flatten(),
            # Their mean is 0 already; a spread of 1 keeps the step's size apart from the rewards'.
            advantages=standardised(apart, gather).flatten().clamp(-self.adv_clip, self.adv_clip),
            returns=returns.flatten(),
            values=(returns - apart).flatten(),
        )

    def update(self, agent: Agent, experience: Experience) -> Update:
        """The loss of one rollout, for the one step that it is good for."""
        policy = agent.policy(experience.observations)
        log_probs = policy.log_prob(experience.actions)
        # At a ratio of 1 the surrogate's gradient is that of advantage · log probability; the clip
        # has no say on a first step.
        surrogate = clipped_surrogate(
            log_probs, experience.log_probs, experience.advantages, clip_coef=1.0
        )
        entropy: Tensor = policy.entropy().mean()
        loss = surrogate.loss - self.ent_coef * entropy
        return Update(loss, surrogate, torch.zeros_like(loss), entropy)


# Settings are kept in checkpoints, which are read without running code.
torch.serialization.add_safe_globals([Reinforce])
