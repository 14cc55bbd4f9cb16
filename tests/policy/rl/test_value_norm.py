"""The critic's unit."""

import pytest
import torch

from policy.rl.value_norm import ValueNorm


def test_batches_of_any_size_give_the_mean_and_spread_of_all():
    norm = ValueNorm()

    for batch in ([1.0, 3.0], [5.0], [[2.0, 8.0], [4.0, 5.0]]):
        norm.update(torch.tensor(batch))

    # 1, 3, 5, 2, 8, 4, 5: mean 4, squares 9 1 1 4 16 0 1.
    assert norm.mean.item() == pytest.approx(4)
    assert norm.std.item() == pytest.approx((32 / 7) ** 0.5)


def test_what_goes_in_comes_back():
    norm = ValueNorm()
    returns = torch.tensor([-3.0, 1.0, 5.0])
    norm.update(returns)

    assert norm(returns).tolist() == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])
    assert norm.inverse(norm(returns)).tolist() == pytest.approx(returns.tolist())
    assert norm(returns).dtype == torch.float32


def test_before_any_return_the_unit_is_1():
    norm = ValueNorm()

    assert norm(torch.tensor([2.0])).tolist() == [2]
    assert norm.inverse(torch.tensor([2.0])).tolist() == [2]


def test_returns_that_do_not_vary_do_not_divide_by_0():
    norm = ValueNorm()
    norm.update(torch.ones(4))

    assert norm(torch.ones(4)).tolist() == [0] * 4


def test_it_is_kept_in_checkpoints():
    norm, other = ValueNorm(), ValueNorm()
    norm.update(torch.tensor([1.0, 3.0]))

    other.load_state_dict(norm.state_dict())
    for each in (norm, other):
        each.update(torch.tensor([5.0]))

    assert other.std == norm.std
