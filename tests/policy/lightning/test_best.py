"""The best checkpoint of a run: which it is, and that it survives."""

import json

import pytest
import torch

from policy.cli import main
from policy.lightning.best import KeepBest, keeps_best
from policy.lightning.last import keep_last

LAST = "the last, since no validation ranked any"


@pytest.fixture
def fit(tiny, capsys):
    """Train RankedTask for as many epochs as there are scores; what it says of its weights."""

    def run(scores, *words, run_dir="run"):
        model = ["--model=tiny_run.RankedTask", f"--model.scores={scores}"]
        epochs = f"--trainer.max_epochs={len(json.loads(scores.replace('.nan', '0')))}"
        capsys.readouterr()
        main(["fit", "--config", "tiny.yaml", *model, epochs, "--run_dir", run_dir, *words])
        return capsys.readouterr().out.split("weights: ")[1].strip()

    return run


def kept(tiny, run_dir="run"):
    """Epoch of each checkpoint of a run, by name."""
    files = sorted((tiny / run_dir / "checkpoints").glob("*.ckpt"))
    return {path.stem: torch.load(path)["epoch"] for path in files}


def test_it_is_that_of_the_lowest_score_and_not_the_last(fit, tiny):
    said = fit("[0.5, 0.2, 0.9]")

    assert said == "of epoch 2 (step 12), where val/score was lowest, 0.2000"
    assert kept(tiny) == {"best": 1, "last": 2}


def test_its_weights_are_those_that_a_run_ends_with(fit, tiny):
    from tiny_run import RankedTask

    ended = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RankedTask, "write", lambda task, line: ended.append(line))
        fit("[0.5, 0.2, 0.9]")

    best = torch.load(tiny / "run" / "checkpoints" / "best.ckpt")["state_dict"]["weight"]
    last = torch.load(tiny / "run" / "checkpoints" / "last.ckpt")["state_dict"]["weight"]
    assert ended[-1] == f"end {best.tolist()}" != f"end {last.tolist()}"


@pytest.mark.parametrize(
    ("scores", "said", "checkpoints"),
    [
        ("[.nan, 0.3, .nan]", "of epoch 2 (step 12), where val", {"best": 1, "last": 2}),
        ("[0.3, .nan]", "of epoch 1 (step 6), where val", {"best": 0, "last": 1}),
        ("[.nan, .nan]", LAST, {"last": 1}),
    ],
)
def test_a_validation_that_gave_no_number_is_none(fit, tiny, scores, said, checkpoints):
    assert fit(scores).startswith(said)
    assert kept(tiny) == checkpoints


def test_without_validation_the_last_weights_are_taken(fit, tiny):
    assert fit("[0.1]", "--trainer.limit_val_batches=0") == LAST
    assert kept(tiny) == {"last": 0}


def test_a_task_that_logs_no_such_score_trains_on(fit, tiny, monkeypatch):
    from tiny_run import RankedTask

    monkeypatch.setattr(RankedTask, "on_validation_epoch_end", lambda task: None)

    assert fit("[0.1, 0.2]") == LAST


def test_without_checkpoints_the_last_weights_are_taken(fit, tiny):
    assert fit("[0.1]", "--trainer.enable_checkpointing=false") == LAST
    assert kept(tiny) == {}


@pytest.mark.parametrize(
    ("scores", "said", "best"),
    [("[9, 9, 0.3]", "1 (step 6)", 0), ("[9, 9, 0.1]", "3 (step 18)", 2)],
)
@pytest.mark.parametrize("moved", [False, True])
def test_a_resumed_run_knows_the_best_so_far(fit, tiny, scores, said, best, moved):
    fit("[0.2, 0.5]")
    if moved:  # Lightning forgets it then
        (tiny / "run").rename(tiny / "elsewhere")
    run_dir = "elsewhere" if moved else "run"

    assert fit(scores, "--ckpt_path", "last", run_dir=run_dir).startswith(f"of epoch {said}")
    assert kept(tiny, run_dir) == {"best": best, "last": 2}


def test_a_run_that_goes_on_in_another_folder_knows_it_too(fit, tiny):
    fit("[0.2, 0.5]")
    last = str(tiny / "run" / "checkpoints" / "last.ckpt")

    assert fit("[9, 9, 0.3]", "--ckpt_path", last, run_dir="on").startswith("of epoch 1 (step 6)")
    assert fit("[9, 9, 0.1]", "--ckpt_path", last, run_dir="up").startswith("of epoch 3 (step 18)")
    assert kept(tiny) == {"best": 0, "last": 1}


def test_a_best_that_is_later_than_where_a_run_goes_on_stays_the_best(fit, tiny):
    """As where a run was killed between the writing of the two files."""
    fit("[0.5]")
    (tiny / "run" / "checkpoints" / "last.ckpt").rename(tiny / "first.ckpt")
    fit("[9, 0.1]", "--ckpt_path", str(tiny / "first.ckpt"))
    (tiny / "first.ckpt").rename(tiny / "run" / "checkpoints" / "last.ckpt")

    said = fit("[9, 0.2]", "--ckpt_path", "last")

    assert said == "of epoch 2 (step 12), where val/score was lowest, 0.1000"


def test_a_best_that_is_gone_is_forgotten(fit, tiny):
    fit("[0.2]")
    (tiny / "run" / "checkpoints" / "best.ckpt").unlink()

    assert fit("[9, 0.5]", "--ckpt_path", "last").startswith("of epoch 2 (step 12)")


def test_a_users_own_ranking_is_taken_instead(fit, tiny):
    own = {
        "class_path": "pytorch_lightning.callbacks.ModelCheckpoint",
        "init_args": {"monitor": "val/weight", "mode": "max", "filename": "heaviest"},
    }

    said = fit("[0.1, 0.2, 0.3]", f"--trainer.callbacks={json.dumps([own])}")

    assert "where val/weight was highest" in said
    assert set(kept(tiny)) == {"heaviest", "last"}


def test_only_a_callback_with_a_metric_ranks():
    assert keeps_best(KeepBest("val/score"))
    assert not any(map(keeps_best, [*keep_last(), "no callback"]))
