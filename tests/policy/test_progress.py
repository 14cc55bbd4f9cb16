"""Bars on terminals, and nothing elsewhere."""

from rich.console import Console

from policy import progress as module
from policy.progress import progress


def count_to_three():
    with progress() as bar:
        task = bar.add_task("counting", total=3)
        for _ in range(3):
            bar.advance(task)
    return bar.tasks[0].completed


def test_nothing_is_written_into_a_pipe(capsys):
    assert count_to_three() == 3
    assert capsys.readouterr() == ("", "")


def test_a_terminal_sees_the_task_and_its_count(capsys, monkeypatch):
    monkeypatch.setattr(module, "Console", lambda: Console(force_terminal=True, width=100))
    assert count_to_three() == 3
    assert "counting" in capsys.readouterr().out
