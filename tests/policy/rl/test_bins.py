"""What the threshold's curve says of a budget."""

import pytest
import torch

from policy.rl.bins import LEAST_ELASTICITY, LEAST_LOST, BudgetBins


def test_budgets_are_even_in_their_logarithm():
    budgets = BudgetBins(0.1, 0.8).budgets

    assert budgets[0].item() == pytest.approx(0.1)
    assert budgets[7].item() == pytest.approx(0.8)
    assert (budgets[1:] / budgets[:-1]).tolist() == pytest.approx([8 ** (1 / 7)] * 7)


def test_at_its_price_the_threshold_gains_nothing_by_spending_more():
    """Lost is 0.003 over the square of the budget; 1 % more of it loses 2 % less."""
    bins = BudgetBins(0.1, 0.8)
    lost = 0.003 / bins.budgets**2  # slope -0.006 / budget³

    bins.measured(torch.zeros(8), torch.stack([0.5 * lost, 1.5 * lost]))

    assert bins.units.tolist() == pytest.approx((1.25**0.5 * lost).tolist())
    assert bins.prices.tolist() == pytest.approx((0.006 / bins.budgets**3).tolist(), rel=1e-4)


def test_a_curve_that_is_flat_or_says_nothing_still_has_a_price():
    bins = BudgetBins(0.1, 0.8)

    bins.measured(torch.zeros(8), torch.tensor([[0.5] * 4 + [0.0] * 4]))

    assert bins.units[-1].item() == pytest.approx(LEAST_LOST)
    assert bins.prices[0].item() == pytest.approx(LEAST_ELASTICITY * 0.5 / 0.1)
    assert (bins.prices > 0).all()


def test_a_checkpoint_keeps_the_budgets_alone():
    """The rest follows from the calibration clips."""
    assert list(BudgetBins(0.1, 0.8).state_dict()) == ["budgets"]
