"""The pieces of a training step, without a Trainer."""

import pytest
import torch

from policy.quality import dense_clip
from policy.relax import Relaxation
from policy.session import ReuseSession
from policy.tasks.gumbel import GumbelTask, dense_rows
from policy.tasks.losses import distortion


@pytest.fixture
def task():
    """A task whose gate has learned something, without a Trainer."""
    torch.manual_seed(0)
    task = GumbelTask("regate_vit_digits", "random").double()
    with torch.no_grad():
        for parameter in task.gate.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return task


def test_a_probe_says_which_way_the_decisions_should_move(task, digit_clips):
    """Of a bias that admits more: closer to dense, and dearer, by gradient as by difference."""
    frames = task.backbone.normalize(digit_clips[1])
    dense = dense_clip(task.backbone, frames)

    def terms(relaxation):
        session = ReuseSession(task.backbone, task.gate, execution="masked", relaxation=relaxation)
        session.knob = -1.0
        apart, spent = [], []
        for index, frame in enumerate(frames):
            result = session.step(frame)
            if index:
                apart.append(distortion(result, dense_rows([dense], index)).patches)
                spent.append(task._differentiable_spent(session, result))
        return torch.cat(apart).mean(), torch.cat(spent).mean()

    bias = task.gate.admit[2].bias
    probing = Relaxation(0.5, 0.0, probes=0.5, generator=torch.Generator().manual_seed(0))
    gradients = [torch.autograd.grad(value, bias, retain_graph=True)[0] for value in terms(probing)]
    deciding = Relaxation(0.5, 0.0, probes=0.0)
    with torch.no_grad():
        bias += 0.3
        more = terms(deciding)
        bias -= 0.6
        less = terms(deciding)

    for gradient, upper, lower, sign in zip(gradients, more, less, (-1, 1), strict=True):
        assert sign * (upper - lower) > 0
        assert sign * gradient > 0


def test_a_knob_rises_where_clips_spend_more_and_the_price_with_it(task):
    task.all_gather = lambda values: values  # of a Trainer with one process

    task._move_knobs(torch.tensor([0.5, -0.5, 0.0, 9.0]), torch.tensor([0, 1, 2, 3]))

    assert task.shift[:5].tolist() == pytest.approx([0.1, -0.1, 0, 0.3, 0])


def test_the_spent_that_is_trained_is_the_counted_one(task, digit_clips):
    """The value is the counter's, to rounding, and a probe is half a patch more."""
    frames = task.backbone.normalize(torch.stack(digit_clips[:2]))
    relaxation = Relaxation(temperature=0.5, noise_scale=0.2, probes=0.3)
    session = ReuseSession(task.backbone, task.gate, execution="masked", relaxation=relaxation)
    session.knob = -1.0
    for index in range(3):
        result = session.step(frames[:, index])

    spent = task._differentiable_spent(session, result)

    probed = (result.relaxed == 0.5).sum(-1).double()
    halves = (0.5 * probed * session.macs.per_token / session.macs.dense).sum(-1)
    assert 0.05 < result.spent.min() < 0.95 and probed.any()
    assert spent.tolist() == pytest.approx((result.spent + halves).tolist(), rel=1e-9)
    assert spent.requires_grad
