"""The clipped objective, where the ratio is inside and beyond the clip, on either side."""

import math

import pytest
import torch

from policy.rl.objective import clipped_surrogate, explained_variance


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),  # likelier than 1.2 times: enough
        (0.5, 2.0, -1.0, -1.0),  # a good action that became less likely is still pulled back
        (1.5, -2.0, 3.0, 3.0),  # a bad action that became likelier too
        (0.5, -2.0, 1.6, 0.0),  # less likely than 0.8 times: enough
    ],
)
def test_a_step_pulls_until_the_clip_and_never_stops_a_correction(ratio, advantage, loss, slope):
    log_prob = torch.tensor([math.log(ratio) - 3.0], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([-3.0], dtype=torch.float64)

    found = clipped_surrogate(log_prob, old, torch.tensor([advantage]).double(), clip_coef=0.2)
    found.loss.backward()

    assert found.loss.item() == pytest.approx(loss)
    assert log_prob.grad.item() == pytest.approx(slope)  # d ratio / d log ratio = ratio


def test_how_far_the_policy_moved_is_counted():
    old = torch.zeros(4)
    new = torch.tensor([1.0, 1.1, 1.5, 0.5]).log()

    found = clipped_surrogate(new, old, torch.ones(4), clip_coef=0.2)

    # ratio - 1 - log ratio: 0, 0.1 - 0.09531, 0.5 - 0.40547, -0.5 + 0.69315
    assert found.approx_kl.item() == pytest.approx((0 + 0.00469 + 0.09453 + 0.19315) / 4, abs=1e-5)
    assert found.clip_fraction.item() == 0.5
    assert found.loss.item() == pytest.approx(-(1 + 1.1 + 1.2 + 0.5) / 4)


def test_before_the_first_step_the_gradient_is_that_of_reinforce():
    log_probs = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    advantages = torch.tensor([3.0, -6.0, 1.5])

    clipped_surrogate(log_probs, log_probs.detach(), advantages, 0.2).loss.backward()

    assert log_probs.grad.tolist() == pytest.approx([-1, 2, -0.5])


def test_explained_variance_of_all_none_and_nothing_to_explain():
    returns = torch.tensor([1.0, 2.0, 3.0])

    assert explained_variance(returns + 5, returns) == 1  # the mean is not variance
    assert explained_variance(torch.zeros(3), returns) == 0
    assert explained_variance(torch.tensor([3.0, 2.0, 1.0]), returns) == -3
    assert explained_variance(returns, torch.ones(3)).isnan()
