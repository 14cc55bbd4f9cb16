"""The distance to dense that training lowers."""

import math

import pytest
import torch

from policy.quality import DenseClip
from policy.records import FrameResult, GuardReport
from policy.tasks.losses import distortion


def result(logits, features, patches):
    streams = len(logits)
    return FrameResult(
        logits, features, patches, torch.ones(streams, 1, 1, dtype=torch.bool),
        torch.ones(streams), torch.ones(streams), GuardReport.nothing(streams, logits.device),
    )  # fmt: skip


def outputs(streams=2):
    return torch.zeros(streams, 2), torch.ones(streams, 4), torch.ones(streams, 3, 4)


def test_equal_outputs_are_no_distance_apart():
    found = distortion(result(*outputs()), DenseClip(*outputs()))

    for term in (found.kl, found.patches, found.pooled, found.labels):
        assert term.tolist() == pytest.approx([0, 0], abs=1e-6)


def test_each_term_is_per_stream():
    logits, features, patches = outputs()
    features[1] = torch.tensor([1.0, 1, -1, -1])  # at right angles
    patches[0, 1] = -1  # one of three points the other way
    dense = DenseClip(torch.tensor([[0.0, 0.0], [50.0, 0.0]]), *outputs()[1:])

    found = distortion(result(logits, features, patches), dense)

    assert found.kl.tolist() == pytest.approx([0, math.log(2)])
    assert found.pooled.tolist() == pytest.approx([0, 1], abs=1e-6)
    assert found.patches.tolist() == pytest.approx([2 / 3, 0], abs=1e-6)


def test_unlabelled_frames_have_no_label_term():
    logits = torch.zeros(3, 2)
    labels = torch.tensor([0, -1, 1])

    found = distortion(result(logits, *outputs(3)[1:]), DenseClip(logits, *outputs(3)[1:]), labels)

    assert found.labels.tolist() == pytest.approx([math.log(2), 0, math.log(2)])


def test_gradients_lead_to_the_gated_output():
    logits, features, patches = (value.requires_grad_() for value in outputs())
    dense = DenseClip(torch.tensor([[3.0, 0.0]] * 2), torch.rand(2, 4), torch.rand(2, 3, 4))

    found = distortion(result(logits, features, patches), dense)
    (found.kl + found.patches + found.pooled).sum().backward()

    # Towards the class that dense prefers.
    assert (logits.grad[:, 0] < 0).all() and (logits.grad[:, 1] > 0).all()
    assert features.grad.abs().sum() > 0 and patches.grad.abs().sum() > 0
