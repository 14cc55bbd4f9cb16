import torch

from datamodules.base import SPLITS
from datamodules.disturbance import Noise
from datamodules.records import ClipBatch
from datamodules.synthetic import SyntheticClips


def small(**settings):
    return SyntheticClips(
        num_frames=2, train_clips=6, calibration_clips=5, test_clips=4, batch_size=2, **settings
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


def test_a_disturbance_reaches_all_splits_and_keeps_the_clean_frames():
    plain, noisy = small(), small(disturbance=Noise(4.0))

    for split in SPLITS:
        for draw in range(2):  # a dataset goes on for ever
            clip, disturbed = plain.dataset(split)[draw], noisy.dataset(split)[draw]
            assert clip.clean is None
            assert torch.equal(disturbed.clean, clip.frames)
            assert (disturbed.frames.float() - clip.frames).std() > 2  # white stays white
            assert disturbed.name == clip.name
    for loader in (noisy.train_dataloader(), noisy.val_dataloader(), noisy.predict_dataloader()):
        batch = next(iter(loader))
        assert batch.clean.shape == batch.frames.shape
        assert not torch.equal(batch.clean, batch.frames)


def test_disturbed_training_resumes_on_the_same_pixels_also_with_workers():
    loader = small(disturbance=Noise(4.0)).train_dataloader()
    whole = list(loader)
    begun = small(disturbance=Noise(4.0), num_workers=2).train_dataloader()
    next(iter(begun))
    resumed = small(disturbance=Noise(4.0), num_workers=2).train_dataloader()
    resumed.load_state_dict(begun.state_dict())

    rest = list(resumed)

    assert len(rest) == 2
    for batch, expected in zip(rest, whole[1:], strict=True):
        assert batch.names == expected.names
        assert torch.equal(batch.frames, expected.frames)
        assert torch.equal(batch.clean, expected.clean)


def test_disturbed_data_say_so_and_do_not_share_their_name():
    plain, noisy = small(), small(disturbance=Noise(4.0))

    assert (plain.name, noisy.name) == ("synthetic", "synthetic-noise4")
    assert plain.describe()["disturbance"] is None
    assert noisy.describe()["disturbance"] == {"kind": "Noise", "sigma": 4.0, "seed": 0}
    assert noisy.describe()["fingerprint"] == plain.describe()["fingerprint"]
