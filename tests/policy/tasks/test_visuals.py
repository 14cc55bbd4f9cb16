import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from backbones import load_backbone
from policy.gates import Masks, TopRGate
from policy.tasks.visuals import RecomputeVisuals, watch


class Example(LightningModule):
    """A gate that recomputes a share of the patches, on a clip of noise."""

    def __init__(self, frames=4, masks=Masks.SHARED):
        super().__init__()
        self.backbone = load_backbone("vit_tiny_patch16_224", "random", image_size=64)
        self.gate = TopRGate(masks=masks)
        self.clip = torch.randint(0, 256, (frames, 3, 64, 64), dtype=torch.uint8)
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def val_example(self):
        return self.clip, 0.25

    def training_step(self, batch, batch_idx):
        return self.weight**2

    def validation_step(self, batch, batch_idx):
        self.log("val/seen", 1.0, batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight])


def fit(tmp_path, module, logger=None, **options):
    loader = DataLoader(torch.zeros(2))
    logger = logger or TensorBoardLogger(tmp_path, name="", version="run")
    trainer = Trainer(
        logger=logger,
        callbacks=[RecomputeVisuals(**options)],
        max_epochs=2,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader, loader)


def read(tmp_path):
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"tensors": 0, "images": 0})
    return events.Reload()


@pytest.mark.filterwarnings("ignore")  # Lightning's advice on workers and batch counts
def test_each_validation_is_drawn_once(tmp_path):
    fit(tmp_path, Example())

    events = read(tmp_path)
    for tag in ("val/overlay", "val/spent_over_frames"):
        # Of the last batch before it, where Lightning logs what a validation came to.
        assert [image.step for image in events.Images(tag)] == [1, 3]
    assert [scalar.step for scalar in events.Scalars("val/seen")] == [1, 3]
    overlay = events.Images("val/overlay")[0]
    assert overlay.width == 3 * 256  # three later frames side by side, 64 pixels enlarged by 4
    rates = {f"val/recompute_rate/block_{block:02}" for block in range(12)}
    assert rates <= set(events.Tags()["scalars"])
    for tag in rates:
        assert [scalar.value for scalar in events.Scalars(tag)] == [0.25, 0.25]


@pytest.mark.filterwarnings("ignore")
def test_the_custom_scalars_page_sets_quality_against_compute(tmp_path):
    fit(tmp_path, Example())

    layout = read(tmp_path).Tensors("custom_scalars__config__")
    assert len(layout) == 1
    text = layout[0].tensor_proto.string_val[0].decode("latin-1")
    for tag in ("train/kl", "val/kl", "val/kl_minus_threshold", "train/spent", "val/spent"):
        assert tag in text


@pytest.mark.filterwarnings("ignore")
def test_other_loggers_are_left_alone(tmp_path):
    module = Example()
    module.val_example = lambda: pytest.fail("nobody would see it")

    fit(tmp_path, module, CSVLogger(tmp_path))


def test_what_is_watched_is_what_a_session_serves():
    module = Example(masks=Masks.PER_BLOCK)

    watched = watch(module)

    assert watched.recompute.shape == (4, 12, 16)
    assert watched.recompute[0].all()
    assert watched.recompute[1:].sum(-1).tolist() == [[4] * 12] * 3
    assert watched.spent[0] == 1
    assert watched.rates() == [0.25] * 12


def test_a_clip_of_one_frame_has_no_rates():
    assert watch(Example(frames=1)).rates() == []
