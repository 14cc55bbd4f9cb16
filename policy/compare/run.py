"""``regate compare``: from videos and policies to one table at matched compute."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from backbones.loading import load_backbone
from backbones.vit import Backbone
from datamodules.base import ClipDataModule
from datamodules.errors import RegateError
from datamodules.folder import VideoFolder  # noqa: F401  (known to the help and by its short name)
from datamodules.synthetic import SyntheticClips  # noqa: F401  (likewise)
from policy.atomic import check_writable
from policy.budget import Calibration, check_budget
from policy.calibration import calibrate, spread_clips, targets
from policy.compare.matched import compare as compare_sweeps
from policy.compare.policies import Entry, entries
from policy.compare.records import Operating, Sweep
from policy.compare.report import write_report
from policy.compare.results import Results
from policy.compare.sweep import Reference, references, sweep
from policy.compare.timing import Timed, latencies
from policy.gate_file import read_metadata
from policy.policies import DENSE, HEURISTICS, LEARNED
from policy.provenance import command, commit

BUDGETS = [0.1, 0.2, 0.35, 0.5]
HEADROOM = 1.5
"""How far above the highest budget a curve is swept: test videos may spend less than asked."""


@dataclass(frozen=True)
class Run:
    """One policy with its knobs and what they gave."""

    entry: Entry
    calibration: Calibration | None
    sweep: Sweep
    state_bytes: int


def compare(
    *,
    data: ClipDataModule,
    backbone: str,
    weights: str = "pretrained",
    policies: list[str] | None = None,
    gates: list[str] | None = None,
    budgets: list[float] | None = None,
    out: str = "runs/compare",
    calibration_clips: int = 12,
    timed_frames: int = 24,
    resamples: int = 2000,
    seed: int = 0,
) -> Results:
    """Compare policies on videos, each at the same compute.

    Every policy's knob is calibrated on the calibration split, then frozen; one sweep over the
    test split serves all budgets. Writes results.json, results.csv, curve.png and TensorBoard
    runs, and prints the table.

    Args:
        data: Where the clips come from; calibration and test splits are used.
        backbone: timm's name of the frozen model.
        weights: "pretrained", a local .safetensors or .pth file, or "random".
        policies: Names in the order of the table; by default all heuristics, and the learned
            policies whose gate files are given.
        gates: Gate files of learned policies; several files of one policy are its seeds.
        budgets: Fractions of the dense frame's MACs, in (0, 1]; 0.1,0.2,0.35,0.5 by default.
        out: Folder for the results.
        calibration_clips: Clips of the calibration split to find knobs on.
        timed_frames: Frames to time each policy on; 0 leaves latencies out.
        resamples: Of the bootstrap over groups and clips.
        seed: Of the bootstrap.

    Raises:
        RegateError: If an argument does not fit; nothing is written then.
    """
    budgets = sorted(set(BUDGETS if budgets is None else budgets))
    _check_budgets(budgets)
    _check_counts(
        calibration_clips=(calibration_clips, 1),
        timed_frames=(timed_frames, 0),
        resamples=(resamples, 0),
    )
    folder = Path(out)
    check_writable(folder)
    model = load_backbone(backbone, weights)
    data.resize_crop = model.resize_crop
    clips = spread_clips(data, calibration_clips)
    chosen = policies or [DENSE, *HEURISTICS, *_learned(gates or [])]
    with _progress() as progress:
        found = entries(chosen, gates or [], model, clips)
        test = _references(model, data, progress)
        runs = [_run(model, entry, clips, test, budgets, progress) for entry in found]
        operating = _operating(model, runs, test, budgets, timed_frames, progress)
    results = compare_sweeps(
        [run.sweep for run in runs],
        operating,
        budgets,
        _meta(model, data, weights, gates or [], runs),
        resamples=resamples,
        seed=seed,
    )
    for path in write_report(results, folder):
        print(f"wrote {path}")
    return results


def _check_budgets(budgets: Sequence[float]) -> None:
    if not budgets:
        raise RegateError("no budgets: give at least one, such as --budgets 0.1,0.2")
    for budget in budgets:
        check_budget(budget)


def _check_counts(**counts: tuple[int, int]) -> None:
    for name, (count, least) in counts.items():
        if count < least:
            raise RegateError(f"{name} must be {least} or more, got {count}")


def _learned(gates: Sequence[str]) -> list[str]:
    """The learned policies among gate files, each once."""
    named = dict.fromkeys(str(read_metadata(path)["policy"]) for path in gates)
    return [name for name in named if name in LEARNED]


def _references(model: Backbone, data: ClipDataModule, progress: Progress) -> list[Reference]:
    dataset = data.dataset("test")
    task = progress.add_task("dense", total=len(dataset))
    # Labels count only where they are the classes that the model was made for.
    labelled = bool(data.class_names) and len(data.class_names) == model.num_classes
    clips = (dataset[index] for index in range(len(dataset)))
    return references(model, clips, labelled, lambda: progress.advance(task))


def _run(
    model: Backbone,
    entry: Entry,
    clips: Sequence[Tensor],
    test: Sequence[Reference],
    budgets: Sequence[float],
    progress: Progress,
) -> Run:
    task = progress.add_task(f"{entry.policy}: calibrating", total=None)
    calibration = None
    knobs: tuple[float, ...] = (0.0,)
    if entry.gate.knob_range is not None:
        upto = min(HEADROOM * max(budgets), 1.0)
        calibration = calibrate(model, entry.gate, clips, budgets, upto=upto)
        # Read at the targets, of which all seeds of a policy have the same, and not at the knobs
        # that were found, of which two may serve one target.
        wanted = targets(calibration.floor, budgets, upto)
        knobs = tuple(calibration.knob(max(target, calibration.lowest)) for target in wanted)
    progress.update(task, description=entry.policy, total=len(test))
    swept, state = sweep(model, entry, knobs, test, lambda: progress.advance(task))
    return Run(entry, calibration, swept, state)


def _operating(
    model: Backbone,
    runs: Sequence[Run],
    test: Sequence[Reference],
    budgets: Sequence[float],
    timed_frames: int,
    progress: Progress,
) -> list[Operating]:
    """What each policy really spent at its calibrated knobs, and how long a frame took."""
    found: list[tuple[Operating, Timed]] = []
    for run in runs:
        reachable: list[float | None] = [None]
        if run.calibration is not None:
            reachable = [budget for budget in budgets if run.calibration.reaches(budget)]
        found += [_at(run, budget) for budget in reachable]
    if not timed_frames:
        return [operating for operating, _ in found]
    clips = _first_frames(test, timed_frames)
    task = progress.add_task("timing", total=sum(map(len, clips)))
    times = latencies(
        model,
        [timed for _, timed in found],
        [model.normalize(clip) for clip in clips],
        lambda: progress.advance(task),
    )
    return [
        replace(operating, ms_p50=p50, ms_p95=p95)
        for (operating, _), (p50, p95) in zip(found, times, strict=True)
    ]


def _first_frames(test: Sequence[Reference], count: int) -> list[Tensor]:
    """Clips with ``count`` later frames in all, the last one cut; fewer if there are no more."""
    clips: list[Tensor] = []
    for reference in test:
        if count <= 0:
            break
        clips.append(reference.clip.frames[: count + 1])
        count -= len(clips[-1]) - 1
    return clips


def _at(run: Run, budget: float | None) -> tuple[Operating, Timed]:
    """One policy at one budget; the sweep has a knob calibrated for exactly that budget."""
    entry, index, knob = run.entry, 0, 0.0
    if budget is not None and run.calibration is not None:
        knob = run.calibration.knob(budget)
        index = int(abs(run.sweep.knobs - knob).argmin())
    operating = Operating(
        policy=entry.policy,
        budget=budget,
        knob=None if budget is None else knob,
        spent=float(run.sweep.spent[:, index].mean()),
        spent_with_first=float(run.sweep.spent_with_first[:, index].mean()),
        state_bytes=0 if entry.policy == DENSE else run.state_bytes,
    )
    gate = None if entry.policy == DENSE else entry.gate
    return operating, Timed(entry.policy, budget, gate, knob)


def _meta(
    model: Backbone, data: ClipDataModule, weights: str, gates: Sequence[str], runs: Sequence[Run]
) -> dict[str, object]:
    seeds: dict[str, list[int]] = {}
    for run in runs:
        if run.entry.learned:
            seeds.setdefault(run.entry.policy, []).append(run.entry.seed)
    return {
        "data": data.describe(),
        "split": "test",
        "backbone": model.name,
        "backbone_fingerprint": model.fingerprint,
        "weights": Path(weights).name,
        "gates": [_trained_by(path) for path in gates],
        "seeds": seeds,
        "mechanism": "kv",
        "calibrations": {
            f"{run.entry.policy}/{run.entry.seed}": run.calibration.to_json()
            for run in runs
            if run.calibration is not None
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {model.mean.device.type}",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "command": command(),
        "commit": commit(),
    }


def _trained_by(path: str) -> dict[str, str]:
    """Which training a gate file is of; its command names the seed."""
    metadata = read_metadata(path)
    return {"file": Path(path).name, **{key: metadata[key] for key in ("command", "commit")}}


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        transient=True,
    )
