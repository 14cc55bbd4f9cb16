import torch

from datamodules.base import SPLITS
from datamodules.records import ClipBatch
from datamodules.synthetic import SyntheticClips


def small():
    return SyntheticClips(
        num_frames=2, train_clips=6, calibration_clips=5, test_clips=4, batch_size=2
    )


def test_each_loader_gives_batches_of_its_split():
    data = small()
    loaders = {
        "train": data.train_dataloader(),
        "calibration": data.val_dataloader(),
        "test": data.test_dataloader(),
    }

    for split in SPLITS:
        batches = list(loaders[split])
        assert all(isinstance(batch, ClipBatch) for batch in batches)
        names = [name for batch in batches for name in batch.names]
        assert sorted(names) == sorted(data.dataset(split).names)
        assert batches[0].frames.shape == (2, 2, 3, 96, 96)
        assert batches[0].labels.shape == (2, 2)


def test_calibration_test_and_predict_come_in_order():
    data = small()
    for loader, split in [
        (data.val_dataloader(), "calibration"),
        (data.test_dataloader(), "test"),
        (data.predict_dataloader(), "test"),
    ]:
        assert [n for b in loader for n in b.names] == list(data.dataset(split).names)


def test_worker_processes_give_the_same_clips():
    data = small()
    here = torch.cat([batch.frames for batch in data.train_dataloader()])
    data.num_workers = 2
    there = torch.cat([batch.frames for batch in data.train_dataloader()])

    assert torch.equal(here, there)
