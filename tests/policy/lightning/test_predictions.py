"""What ``regate predict`` leaves, by one process and by two."""

import json

import pytest

from policy.cli import main

FIELDS = {"name", "budget", "spent", "agreement", "kl", "top1", "dense_top1"}


@pytest.fixture
def run(gumbel_run, tmp_path):
    """A folder with the config and the last checkpoint of a run."""
    (tmp_path / "checkpoints").mkdir()
    for name in ("config.yaml", "checkpoints/last.ckpt"):
        (tmp_path / name).write_bytes((gumbel_run / name).read_bytes())
    return tmp_path


def lines(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


NAMES = ["test/plain/0000", "test/busy/0001", "test/busy/0002", "test/busy/0003"]


def test_each_clip_has_one_line_in_the_order_of_the_data(run, capsys):
    main(["predict", "--ckpt_path", str(run / "checkpoints/last.ckpt"), "--data.batch_size", "3"])

    found = lines(run)
    assert [line["name"] for line in found] == NAMES
    for line in found:
        assert set(line) == FIELDS
        assert line["budget"] == 0.2
        assert 0.04 < line["spent"] < 1
        assert len(line["top1"]) == len(line["dense_top1"]) == 4
        same = [a == b for a, b in zip(line["top1"], line["dense_top1"], strict=True)]
        assert same[0]  # the first frame is dense
        assert line["agreement"] == pytest.approx(sum(same[1:]) / 3)
    assert f"wrote {run}/predictions.jsonl (4 clips)" in capsys.readouterr().out
    assert not list(run.glob(".predictions*"))


def test_the_budget_can_be_asked_for(run):
    checkpoint = str(run / "checkpoints/last.ckpt")

    spent = []
    for budget in ("0.1", "0.2"):
        main(["predict", "--ckpt_path", checkpoint, "--model.budget", budget])
        found = lines(run)
        assert {line["budget"] for line in found} == {float(budget)}
        spent.append(sum(line["spent"] for line in found) / 4)

    assert spent[0] < 0.8 * spent[1]


def test_a_task_that_returns_nothing_leaves_no_file(tiny):
    main(["fit", "--config", "tiny.yaml", "--run_dir", "run"])

    with pytest.warns(UserWarning, match="predict returned None"):
        main(["predict", "--ckpt_path", "run/checkpoints/last.ckpt"])

    assert not list((tiny / "run").glob("*predictions*"))
    assert not list((tiny / "run").glob(".predictions*"))


@pytest.mark.slow
@pytest.mark.parametrize("clips", [4, 5])
def test_two_processes_lose_and_double_no_clip(clips, run, regate):
    done = regate(
        "predict", "--ckpt_path", run / "checkpoints/last.ckpt", "--trainer.devices", 2,
        "--trainer.strategy", "ddp", "--data.batch_size", 1, "--data.test_clips", clips,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    names = [line["name"] for line in lines(run)]
    assert names == [*NAMES, "test/plain/0004"][:clips]
    assert done.stdout.count("predictions.jsonl") == 1
    assert not list(run.glob(".predictions*"))
