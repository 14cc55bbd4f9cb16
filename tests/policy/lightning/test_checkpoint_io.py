"""Checkpoint files: whole after a kill, plain to read, clear when they are not."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from datamodules.errors import RegateError
from policy.lightning.checkpoint_io import AtomicCheckpointIO

# Saves for ever; each state is one number repeated, so that a torn file could be told.
WRITER = """
import sys, torch
from policy.lightning.checkpoint_io import AtomicCheckpointIO
for number in range(10**9):
    state = {"number": number, "weights": torch.full((4_000_000,), float(number))}
    AtomicCheckpointIO().save_checkpoint(state, sys.argv[1])
    print(number, flush=True)
"""


def test_a_kill_in_mid_write_leaves_a_whole_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "0\n"
    temporary = tmp_path / ".last.ckpt.tmp"
    deadline = time.monotonic() + 60
    while not _size(temporary) and time.monotonic() < deadline:
        time.sleep(1e-4)  # until the next write has begun
    writer.kill()
    writer.communicate()

    state = AtomicCheckpointIO().load_checkpoint(path)

    assert state["weights"].shape == (4_000_000,)
    assert (state["weights"] == state["number"]).all()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_what_was_saved_is_loaded_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "deep" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 3, "weight": torch.ones(2)}, path)

    state = AtomicCheckpointIO().load_checkpoint(path)

    assert state["step"] == 3
    assert state["weight"].tolist() == [1.0, 1.0]
    assert os.listdir(path.parent) == ["last.ckpt"]


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    torch.save({"trap": Trap()}, tmp_path / "bad.ckpt")

    with pytest.raises(RegateError, match="cannot be read as a checkpoint"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "bad.ckpt", weights_only=False)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_checkpoint_is_named(tmp_path, share):
    path = tmp_path / "cut.ckpt"
    torch.save({"weight": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    with pytest.raises(RegateError, match=r"cut\.ckpt cannot be read as a checkpoint .*damaged"):
        AtomicCheckpointIO().load_checkpoint(path)


def test_an_absent_checkpoint_is_named(tmp_path):
    with pytest.raises(RegateError, match=r"there is no checkpoint at .*none\.ckpt"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "none.ckpt")


def test_a_full_disk_is_told_and_the_old_checkpoint_stays(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def full(*_):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RegateError, match="is the disk full"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)

    assert AtomicCheckpointIO().load_checkpoint(path) == {"step": 1}
    assert os.listdir(tmp_path) == ["last.ckpt"]
