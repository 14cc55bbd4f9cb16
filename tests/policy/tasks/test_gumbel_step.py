"""The pieces of a training step, without a Trainer."""

import pytest
import torch

from policy.losses import distortion
from policy.quality import dense_clip
from policy.relax import Relaxation
from policy.session import ReuseSession
from policy.tasks.gumbel import GumbelTask, dense_rows


@pytest.fixture
def task():
    """A task whose gate has learned something, without a Trainer."""
    torch.manual_seed(0)
    task = GumbelTask("regate_vit_digits", "random").double()
    with torch.no_grad():
        for parameter in task.gate.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return task


def test_the_gradients_have_the_sign_of_the_differences(task, digit_clips):
    """Noise-free and soft, so that the loss is a function of the weights alone."""
    frames = task.backbone.normalize(digit_clips[1])
    dense = dense_clip(task.backbone, frames)

    def loss():
        relaxation = Relaxation(temperature=0.5, noise_scale=0.0, hard=False)
        session = ReuseSession(task.backbone, task.gate, execution="masked", relaxation=relaxation)
        session.knob = -1.0
        terms, spent = [], []
        for index, frame in enumerate(frames):
            result = session.step(frame)
            if index:
                terms.append(distortion(result, dense_rows([dense], index)).patches)
                spent.append(task._differentiable_spent(session, result))
        return torch.cat(terms).mean(), torch.cat(spent).mean()

    bias = task.gate.admit[2].bias
    for which, sign in ((0, -1), (1, 1)):  # admitting more: closer to dense, and dearer
        (gradient,) = torch.autograd.grad(loss()[which], bias)
        with torch.no_grad():
            bias += 1e-3
            more = loss()[which]
            bias -= 2e-3
            less = loss()[which]
            bias += 1e-3
        difference = (more - less) / 2e-3
        assert sign * difference > 0
        assert gradient.item() == pytest.approx(difference.item(), rel=0.3)


def test_the_price_rises_over_the_budget_and_falls_under_it(task):
    task.log_price.zero_()
    task.excess.zero_()
    task.all_gather = lambda values: values  # of a Trainer with one process

    task._move_prices(torch.tensor([0.5, -0.5, 0.0]), torch.tensor([0, 1, 2]))

    assert task.log_price[:4].tolist() == pytest.approx([0.0025, -0.0025, 0, 0])


def test_the_spent_that_is_trained_is_the_counted_one(task, digit_clips):
    """Hard decisions: the value is the counter's, to rounding."""
    frames = task.backbone.normalize(torch.stack(digit_clips[:2]))
    relaxation = Relaxation(temperature=0.5, noise_scale=0.2, hard=True)
    session = ReuseSession(task.backbone, task.gate, execution="masked", relaxation=relaxation)
    session.knob = -1.0
    for index in range(3):
        result = session.step(frames[:, index])

    spent = task._differentiable_spent(session, result)

    assert 0.05 < result.spent.min() < 0.95
    assert spent.tolist() == pytest.approx(result.spent.tolist(), rel=1e-9)
    assert spent.requires_grad
