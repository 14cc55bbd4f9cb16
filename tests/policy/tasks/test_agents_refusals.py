"""What a training of an agent cannot do is told in a sentence, before anything is trained."""

from types import SimpleNamespace

import pytest

from datamodules.errors import RegateError
from datamodules.synthetic import SyntheticClips
from policy.tasks.reinforce import ReinforceTask


@pytest.mark.parametrize(
    ("policy", "setting", "told"),
    [
        ("ppo", "budget_range=[0,1]", "budget_range must be two ascending values in (0, 1], got 0"),
        ("ppo", "exploration=0", "exploration must be above 0, got 0"),
        ("ppo", "max_grad_norm=-1", "max_grad_norm must be above 0, got -1"),
        ("ppo", "ppo.gamma=2", "gamma must be in [0, 1], got 2"),
        ("reinforce", "reinforce.gamma=2", "gamma must be in [0, 1], got 2"),
        (
            "reinforce", "rollouts=1",
            "rollouts must be 2 or more, as each is held against the others, got 1",
        ),
    ],
)  # fmt: skip
def test_a_setting_out_of_its_range_is_told(policy, setting, told, words, fails):
    assert told in fails(["fit", *words(policy), f"--model.{setting}"])


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (
            "gradient_clip_val=1",
            "an agent clips its gradients itself: leave --trainer.gradient_clip_val out and set "
            "--model.max_grad_norm",
        ),
        (
            "accumulate_grad_batches=2",
            "an agent takes several steps per batch: leave --trainer.accumulate_grad_batches out "
            "and set --data.batch_size or --model.rollouts",
        ),
    ],
)
def test_what_a_trainer_cannot_do_for_an_agent_is_told(setting, told, words, tmp_path, fails):
    asked = [f"--trainer.{setting}", "--run_dir", str(tmp_path)]

    assert fails(["fit", *words("ppo"), *asked]) == told


def test_scaled_gradients_are_refused(monkeypatch):
    """By a stand-in: on a CPU Lightning turns 16-mixed into bf16-mixed."""
    trainer = SimpleNamespace(
        gradient_clip_val=None, accumulate_grad_batches=1, precision="16-mixed"
    )
    monkeypatch.setattr(ReinforceTask, "trainer", trainer)

    with pytest.raises(RegateError) as refused:
        ReinforceTask("regate_vit_digits", "random").configure_callbacks()
    assert str(refused.value) == (
        "an agent clips its gradients itself, which 16-mixed has scaled by then: set "
        "--trainer.precision bf16-mixed or 32-true"
    )


def test_clips_without_a_frame_to_act_on_are_refused(words, tmp_path, fails):
    short = ["--data.num_frames=2", "--run_dir", str(tmp_path)]

    assert fails(["fit", *words("ppo"), *short]) == (
        "an agent learns from clips of 3 frames or more, got 2: set --data.num_frames"
    )


def test_labels_of_other_classes_are_refused(words, tmp_path, monkeypatch, fails):
    monkeypatch.setattr(SyntheticClips, "class_names", ("even", "odd"))
    asked = ["--model.quality=accuracy", "--run_dir", str(tmp_path)]

    assert fails(["fit", *words("ppo"), *asked]) == (
        "quality accuracy needs the backbone's own 10 classes as labels, but synthetic has 2: "
        "kl, agreement and cosine need none"
    )
