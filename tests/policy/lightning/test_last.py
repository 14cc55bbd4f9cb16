"""The checkpoint that a run goes on from."""

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint

from policy.lightning.last import keep_last, keeps_last


def test_every_epoch_and_every_five_minutes_go_to_one_file():
    epoch, clock = keep_last()

    assert epoch.every_n_epochs == 1
    assert clock._train_time_interval.total_seconds() == 300
    assert {epoch.format_checkpoint_name({}), clock.format_checkpoint_name({})} == {"last.ckpt"}
    assert epoch.state_key != clock.state_key  # Lightning keeps the callbacks' states apart by it


@pytest.mark.parametrize(
    ("callback", "expected"),
    [
        (ModelCheckpoint(save_last=True), True),
        (ModelCheckpoint(filename="last"), True),
        (ModelCheckpoint(filename="best"), False),
        ("no callback", False),
    ],
)
def test_a_users_own_last_checkpoint_is_recognised(callback, expected):
    assert keeps_last(callback) is expected
