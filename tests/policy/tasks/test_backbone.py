"""Training the tiny backbone of the embedded default, cut short."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from backbones import Preprocessing, load_backbone
from datamodules.errors import RegateError
from datamodules.geometry import ResizeCrop
from policy.cli import main


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
    from policy.tasks.backbone import BackboneTask

    task = BackboneTask()
    backbone = load_backbone("regate_vit_digits", "random")
    task.model.load_state_dict(backbone.vit.state_dict())
    frames = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)

    task.eval()
    with torch.no_grad():
        assert torch.allclose(task(frames), backbone(backbone.normalize(frames)), atol=1e-5)


def test_an_image_goes_through_what_was_asked_for():
    from policy.tasks.backbone import BackboneTask

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
