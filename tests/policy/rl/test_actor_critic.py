"""The agent before and around its first update."""

import math

import pytest
import torch

from policy.rl.actor_critic import Actor, Critic, Exploration


def test_an_untrained_actor_leaves_everything_as_it_is():
    assert torch.equal(Actor(5, 2)(torch.randn(7, 5)), torch.zeros(7, 2))


def test_mean_actions_stay_inside_the_action_space():
    actor = Actor(5, 2)
    torch.nn.init.constant_(actor.layers[-1].bias, 5.0)

    assert 0.99 < actor(torch.randn(7, 5)).min() <= 1


def test_actions_are_drawn_around_the_mean_with_one_spread_per_number():
    exploration = Exploration(2, 0.5)
    mean = torch.tensor([[0.0, 1.0]])

    policy = exploration(mean)

    # Two normal densities of spread 0.5: one at its mean, one a spread away from it.
    per_number = -math.log(0.5) - 0.5 * math.log(2 * math.pi)
    assert policy.log_prob(torch.tensor([[0.0, 1.5]])).item() == pytest.approx(2 * per_number - 0.5)
    assert policy.entropy().item() == pytest.approx(1 - 2 * per_number)
    drawn = policy.sample((20000,)).squeeze(1)
    assert drawn.mean(0).tolist() == pytest.approx([0, 1], abs=0.02)
    assert drawn.std(0).tolist() == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_critic_gives_one_value_per_observation():
    assert Critic(5)(torch.randn(3, 7, 5)).shape == (3, 7)


def test_half_precision_around_them_changes_neither_actions_nor_values():
    torch.manual_seed(0)
    actor, critic = Actor(5, 2), Critic(5)
    torch.nn.init.normal_(actor.layers[-1].weight)
    seen = torch.randn(7, 5)
    mean, value = actor(seen), critic(seen)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (seen @ seen.T).dtype == torch.bfloat16
        assert torch.equal(actor(seen), mean)
        assert torch.equal(critic(seen), value)


def test_all_parts_are_trained(make_agent):
    agent = make_agent()

    trained = {id(parameter) for parameter in agent.parameters()}
    assert id(agent.exploration.log_std) in trained
    assert {id(p) for m in (agent.actor, agent.critic) for p in m.parameters()} < trained
    assert len(list(make_agent(critic=False).parameters())) == 6 + 1
