"""What a comparison's numbers depend on besides the videos, for ``results.json``."""

from collections.abc import Sequence
from pathlib import Path

import torch

from backbones.vit import Backbone
from datamodules.base import ClipDataModule
from policy.compare.runs import Run
from policy.device import machine
from policy.gate_file import read_metadata
from policy.provenance import command, commit

REFERENCE = "the dense model on the same frames"
UNDISTURBED = "the dense model on the undisturbed frames; every row, dense too, sees disturbed ones"


def describe(
    model: Backbone, data: ClipDataModule, weights: str, gates: Sequence[str], runs: Sequence[Run]
) -> dict[str, object]:
    """Data, backbone, gates, seeds, calibrations, machine, command and commit.

    ``calibrations`` is by policy and number of the seed, counted from 0 in the order of ``seeds``.
    """
    seeds: dict[str, list[int]] = {}
    calibrations: dict[str, object] = {}
    for run in runs:
        entry, calibration = run.plan.entry, run.plan.calibration
        its = seeds.setdefault(entry.policy, [])
        if calibration is not None:
            calibrations[f"{entry.policy}/{len(its)}"] = calibration.to_json()
        its.append(entry.seed)
    learned = {run.plan.entry.policy for run in runs if run.plan.entry.learned}
    return {
        "data": data.describe(),
        "split": "test",
        "reference": REFERENCE if data.disturbance is None else UNDISTURBED,
        "backbone": model.name,
        "backbone_fingerprint": model.fingerprint,
        "weights": Path(weights).name,
        "preprocessing": model.preprocessing.to_json(),
        "gates": [_trained_by(path) for path in gates],
        # A policy without a choice to make has no seed to speak of.
        "seeds": {name: its for name, its in seeds.items() if name in learned or len(its) > 1},
        "mechanism": "kv",
        "calibrations": calibrations,
        "machine": machine(model.mean.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "command": command(),
        "commit": commit(),
    }


def _trained_by(path: str) -> dict[str, str]:
    """Which training a gate file is of."""
    metadata = read_metadata(path)
    return {
        "file": Path(path).name,
        **{key: metadata.get(key, "") for key in ("command", "commit")},
    }
