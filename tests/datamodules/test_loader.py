import json
import os

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import Dataset

from datamodules.base import ClipDataModule
from datamodules.errors import RegateError
from datamodules.loader import DrawSampler, TrainingLoader, eval_loader
from datamodules.records import Clip


class Draws(Dataset):
    """Clips that are their own number: label = draw."""

    def __init__(self, clips):
        self.names = [str(i) for i in range(clips)]
        self.groups = self.names

    def __len__(self):
        return len(self.names)

    def __getitem__(self, draw):
        name = str(draw % len(self))
        return Clip(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), torch.tensor([draw]), name, name)


def drawn(loader):
    return [batch.labels[:, 0].tolist() for batch in loader]


def flat(batches):
    return [draw for batch in batches for draw in batch]


def test_an_epoch_has_every_clip_once_and_its_number_in_the_draw():
    sampler = DrawSampler(Draws(10), seed=0)
    sampler.set_epoch(3)

    assert sorted(sampler) == list(range(30, 40))


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = DrawSampler(Draws(20), seed)
        sampler.set_epoch(epoch)
        return [draw % 20 for draw in sampler]

    torch.manual_seed(1)
    first = order(0, 0)
    torch.manual_seed(2)

    assert order(0, 0) == first
    assert order(1, 0) != first
    assert order(0, 1) != first


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("used", [0, 1, 3])
def test_a_loader_goes_on_where_its_state_was_saved(used, num_workers):
    whole = TrainingLoader(Draws(10), 2, num_workers, seed=0)
    whole.sampler.set_epoch(4)
    expected = drawn(whole)

    killed = TrainingLoader(Draws(10), 2, num_workers, seed=0)
    killed.sampler.set_epoch(4)
    batches = iter(killed)
    for _ in range(used):
        next(batches)
    resumed = TrainingLoader(Draws(10), 2, num_workers, seed=0)
    resumed.load_state_dict(killed.state_dict())

    assert len(resumed) == 5  # of the whole epoch: Lightning counts the batches done itself
    assert resumed.state_dict() == killed.state_dict() == {"epoch": 4, "clips": 2 * used}
    assert drawn(resumed) == expected[used:]
    assert drawn(resumed) == expected  # and the next pass is whole again


def test_a_state_saved_at_the_end_of_an_epoch_starts_the_next():
    loader = TrainingLoader(Draws(5), 2, 0, seed=0)
    list(loader)
    resumed = TrainingLoader(Draws(5), 2, 0, seed=0)
    resumed.load_state_dict(loader.state_dict())

    assert sorted(flat(drawn(resumed))) == [5, 6, 7, 8, 9]


def test_a_state_of_an_epoch_that_was_cut_short_leaves_the_next_whole():
    """Lightning's ``limit_train_batches``: the epoch ends before its clips do."""
    cut = TrainingLoader(Draws(10), 2, 0, seed=0)
    next(iter(cut))
    resumed, whole = (TrainingLoader(Draws(10), 2, 0, seed=0) for _ in "ab")
    resumed.load_state_dict(cut.state_dict())

    for loader in (resumed, whole):
        loader.draws.set_epoch(1)
    assert drawn(resumed) == drawn(whole)


def test_a_state_fits_another_batch_size():
    loader = TrainingLoader(Draws(12), 4, 0, seed=0)
    expected = flat(drawn(loader))
    next(iter(loader))
    resumed = TrainingLoader(Draws(12), 2, 0, seed=0)
    resumed.load_state_dict(loader.state_dict())

    assert flat(drawn(resumed)) == expected[4:]


def test_more_processes_than_clips_are_refused(monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 4)

    with pytest.raises(RegateError, match="3 clips cannot be shared by 4 processes; start at most"):
        eval_loader(Draws(3), 1, 0)


class DrawData(ClipDataModule):
    def __init__(self, clips=10, batch_size=2, num_workers=0):
        super().__init__(batch_size, num_workers, seed=0)
        self.clips = clips

    def dataset(self, split):
        return Draws(self.clips)


class Recorder(LightningModule):
    """Writes down the draws it trains and predicts on, one line per batch and process."""

    def __init__(self, folder, stop_after=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.folder = folder
        self.stop_after = stop_after

    def record(self, kind, batch):
        with open(self.folder / f"{kind}-{self.global_rank}.jsonl", "a") as lines:
            lines.write(json.dumps(batch.labels[:, 0].tolist()) + "\n")

    def training_step(self, batch, batch_idx):
        if self.global_step == self.stop_after:
            raise KeyboardInterrupt
        self.record("train", batch)
        return self.weight * 0.0

    def validation_step(self, batch, batch_idx):
        pass

    def predict_step(self, batch, batch_idx):
        self.record("predict", batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder, **settings):
    return Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        use_distributed_sampler=True,
        num_sanity_val_steps=0,
        **settings,
    )


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def checkpoints(folder):
    return ModelCheckpoint(
        folder, filename="{step}", every_n_train_steps=1, save_top_k=-1, monitor=None
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("stop_after", "num_workers"),
    [(2, 0), (5, 0), (7, 0), (9, 0), (7, 2)],  # five batches an epoch
)
def test_a_killed_run_resumes_on_the_batch_it_had_reached(tmp_path, stop_after, num_workers):
    whole = tmp_path / "whole"
    killed = tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    data = DrawData(num_workers=num_workers)
    trainer(whole, max_epochs=3, enable_checkpointing=False).fit(Recorder(whole), data)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(killed, max_epochs=3, callbacks=[checkpoints(killed)]).fit(
            Recorder(killed, stop_after), data
        )
    last = killed / f"step={stop_after}.ckpt"
    trainer(killed, max_epochs=3, enable_checkpointing=False).fit(
        Recorder(killed), data, ckpt_path=last
    )

    assert len(lines(whole / "train-0.jsonl")) == 15
    assert lines(killed / "train-0.jsonl") == lines(whole / "train-0.jsonl")


@pytest.mark.filterwarnings("ignore")
def test_overfitting_sees_the_same_batches_in_each_epoch(tmp_path):
    trainer(tmp_path, max_epochs=2, overfit_batches=2, enable_checkpointing=False).fit(
        Recorder(tmp_path), DrawData()
    )

    assert lines(tmp_path / "train-0.jsonl") == [[0, 1], [2, 3], [0, 1], [2, 3]]


@pytest.mark.filterwarnings("ignore")
def test_two_processes_share_the_clips_resume_and_predict_each_once(tmp_path):
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    settings = {"strategy": "ddp_fork", "devices": 2}
    data = DrawData(clips=11)
    # Three batches an epoch and process; stopped after the second, and resumed.
    trainer(tmp_path, max_steps=2, callbacks=[checkpoints(tmp_path)], **settings).fit(
        Recorder(tmp_path), data
    )
    trainer(tmp_path, max_epochs=2, enable_checkpointing=False, **settings).fit(
        Recorder(tmp_path), data, ckpt_path=tmp_path / "step=2.ckpt"
    )
    trainer(tmp_path, **settings).predict(Recorder(tmp_path), data, return_predictions=False)

    shares = [flat(lines(tmp_path / f"train-{rank}.jsonl")) for rank in range(2)]
    first = [share[:6] for share in shares]  # 11 clips and one again, to make the shares equal
    assert set(first[0]) | set(first[1]) == set(range(11))
    assert set(shares[0][6:]) | set(shares[1][6:]) == set(range(11, 22))
    predicted = [flat(lines(tmp_path / f"predict-{rank}.jsonl")) for rank in range(2)]
    assert sorted(predicted[0] + predicted[1]) == list(range(11))
