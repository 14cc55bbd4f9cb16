"""Proximal policy optimisation (https://arxiv.org/abs/1707.06347) on whole rollouts."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.errors import RegateError
from policy.rl.actor_critic import Agent
from policy.rl.gae import generalised_advantages
from policy.rl.moments import Gather, Moments, alone
from policy.rl.objective import Surrogate, clipped_surrogate
from policy.rl.rollout import Rollout

LEAST_STD = 1e-6


@dataclass(frozen=True)
class Update:
    """One minibatch's loss, before the step that follows from it; scalars.

    Attributes:
        loss: To be minimised.
        surrogate: The policy's part.
        value_loss: Half the mean squared error of the critic, in its own unit.
        entropy: Of the distribution that actions are drawn from, nats.
    """

    loss: Tensor
    surrogate: Surrogate
    value_loss: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class Experience:
    """Steps of a rollout in one row each, with what is to be learned from them.

    Attributes:
        observations: [b, o].
        actions: [b, k].
        log_probs: Under the policy that acted, [b].
        advantages: Mean 0 and spread 1 over the rollouts of all processes before they are clipped,
            [b].
        returns: Targets of the critic, in the unit of rewards, [b].
        values: What it said, likewise, [b].
    """

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    values: Tensor

    def rows(self, index: Tensor) -> "Experience":
        """Only the given steps."""
        columns = (
            self.observations, self.actions, self.log_probs,
            self.advantages, self.returns, self.values,
        )  # fmt: skip
        return Experience(*(column[index] for column in columns))


@dataclass(frozen=True)
class PPO:
    """The algorithm's settings, named as in its literature.

    Args:
        gamma: Discount per frame, in [0, 1].
        gae_lambda: In [0, 1]: 0 trusts the critic, 1 the rewards.
        clip_coef: Half-width of the interval around 1 that the ratio of probabilities is free in.
        update_epochs: Passes over each rollout.
        num_minibatches: Steps of the optimiser per pass.
        ent_coef: Of the entropy, which keeps exploration up.
        vf_coef: Of the critic's loss.
        adv_clip: Standardised advantages are clipped to this: a frame on which the output tips over
            to another class may weigh as much as a thousand others.
        target_kl: Passes over a rollout stop once the policy has moved this far, nats.

    Raises:
        RegateError: If a value is outside its range.
    """

    gamma: float = 0.95
    gae_lambda: float = 0.9
    clip_coef: float = 0.2
    update_epochs: int = 4
    num_minibatches: int = 4
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    adv_clip: float = 4.0
    target_kl: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what would train nothing, or nonsense."""
        for name in ("gamma", "gae_lambda"):
            check_share(name, getattr(self, name))
        for name in ("clip_coef", "adv_clip", "target_kl"):
            if not getattr(self, name) > 0:
                raise RegateError(f"{name} must be above 0, got {getattr(self, name):g}")
        for name in ("update_epochs", "num_minibatches"):
            if getattr(self, name) < 1:
                raise RegateError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("ent_coef", "vf_coef"):
            if not getattr(self, name) >= 0:
                raise RegateError(f"{name} must be 0 or more, got {getattr(self, name):g}")

    @torch.no_grad()
    def experience(self, agent: Agent, rollout: Rollout, gather: Gather = alone) -> Experience:
        """What a rollout teaches; the critic's unit takes in its returns first.

        Args:
            agent: That acted.
            rollout: Of this process.
            gather: Over processes, whose rollouts are scaled as one.
        """
        values = agent.value(rollout.observations)
        advantages = generalised_advantages(
            rollout.rewards,
            values,
            agent.value(rollout.following),
            rollout.terminated,
            rollout.ended,
            self.gamma,
            self.gae_lambda,
        )
        returns = advantages + values
        agent.value_norm.update(returns, gather)
        limits = -self.adv_clip, self.adv_clip
        return Experience(
            observations=rollout.observations.flatten(0, 1),
            actions=rollout.actions.flatten(0, 1),
            log_probs=rollout.log_probs.flatten(),
            advantages=standardised(advantages, gather).flatten().clamp(*limits),
            returns=returns.flatten(),
            values=values.flatten(),
        )

    def updates(
        self,
        agent: Agent,
        experience: Experience,
        gather: Gather = alone,
    ) -> Iterator[Update]:
        """The losses of one rollout's minibatches; step on each before the next is asked for.

        Args:
            agent: That is trained.
            experience: Of the rollout.
            gather: Over processes, all of which must stop after the same pass.
        """
        for _ in range(self.update_epochs):
            order = torch.randperm(len(experience.returns), device=experience.returns.device)
            moved = []
            for index in order.chunk(self.num_minibatches):
                update = self.update(agent, experience.rows(index))
                moved.append(update.surrogate.approx_kl)
                yield update
            if gather(torch.stack(moved).mean()).mean() > self.target_kl:
                break

    def update(self, agent: Agent, part: Experience) -> Update:
        """The loss of one minibatch."""
        policy = agent.policy(part.observations)
        surrogate = clipped_surrogate(
            policy.log_prob(part.actions), part.log_probs, part.advantages, self.clip_coef
        )
        assert agent.critic is not None
        predicted: Tensor = agent.critic(part.observations)
        value_loss = 0.5 * (predicted - agent.value_norm(part.returns)).square().mean()
        entropy: Tensor = policy.entropy().mean()
        loss = surrogate.loss + self.vf_coef * value_loss - self.ent_coef * entropy
        return Update(loss, surrogate, value_loss, entropy)


# Settings are kept in checkpoints, which are read without running code.
torch.serialization.add_safe_globals([PPO])


def standardised(advantages: Tensor, gather: Gather) -> Tensor:
    """With mean 0 and spread 1 over those of all processes, of any shape."""
    all_of_them = Moments.of(advantages, gather)
    spread = all_of_them.std.clamp_min(LEAST_STD)
    return ((advantages - all_of_them.mean) / spread).to(advantages)


def check_share(name: str, value: float) -> None:
    """Refuse what is not in [0, 1].

    Raises:
        RegateError: Naming the setting.
    """
    if not 0 <= value <= 1:
        raise RegateError(f"{name} must be in [0, 1], got {value:g}")
