"""What is calibrated once, and what for itself."""

import pytest
import torch

import policy.compare.calibrations as module
from datamodules.records import Clip
from policy.compare.calibrations import Calibrations
from policy.gates.base import Masks
from policy.gates.heuristic import CosineGate, ThresholdGate


@pytest.fixture
def searches(monkeypatch):
    """The gates that were calibrated, in order."""
    found = []

    def counted(backbone, gate, *rest, calibrate=module.calibrate, **named):
        found.append(gate)
        return calibrate(backbone, gate, *rest, **named)

    monkeypatch.setattr(module, "calibrate", counted)
    return found


@pytest.fixture
def calibrations(backbone):
    frames = torch.randint(256, (4, 3, *backbone.image_size), dtype=torch.uint8)
    unlabelled = torch.full((4,), -1)
    return Calibrations(backbone, [Clip(frames, unlabelled, "clip", "group")], [0.3])


def test_thresholds_of_the_same_make_are_one(calibrations, searches):
    plain = calibrations.plain(ThresholdGate())

    assert calibrations.plain(ThresholdGate(3.0)) is plain
    paced = calibrations.paced(ThresholdGate())
    assert calibrations.paced(ThresholdGate()) is paced
    assert paced.paces and len(searches) == 1


@pytest.mark.parametrize(
    "other",
    [
        ThresholdGate(masks=Masks.PER_BLOCK),
        ThresholdGate(offsets=[0.0, 0.5, 1.0]),
        CosineGate(),
    ],
    ids=["masks per block", "offsets", "a score of its own"],
)
def test_a_gate_that_decides_otherwise_is_calibrated_for_itself(calibrations, searches, other):
    threshold = calibrations.plain(ThresholdGate())

    assert calibrations.plain(other) is not threshold
    assert calibrations.plain(other) is calibrations.plain(other)
    assert len(searches) == 2


def test_two_gates_of_one_kind_are_two(calibrations, searches):
    calibrations.plain(CosineGate())
    calibrations.plain(CosineGate())

    assert len(searches) == 2
