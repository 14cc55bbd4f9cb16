"""The benchmark of the environment: what it times and what it writes."""

import json

import pytest

from datamodules.errors import RegateError
from policy.cli import main
from policy.rl.benchmark import bench_env


def test_every_way_is_timed_alone_and_in_a_batch(tmp_path, capsys, monkeypatch):
    from policy.budget import Calibration
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


@pytest.mark.parametrize(("name", "least"), [("clips", 1), ("frames", 3), ("rounds", 1)])
def test_too_little_is_refused_in_a_sentence(name, least):
    with pytest.raises(RegateError) as refused:
        bench_env(**{name: least - 1})
    assert str(refused.value) == f"{name} must be at least {least}, got {least - 1}"
