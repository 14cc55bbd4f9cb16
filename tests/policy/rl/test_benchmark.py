"""The benchmark of the environment: what it times and what it writes."""

import json

import pytest

from datamodules.errors import RegateError
from policy.cli import main
from policy.rl.benchmark import EnvRow, _rows, _timed_rounds, bench_env


def test_every_way_is_timed_alone_and_in_a_batch(tmp_path, capsys, monkeypatch):
    from policy.budgets.table import Calibration
    from policy.rl.yardstick import Yardstick

    known = Yardstick(Calibration((0.05, 0.2, 0.8), (2.0, 0.5, -1.0), 0.04), (0.0, 0.2, 0.9))
    monkeypatch.setattr(Yardstick, "measure", lambda *arguments: known)
    out = tmp_path / "new" / "bench.json"
    words = ["--weights=random", "--clips=2", "--frames=4", "--rounds=1", f"--out={out}"]
    main(["bench-env", *words])

    told = json.loads(out.read_text())
    assert [(row["what"], row["clips"]) for row in told["rows"]] == [
        (what, clips) for clips in (1, 2) for what in ("dense", "session", "steps", "episodes")
    ]
    assert all(row["frames_per_second"] > 0 and row["cpu_ms"] > 0 for row in told["rows"])
    assert {row["spent"] == 1 for row in told["rows"] if row["what"] == "dense"} == {True}
    printed = capsys.readouterr().out
    assert "frames/s" in printed and "episodes" in printed


class Rounds:
    """Stands for a bench whose rounds take what they are told to, in turn."""

    def __init__(self, clips, *milliseconds):
        self.clips, self.spent, self.milliseconds = range(clips), 0.25, iter(milliseconds)

    def run(self):
        wall = next(self.milliseconds)
        return {"dense": (2 * wall, 4 * wall), "steps": (wall, wall)}


def test_rows_are_medians_of_the_rounds_after_the_first():
    many, one = Rounds(8, 900, 2, 50, 1), Rounds(1, 900, 5, 4, 60)

    rows = _rows([many, one], _timed_rounds([many, one], rounds=3))

    assert rows == [
        EnvRow("dense", 1, frames_per_second=100, cpu_ms=20, spent=1.0),
        EnvRow("steps", 1, frames_per_second=200, cpu_ms=5, spent=0.25),
        EnvRow("dense", 8, frames_per_second=250, cpu_ms=8, spent=1.0),
        EnvRow("steps", 8, frames_per_second=500, cpu_ms=2, spent=0.25),
    ]


@pytest.mark.parametrize(("name", "least"), [("clips", 1), ("frames", 3), ("rounds", 1)])
def test_too_little_is_refused_in_a_sentence(name, least):
    with pytest.raises(RegateError) as refused:
        bench_env(**{name: least - 1})
    assert str(refused.value) == f"{name} must be at least {least}, got {least - 1}"
