"""KL on logits small enough to count."""

import math

import pytest
import torch

from policy.divergence import kl_to_dense


def test_kl_is_that_of_dense_to_gated_in_nats():
    sure, even = torch.tensor([[20.0, 0.0]]), torch.tensor([[0.0, 0.0]])

    assert kl_to_dense(sure, sure).item() == 0
    assert kl_to_dense(sure, even).item() == pytest.approx(math.log(2), abs=1e-5)
    # The other way round a sure model is far off: half of the mass lies where it says e^-20.
    assert kl_to_dense(even, sure).item() == pytest.approx(10 - math.log(2), abs=1e-5)


def test_kl_keeps_the_leading_shape():
    assert kl_to_dense(torch.zeros(3, 5, 7), torch.ones(3, 5, 7)).tolist() == [[0.0] * 5] * 3
