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
    model: Backbone,
    data: ClipDataModule,
    weights: str,
    gates: Sequence[str],
    parts: Sequence[Sequence[Run]],
) -> dict[str, object]:
    """Data, backbone, gates, seeds, calibrations, machine, command and commit.

    ``calibrations`` is by policy and number of the seed, counted from 0 in the order of ``seeds``;
    with folds, by the number of the fold, too.

    Args:
        model: The frozen model.
        data: Whose clips were compared.
        weights: Of the model.
        gates: Gate files.
        parts: The policies in each of their seeds, fold by fold.
    """
    seeds: dict[str, list[int]] = {}
    calibrations: dict[str, object] = {}
    for runs in zip(*parts, strict=True):
        entry = runs[0].plan.entry
        its = seeds.setdefault(entry.policy, [])
        for fold, run in enumerate(runs):
            if run.plan.calibration is not None:
                of_fold = f"/{fold}" if len(parts) > 1 else ""
                key = f"{entry.policy}/{len(its)}{of_fold}"
                calibrations[key] = run.plan.calibration.to_json()
        its.append(entry.seed)
    learned = {run.plan.entry.policy for run in parts[0] if run.plan.entry.learned}
    return {
        "data": data.describe(),
        "split": "test" if len(parts) == 1 else f"calibration and test in {len(parts)} folds",
        "folds": len(parts),
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
