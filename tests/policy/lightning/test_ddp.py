"""Two processes that share a run, started by Lightning from our command line."""

import pytest

DDP = ["--config", "tiny.yaml", "--trainer.devices", 2, "--trainer.strategy", "ddp"]


def lines_of(log):
    return [line.split() for line in log.read_text().splitlines()]


def test_two_processes_train_on_each_clip_once_an_epoch(tiny, regate):
    done = regate("fit", "--run_dir", "run", "--model.log", "log", *DDP)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder: run") == 1
    assert (tiny / "run" / "checkpoints" / "last.ckpt").exists()
    for epoch in ("0", "1"):
        names = [name for e, _, name, _ in lines_of(tiny / "log") if e == epoch]
        assert len(names) == len(set(names)) == 6


@pytest.mark.slow
def test_two_processes_predict_each_of_three_clips_once(tiny, regate):
    """A sampler that shares out evenly would give one clip twice."""
    done = regate("predict", "--model.log", "log", "--return_predictions", "false", *DDP)

    assert done.returncode == 0, done.stderr
    seen = sorted((rank, name) for _, rank, name in lines_of(tiny / "log"))
    assert seen == [("0", "clip0"), ("0", "clip2"), ("1", "clip1")]


@pytest.mark.slow
def test_a_nan_in_one_process_stops_both(regate):
    """One that raised alone would leave the other waiting for ever."""
    done = regate("fit", "--run_dir", "run", *DDP, "--model.nan_at", 2, "--model.nan_rank", 1)

    assert done.returncode == 2, done.stderr
    assert "error: training stopped at step 2" in done.stderr
    assert "Traceback" not in done.stderr
