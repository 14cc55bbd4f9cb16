"""Reading a gate and the threshold at the same compute."""

import math
from types import SimpleNamespace

import pytest
import torch

from backbones import Preprocessing
from datamodules.errors import RegateError
from datamodules.records import Clip, collate
from datamodules.synthetic import SyntheticClips
from policy.budgets.table import Calibration
from policy.gate_file import load_gate
from policy.tasks import base
from policy.tasks.base import _read
from policy.tasks.gumbel import GumbelTask


@pytest.fixture
def task():
    return GumbelTask("regate_vit_digits", "random")


def pair(spent, kl):
    return torch.tensor(spent, dtype=torch.float64), torch.tensor(kl, dtype=torch.float64)


def test_a_curve_is_read_in_log_macs_and_never_beyond_its_ends():
    spent, kl = pair([0.1, 0.4], [1.0, 0.0])

    assert _read(spent, kl, 0.2) == pytest.approx(0.5)
    assert math.isnan(_read(spent, kl, 0.09))
    assert math.isnan(_read(spent, kl, 0.41))


def test_the_curve_is_the_mean_over_the_clips_of_all_processes(task):
    other = torch.tensor([[0.4, 0.6], [0.6, 0.0]], dtype=torch.float64)
    task.all_gather = lambda mean: torch.stack([mean, other])

    spent, kl = task._mean_curve([pair([0.5, 0.1], [0.1, 0.5]), pair([0.3, 0.3], [0.3, 0.3])])

    assert spent.tolist() == pytest.approx([0.4, 0.4])
    assert sorted(kl.tolist()) == pytest.approx([0.2, 0.4])


def test_a_budget_out_of_reach_is_left_out_of_the_mean(task, monkeypatch):
    logged = {}
    task.log = lambda name, value, **_: logged.__setitem__(name, value)
    task.log_dict = lambda values, **_: logged.update(values)
    task.all_gather = lambda mean: mean
    monkeypatch.setattr(GumbelTask, "trainer", type("Quiet", (), {"sanity_checking": False}))
    # Spends 0.15 at least: at 0.1 it would be flattered by its KL at 0.15.
    task._curve = [pair([0.15, 0.6], [0.2, 0.2])]
    task._theirs = [pair([0.05, 0.6], [0.4, 0.4])]

    task.on_validation_epoch_end()

    assert math.isnan(logged["val/kl_minus_threshold_at_0.1"])
    assert logged["val/kl_minus_threshold_at_0.2"] == pytest.approx(-0.2)
    assert logged["val/kl_minus_threshold"] == pytest.approx(-0.5)


@pytest.mark.parametrize(("fallback", "judged"), [(True, [0, 1, 2]), (False, [])])
def test_a_gate_is_judged_on_the_whole_calibration_split_unless_told_not_to(
    fallback, judged, monkeypatch
):
    asked = {}

    def budget_table(backbone, gate, data, clips, budgets, **options):
        asked.update(options, clips=len(clips), budgets=budgets)

    monkeypatch.setattr(base, "budget_table", budget_table)
    task = GumbelTask("regate_vit_digits", "random", calibration_clips=2, fallback=fallback)
    task._calibrated(SyntheticClips(num_frames=2, calibration_clips=3))
    assert asked == {"judged": judged, "clips": 2, "budgets": (0.1, 0.2, 0.35, 0.2)}


def test_an_image_goes_through_what_was_asked_for_and_a_checkpoint_keeps_it(tmp_path):
    """A checkpoint is read without running code, so it must hold nothing that needs any."""
    asked = Preprocessing(image_size=48, mean=(0.25,) * 3)
    task = GumbelTask("regate_vit_digits", "random", preprocessing=asked)
    torch.save(dict(task.hparams), tmp_path / "kept.pt")

    assert task.resize_crop.size == (48, 48)
    assert task.backbone.preprocessing == asked.over(task.backbone.preprocessing)
    assert torch.load(tmp_path / "kept.pt", weights_only=True)["preprocessing"] == asked


def test_a_calibration_on_other_frames_is_not_that_of_the_run(gumbel_run, digits, monkeypatch):
    monkeypatch.setattr(GumbelTask, "trainer", SimpleNamespace(default_root_dir=gumbel_run))
    gate = load_gate(gumbel_run / "gate.safetensors", digits)
    found = []
    for asked in (Preprocessing(), Preprocessing(crop_pct=0.5)):
        task = GumbelTask("regate_vit_digits", "random", preprocessing=asked)
        task.gate.load_state_dict(gate.state_dict())
        found.append(task._calibration_of_run())

    assert found == [gate.calibration, None]


def test_weights_that_the_gate_has_no_place_for_are_refused(task):
    releasing = GumbelTask("regate_vit_digits", "random", releases=True)
    checkpoint = {"state_dict": dict(releasing.state_dict())}
    releasing.on_save_checkpoint(checkpoint)

    with pytest.raises(RegateError) as refused:
        task.on_load_checkpoint(checkpoint, "last.ckpt")

    assert str(refused.value) == (
        "last.ckpt has 'gate.releases.0.0.weight', for which this task has no place: it is of "
        "another version or of other settings, such as --model.releases"
    )


def test_what_was_calibrated_for_other_weights_is_forgotten_with_them(task):
    checkpoint = {"state_dict": dict(task.state_dict())}
    task.on_save_checkpoint(checkpoint)
    task.gate.calibration = Calibration((0.1, 0.4), (2.0, 0.5), 0.05)

    task.on_load_checkpoint(checkpoint, "last.ckpt")

    assert task.gate.calibration is None


@pytest.mark.parametrize("first", [None, 0, 5])
def test_a_mean_over_short_clips_spends_what_its_pace_does(task, digit_clips, first):
    """Two later frames at a third: a turn on two clips of three where turns are spread."""
    still = [clip[:1].expand(3, -1, -1, -1) for clip in digit_clips] * 3
    batch = collate([Clip(clip, torch.full((3,), -1), "", "") for clip in still])
    task.gate.calibration = Calibration((0.01, 1.0), (9.0, 9.0), 0.01, paces=(1 / 3, 1 / 3))

    spent = [float(swept.spent[1:].mean()) for swept, _ in task._served(batch, first)]

    looked_at = sum(value > 0 for value in spent)  # of two later frames, one or none
    assert looked_at == (0 if first is None else pytest.approx(2 / 3 * len(spent), abs=1))
