import pytest

from datamodules.errors import RegateError
from datamodules.splits import SplitOptions, split_groups


def test_shares_are_of_groups():
    split = split_groups([str(i) for i in range(20)], SplitOptions(calibration=0.2, test=0.3))

    assert sorted(split.values()) == ["calibration"] * 4 + ["test"] * 6 + ["train"] * 10


def test_a_group_is_in_one_split_however_many_clips_it_has():
    split = split_groups(["a"] * 50 + ["b"] * 3 + ["c"], SplitOptions())

    assert sorted(split) == ["a", "b", "c"]
    assert sorted(split.values()) == ["calibration", "test", "train"]


def test_the_split_depends_on_the_seed_and_not_on_the_order():
    groups = [str(i) for i in range(20)]

    assert split_groups(groups, SplitOptions()) == split_groups(groups[::-1], SplitOptions())
    assert split_groups(groups, SplitOptions()) != split_groups(groups, SplitOptions(seed=1))


@pytest.mark.parametrize("groups", [3, 4, 5, 7])
@pytest.mark.parametrize("shares", [(0.2, 0.3), (0.49, 0.49), (0.01, 0.01), (0.9, 0.05)])
def test_few_groups_still_fill_every_split(groups, shares):
    split = split_groups([str(i) for i in range(groups)], SplitOptions(*shares))

    assert set(split.values()) == {"train", "calibration", "test"}


def test_too_few_groups_are_refused_by_number():
    with pytest.raises(RegateError, match=r"needs at least 3 groups, got 2 \(a, b\); add videos"):
        split_groups(["a", "b", "a"], SplitOptions())


@pytest.mark.parametrize("shares", [(0.0, 0.3), (0.5, 0.5), (0.2, -0.1)])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(RegateError, match="split shares must be above 0 and leave some"):
        SplitOptions(*shares)


def test_a_seed_that_numpy_does_not_take_is_refused():
    with pytest.raises(RegateError, match="the split's seed must be 0 or more, got -1"):
        SplitOptions(seed=-1)
