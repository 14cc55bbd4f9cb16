"""Both agents solve what anybody could solve, and each update does what it says."""

import pytest
import torch

from datamodules.errors import RegateError
from policy.rl.ppo import PPO
from policy.rl.reinforce import Reinforce
from policy.rl.rollout import collect

BEST = 1 - 0.5 / 6


def mean_reward(env, agent):
    """Of the mean actions, as they are served, over an episode."""

    def act(seen):
        return agent.actor(seen), torch.zeros(len(seen))

    return collect(env, env.reset(seed=1)[0], act, 8)[0].rewards.mean().item()


def drawing(agent):
    def act(seen):
        policy = agent.policy(seen)
        actions = policy.sample()
        return actions, policy.log_prob(actions)

    return act


def test_ppo_finds_the_useful_region(one_region, make_agent):
    env, agent, ppo = one_region(16), make_agent(), PPO(gamma=0.9)
    optimizer = torch.optim.Adam(agent.parameters(), lr=0.01)
    assert mean_reward(env, agent) == 0  # nothing is above 0 before the first update

    seen, _ = env.reset(seed=0)
    for _ in range(30):
        rollout, seen = collect(env, seen, drawing(agent), 8)
        for update in ppo.updates(agent, ppo.experience(agent, rollout)):
            optimizer.zero_grad()
            update.loss.backward()
            optimizer.step()

    assert mean_reward(env, agent) == pytest.approx(BEST)


def test_reinforce_finds_the_useful_region(one_region, make_agent):
    env, agent, reinforce = one_region(16), make_agent(critic=False), Reinforce(gamma=0.0)
    optimizer = torch.optim.Adam(agent.parameters(), lr=0.03)
    seen, _ = env.reset(seed=0)

    for _ in range(40):
        rollout, seen = collect(env, seen, drawing(agent), 8)
        optimizer.zero_grad()
        reinforce.update(agent, reinforce.experience(rollout, group=16)).loss.backward()
        optimizer.step()

    assert mean_reward(env, agent) == pytest.approx(BEST)


def rollout_of(one_region, agent):
    env = one_region(4)
    return collect(env, env.reset(seed=0)[0], drawing(agent), 8)[0]


def test_ppo_learns_from_each_step_in_each_pass_and_stops_where_the_policy_moved_far(
    one_region, make_agent
):
    agent, ppo = make_agent(), PPO(update_epochs=3, num_minibatches=2, target_kl=0.5, adv_clip=9)
    experience = ppo.experience(agent, rollout_of(one_region, agent))

    assert experience.advantages.mean().item() == pytest.approx(0, abs=1e-6)
    assert experience.advantages.std(correction=0).item() == pytest.approx(1, rel=1e-5)
    assert len(list(ppo.updates(agent, experience))) == 6
    far = []
    for update in ppo.updates(agent, experience):
        far.append(update)
        agent.exploration.log_std.data -= 1.0  # as no step should
    assert len(far) == 2


def test_the_first_loss_of_ppo_is_that_of_its_parts(one_region, make_agent):
    agent, ppo = make_agent(), PPO(vf_coef=0.25, ent_coef=0.1)
    experience = ppo.experience(agent, rollout_of(one_region, agent))

    update = ppo.update(agent, experience)

    # Mean advantage 0 at ratio 1; entropy of six normal densities of spread 0.5.
    assert update.surrogate.loss.item() == pytest.approx(0, abs=1e-6)
    assert update.entropy.item() == pytest.approx(6 * 0.7258, abs=1e-3)
    assert update.loss.item() == pytest.approx(0.25 * update.value_loss.item() - 0.43547, abs=1e-4)


def test_what_all_rollouts_of_a_clip_get_teaches_reinforce_nothing(one_region, make_agent):
    agent, reinforce = make_agent(critic=False), Reinforce()
    rollout = rollout_of(one_region, agent)
    rollout.rewards.copy_(torch.randn(8, 1).expand(8, 4))

    assert reinforce.experience(rollout, group=4).advantages.abs().max() < 1e-3


@pytest.mark.parametrize(
    ("algorithm", "setting", "value", "told"),
    [
        (PPO, "gamma", 1.5, "gamma must be in [0, 1], got 1.5"),
        (PPO, "gae_lambda", -0.1, "gae_lambda must be in [0, 1], got -0.1"),
        (PPO, "clip_coef", 0.0, "clip_coef must be above 0, got 0"),
        (PPO, "adv_clip", 0.0, "adv_clip must be above 0, got 0"),
        (PPO, "target_kl", -1.0, "target_kl must be above 0, got -1"),
        (PPO, "update_epochs", 0, "update_epochs must be 1 or more, got 0"),
        (PPO, "num_minibatches", 0, "num_minibatches must be 1 or more, got 0"),
        (PPO, "ent_coef", -0.5, "ent_coef must be 0 or more, got -0.5"),
        (Reinforce, "gamma", 2.0, "gamma must be in [0, 1], got 2"),
        (Reinforce, "adv_clip", -2.0, "adv_clip must be above 0, got -2"),
        (Reinforce, "ent_coef", -1.0, "ent_coef must be 0 or more, got -1"),
    ],
)
def test_a_setting_out_of_its_range_is_told(algorithm, setting, value, told):
    with pytest.raises(RegateError) as refused:
        algorithm(**{setting: value})
    assert str(refused.value) == told
