"""What an agent is told, against numbers worked out by hand."""

import math
import re

import pytest
import torch

from policy.gates.observation import Memo, fields, observe


def memo(action=(0.0, 0.0), spent=0.0, mean_spent=0.0, later=()):
    return Memo(*(torch.tensor([values]) for values in (action, [spent], [mean_spent], later)))


def told(relative, groups=1, age=None, frame=5, knob=0.0, target=0.2, past=None):
    relative = torch.tensor([relative], dtype=torch.float32)
    values = observe(
        relative,
        torch.zeros_like(relative) if age is None else torch.tensor([age]),
        torch.tensor([frame]),
        torch.tensor([knob]),
        torch.tensor([math.log(target)]),
        past or memo(),
    )
    names = [field.name for field in fields(groups)]
    assert values.shape == (1, len(names)) and values.dtype == torch.float32
    return dict(zip(names, values[0].tolist(), strict=True))


def test_drift_is_told_by_its_mean_quantiles_and_maximum():
    seen = told([2.0, -2.0, 0.0, 1.0, -1.0])
    assert seen["drift_mean"] == 0
    assert seen["drift_q50"] == 0
    assert seen["drift_q75"] == 0.25
    assert seen["drift_q90"] == 0.5 and seen["drift_max"] == 0.5


def test_drift_beyond_reach_is_clamped():
    seen = told([80.0, -80.0])
    assert seen["drift_max"] == 1 and seen["drift_mean"] == 0


def test_shares_are_those_that_each_action_would_recompute():
    seen = told([3.0, 1.5, 0.5, -0.5, -1.5])
    shares = [seen[f"share_at_{at}"] for at in ("-1", "-0.5", "0", "0.5", "1")]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_ages_are_told_in_logarithms():
    seen = told([0.0] * 3, age=[0.0, 1.0, 3.0])
    assert seen["age_mean"] == pytest.approx((math.log(2) + math.log(4)) / 3 / 4)
    assert seen["age_q50"] == pytest.approx(math.log(2) / 4)
    assert seen["age_q90"] == pytest.approx(math.log(4) / 4)


def test_the_budget_is_told_and_how_much_of_it_is_left():
    seen = told([0.0], target=0.2, past=memo(spent=0.3, mean_spent=0.1))
    assert seen["target"] == pytest.approx(1 + math.log(0.2) / 1.6, abs=1e-6)
    assert seen["remaining"] == pytest.approx(math.log(2) / 2)
    assert (seen["spent"], seen["mean_spent"]) == pytest.approx((0.3, 0.1))


def test_before_anything_was_chosen_nothing_is_known_to_remain():
    assert told([0.0], frame=1, past=memo(spent=1.0))["remaining"] == 0


def test_the_last_action_and_the_later_groups_come_last():
    past = memo(action=(0.1, 0.2, 0.3), later=(0.4, 0.5))
    seen = told([0.0], groups=2, past=past)
    assert list(seen)[-5:] == [
        "action_0", "action_1", "action_refresh", "drift_mean_1", "share_1",
    ]  # fmt: skip
    assert list(seen.values())[-5:] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_every_field_stays_within_its_range(groups):
    generator = torch.Generator().manual_seed(0)

    def extreme(*shape):
        return 100 * torch.randn(shape, generator=generator)

    past = Memo.unpack(extreme(64, Memo.size(groups)), groups)
    past = past._replace(
        spent=past.spent.abs(), mean_spent=past.mean_spent.abs(),
        later=past.later.abs(),
    )  # fmt: skip
    values = observe(
        extreme(64, 9), extreme(64, 9).abs(), extreme(64).abs().long(), extreme(64), extreme(64),
        past,
    )  # fmt: skip
    for column, field in zip(values.T, fields(groups), strict=True):
        assert field.low <= column.min() and column.max() <= field.high, field.name


def test_a_memo_is_unpacked_as_it_was_packed():
    flat = torch.arange(2.0 * Memo.size(3)).view(2, -1)
    assert torch.equal(Memo.unpack(flat, 3).pack(), flat)


def test_the_page_lists_every_field_with_its_range_and_meaning(root):
    page = (root / "docs" / "rl.md").read_text()
    tables = page.split("| field | range | meaning |")[1:]
    listed = [re.findall(r"^\| `([^`]+)` \| (\S+) to (\S+) \| (.+) \|$", t, re.M) for t in tables]
    rows = [[(f.name, f"{f.low:g}", f"{f.high:g}", f.meaning) for f in fields(g)] for g in (1, 2)]
    assert listed[0] == rows[0]
    assert listed[1] == [row for row in rows[1] if row not in rows[0]]
