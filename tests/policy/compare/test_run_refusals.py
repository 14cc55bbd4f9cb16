"""What ``regate compare`` refuses, in one sentence, before anything is written."""

import os

import pytest


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--folds=0"], "folds must be 1 or more, got 0"),
        (["--folds=9"], "9 folds need as many groups of clips, but the calibration and test"),
        (["--policies=treshold"], "no policy 'treshold': choose from dense, always, "),
        (["--policies=gumbel"], "gumbel is a learned policy: give its files with --gates"),
        (["--gates=gone.safetensors"], "no gate file gone.safetensors: train one with"),
        (["--budgets=1.5"], "budget must be in (0, 1], the fraction of a dense frame's MACs; got"),
        (["--budgets=0"], "budget must be in (0, 1], the fraction of a dense frame's MACs; got 0"),
        (["--budgets=[]"], "no budgets: give at least one, such as --budgets 0.1,0.2"),
        (["--budgets=half"], "Parser key \"budgets\""),
        (["--calibration_clips=0"], "calibration_clips must be 1 or more, got 0"),
        (["--timed_frames=-1"], "timed_frames must be 0 or more, got -1"),
        (["--seed=-1"], "seed must be 0 or more, got -1"),
        (["--weights=gone.pth"], "no weights file 'gone.pth' for regate_vit_digits: "),
        (["--backbone=resnet18"], "resnet18"),
        (["--device=tpu"], "the device 'tpu' is not there: give cpu, or cuda on a machine"),
        (["--preprocessing.image_size=33"], "image_size 33 cannot be cut into the patches of"),
        (["--data.num_frames=1"], "a policy is calibrated on clips of at least two frames"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_leaves_no_results(more, sentence, words, tmp_path, fails):
    told = fails([*words, "--out", str(tmp_path / "out"), *more])

    assert sentence in told
    assert not (tmp_path / "out" / "results.json").exists()


def test_an_output_that_cannot_be_written_is_told_before_the_work(
    words, tmp_path, monkeypatch, fails
):
    (tmp_path / "taken").touch()
    started = []
    monkeypatch.setattr("policy.compare.run.load_backbone", lambda *_: started.append(1))

    told = fails([*words, "--out", str(tmp_path / "taken" / "out")])
    assert told.startswith(f"cannot write {tmp_path}/taken/out (Not a directory); choose a place")

    allowed = os.access  # the superuser may write anywhere
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and allowed(path, mode))
    told = fails([*words, "--out", str(tmp_path / "out")])
    assert told.startswith(f"cannot write {tmp_path}/out (Permission denied); choose a place")
    assert not started
