"""Mean and spread over processes, and what agents make of them."""

import pytest
import torch

from policy.rl.moments import Moments
from policy.rl.ppo import PPO, standardised
from policy.rl.value_norm import ValueNorm

OURS, THEIRS = torch.tensor([1.0, 3.0]), torch.tensor([[2.0, 8.0], [4.0, 6.0]])


def beside(theirs):
    """The gather of a process beside which another one holds ``theirs``."""
    moments = Moments.of(theirs)

    def gather(own):
        return torch.stack([own, torch.stack([moments.count, moments.mean, moments.square])])

    return gather


def test_processes_with_unlike_many_numbers_have_the_moments_of_all():
    found = Moments.of(OURS, beside(THEIRS))

    # 1, 3, 2, 8, 4, 6: mean 4, squares 9 1 4 16 0 4.
    assert (found.count, found.mean, found.square) == (6, 4, 34)
    assert found.std == (34 / 6) ** 0.5


def test_numbers_of_one_process_alone_have_the_moments_that_torch_gives_them():
    found = Moments.of(THEIRS)

    assert (found.count, found.mean) == (4, 5)
    assert found.std == THEIRS.double().std(correction=0)


def test_the_critics_unit_takes_in_the_returns_of_all():
    norm, whole = ValueNorm(), ValueNorm()

    for _ in range(2):
        norm.update(OURS, beside(THEIRS))
        whole.update(torch.cat([OURS, THEIRS.flatten()]))

    assert norm.count == 12
    assert (norm.mean, norm.std) == (4, pytest.approx(whole.std))


def test_advantages_are_standardised_over_all():
    found = standardised(OURS, beside(THEIRS))

    assert found.tolist() == pytest.approx([-3 / (34 / 6) ** 0.5, -1 / (34 / 6) ** 0.5])
    assert found.dtype == torch.float32
    assert standardised(torch.full((3,), 7.0), beside(torch.full((2,), 7.0))).tolist() == [0, 0, 0]


def test_a_process_stops_once_the_policies_of_all_have_moved_far_in_the_mean(
    one_region, make_agent
):
    from policy.rl.rollout import collect

    agent, ppo = make_agent(), PPO(update_epochs=3, num_minibatches=1, target_kl=0.5)
    env = one_region(2)
    act = lambda seen: (agent.actor(seen), torch.zeros(len(seen)))  # noqa: E731
    experience = ppo.experience(agent, collect(env, env.reset(seed=0)[0], act, 8)[0])

    def passes(other):
        gather = lambda own: torch.stack([own, torch.tensor(other)])  # noqa: E731
        return len(list(ppo.updates(agent, experience, gather)))

    mine = ppo.update(agent, experience).surrogate.approx_kl.item()
    assert passes(1.0 - mine - 0.1) == 3
    assert passes(1.0 - mine + 0.1) == 1
