import io

import pytest
from rich.console import Console

from policy.compare.legend import si, verdict
from policy.compare.matched import compare
from policy.compare.results import Paired
from policy.compare.table import render, terminal


def text(results, width=200, colour=False):
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=colour, color_system="standard" if colour else None
    )
    console.print(render(results, console))
    return file.getvalue()


def line_of(printed, word):
    return next(line for line in printed.splitlines() if word in line)


def test_every_policy_stands_under_its_budget(comparison):
    printed = text(comparison)

    order = [line.split()[1] for line in printed.splitlines() if line.split()[:1] == ["0.2"]]
    assert order == ["threshold"]
    assert line_of(printed, "  dense").split()[:3] == ["-", "dense", "1.000"]
    assert "3.750" in line_of(printed, "threshold")
    assert printed.count("gumbel ") >= 2


def test_the_legend_says_units_split_videos_and_interval(comparison):
    printed = text(comparison)

    assert printed.count("1 MAC = 2 FLOPs") == 1
    assert "Split test: 4 videos in 4 groups." in printed
    interval = "Student's t with the standard error of 100 paired resamples of the 4 groups"
    assert f"Intervals: 95 %, {interval}" in printed
    assert "Quality at matched compute · digits" in printed


def test_the_best_policy_is_marked_without_colour(comparison):
    printed = text(comparison)

    marked = [line for line in printed.splitlines() if "  * " in line]
    assert len(marked) == 2  # one per budget
    assert all("* gumbel" in line for line in marked)
    assert "\x1b[" not in printed


def test_the_best_policy_is_bold_on_a_terminal(comparison):
    assert "\x1b[1;36m" in line_of(text(comparison, colour=True), "* gumbel")


def test_interpolated_rows_are_marked_and_explained(comparison):
    printed = text(comparison)

    assert "0.210~" in line_of(printed, "* gumbel")
    assert "~ interpolated: the frozen knob's realised spent is more than 2 % off" in printed
    assert "0.200 " in line_of(printed, "threshold")


def test_a_budget_out_of_reach_is_a_dash_with_its_reason_below(comparison):
    printed = text(comparison)

    assert "frame-skip: budget 0.2 is out of reach: it spends 0.3 to 0.6 of dense" in printed
    assert " - " in line_of(printed, "  frame-skip")


def test_the_learned_policy_is_judged_against_the_best_heuristic(comparison):
    verdict_line = line_of(text(comparison), "gumbel − threshold at 0.2:")

    assert "kl -1.875 [" in verdict_line
    assert "] wins; agreement +0.000 [+0.000, +0.000] level" in verdict_line


@pytest.mark.parametrize("width", [70, 100, 140])
def test_a_narrow_terminal_gets_fewer_columns_not_broken_lines(comparison, width):
    printed = text(comparison, width)

    assert all(len(line.rstrip()) <= width for line in printed.splitlines())
    header = line_of(printed, "policy")
    assert {"asked", "policy", "spent", "KL", "agreement"} <= set(header.split())
    assert ("more columns in results.csv" in printed) == ("state" not in header)


def test_a_pipe_is_not_wrapped(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.stdout", io.StringIO())

    assert terminal().width == 200


def test_one_group_says_why_there_are_no_intervals(make_sweep):
    sweep = make_sweep(groups=("a", "a"), kl=(2.0, 1.0), agreement=(0.5, 0.7))

    printed = text(compare([sweep], [], [0.2], {"split": "test"}))

    assert "Intervals: none, all 2 clips come from one group (a)." in printed
    assert "2 videos in 1 group." in printed


@pytest.mark.parametrize(
    ("metric", "interval", "expected"),
    [
        ("kl", (-2.0, -1.0), "wins"),
        ("kl", (1.0, 2.0), "loses"),
        ("kl", (-1.0, 0.0), "level"),
        ("agreement", (-2.0, -1.0), "loses"),
        ("agreement", None, "no interval"),
    ],
)
def test_verdicts(metric, interval, expected):
    entry = Paired("gumbel", "threshold", 0.2, metric, 0.0, interval, expected == "wins")

    assert verdict(entry) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.26e9, "1.26 G"), (124e6, "124 M"), (2.5e12, "2.5 T"), (3500, "3.5 k"), (0, "0 ")],
)
def test_counts_get_a_prefix(value, expected):
    assert si(value) == expected
