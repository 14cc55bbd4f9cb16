"""Training the tiny backbone of the embedded default, cut short."""

import json
import shutil

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from backbones import Preprocessing, load_backbone
from datamodules.errors import RegateError
from datamodules.geometry import ResizeCrop
from datamodules.records import ClipBatch
from datamodules.synthetic import SyntheticClips
from policy.cli import main
from policy.tasks.backbone import BackboneTask


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone") / "run"
    settings = {
        "data.train_clips": 16, "data.calibration_clips": 8, "data.batch_size": 8,
        "trainer.max_epochs": 2, "trainer.log_every_n_steps": 1,
        "trainer.enable_progress_bar": "false", "run_dir": folder,
    }  # fmt: skip
    config = str(root / "configs/backbone/digits.yaml")
    main(["fit", "--config", config, *(f"--{k}={v}" for k, v in settings.items())])
    return folder


def test_a_fit_ends_with_weights_that_load(run):
    backbone = load_backbone("regate_vit_digits", str(run / "backbone.safetensors"))

    saved = torch.load(run / "checkpoints" / "last.ckpt")["state_dict"]
    for name, value in backbone.vit.state_dict().items():
        assert torch.equal(value, saved[f"model.{name}"])


def test_it_trains_in_the_scale_that_serving_uses(run):
    task = BackboneTask()
    backbone = load_backbone("regate_vit_digits", "random")
    task.model.load_state_dict(backbone.vit.state_dict())
    frames = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)

    task.eval()
    with torch.no_grad():
        assert torch.allclose(task(frames), backbone(backbone.normalize(frames)), atol=1e-5)


def test_an_image_goes_through_what_was_asked_for():
    asked = Preprocessing(image_size=48, mean=(0.25,) * 3, std=(0.125,) * 3, crop_pct=0.9)
    task = BackboneTask(preprocessing=asked)

    assert task.resize_crop == ResizeCrop((48, 48), 0.9)
    assert (task.mean.flatten().tolist(), task.std.flatten().tolist()) == ([0.25] * 3, [0.125] * 3)
    assert task(torch.zeros(1, 3, 48, 48)).shape == (1, 10)
    with pytest.raises(RegateError, match="mean has 3 and std 1 values, but regate_vit_digits"):
        BackboneTask(preprocessing=Preprocessing(std=(0.5,)))
    with pytest.raises(RegateError, match="resnet18 cannot be gated: it is a ResNet"):
        BackboneTask("resnet18")


def test_loss_and_accuracy_are_logged(run):
    events = EventAccumulator(str(run)).Reload()

    assert len(events.Scalars("train/loss")) == 4
    assert all(0 <= event.value <= 1 for event in events.Scalars("val/accuracy"))


def test_a_run_of_no_gate_is_not_drawn(run):
    tags = EventAccumulator(str(run)).Reload().Tags()

    assert tags["images"] == []
    assert not (run / "gate.safetensors").exists()


def test_a_checkpoint_is_measured_and_predicts(run, capsys):
    last = str(run / "checkpoints" / "last.ckpt")
    small = ["--data.num_frames=2", "--data.test_clips=8", "--trainer.enable_progress_bar=false"]
    main(["test", "--ckpt_path", last, *small])

    events = EventAccumulator(str(run / "test")).Reload()
    accuracy = events.Scalars("test/accuracy")[0].value
    assert accuracy in [count / 16 for count in range(17)]
    main(["predict", "--ckpt_path", last, *small])
    records = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
    clips = SyntheticClips(num_frames=2, test_clips=8).dataset("test")
    assert [record["name"] for record in records] == list(clips.names)
    labels = [clips[index].labels.tolist() for index in range(8)]
    right = sum(
        ours == theirs
        for record, row in zip(records, labels, strict=True)
        for ours, theirs in zip(record["top1"], row, strict=True)
    )
    assert right / 16 == accuracy


def test_a_finished_run_can_be_trained_for_longer(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    longer = ["--trainer.max_epochs=4", "--run_dir", str(folder)]
    main(["fit", "--ckpt_path", "last", *longer])

    schedule = torch.load(folder / "checkpoints" / "last.ckpt")["lr_schedulers"][0]
    assert (schedule["last_epoch"], schedule["total_steps"]) == (8, 8)


@pytest.mark.parametrize(("classes", "told"), [((), 0), (tuple("abcdefghijkl"), 12)])
@pytest.mark.parametrize("command", ["fit", "test"])
def test_clips_without_labels_for_its_outputs_are_refused(
    command, classes, told, root, tmp_path, monkeypatch, fails
):
    monkeypatch.setattr(SyntheticClips, "class_names", classes)
    config = ["--config", str(root / "configs/backbone/digits.yaml"), "--run_dir", str(tmp_path)]

    assert fails([command, *config]) == (
        "a backbone of 10 outputs is trained and measured on labelled clips of as many classes at "
        f"most, but synthetic has {told}: give other --data, or another --model.backbone"
    )


def test_a_clip_without_a_label_among_others_is_named(make_batch):
    batch = make_batch([[3, 3], [3, -1]])
    with pytest.raises(RegateError, match=r"^b has no label, which .*: label it, or leave it out"):
        BackboneTask().training_step(batch, 0)


@pytest.fixture
def make_batch():
    """Clips a, b, … with these labels."""

    def make(labels):
        frames = torch.zeros(len(labels), len(labels[0]), 3, 96, 96, dtype=torch.uint8)
        names = list("abcdef")[: len(labels)]
        return ClipBatch(frames, torch.tensor(labels), names, names)

    return make


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more, got -0.1"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), got 1"),
    ],
)
def test_a_setting_out_of_its_range_is_told(setting, told):
    with pytest.raises(RegateError, match=told):
        BackboneTask(**setting)
