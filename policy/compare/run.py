"""``regate compare``: from videos and policies to one table at matched compute."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from warnings import catch_warnings, simplefilter

from rich.progress import Progress
from torch import Tensor

from backbones.loading import load_backbone
from backbones.preprocessing import Preprocessing
from backbones.vit import Backbone
from datamodules.base import ClipDataModule, ClipDataset
from datamodules.errors import RegateError, RegateWarning
from datamodules.folder import VideoFolder  # noqa: F401  (known to the help and by its short name)
from datamodules.records import Clip
from datamodules.synthetic import SyntheticClips  # noqa: F401  (likewise)
from policy.atomic import check_writable
from policy.budgets.table import check_budget
from policy.compare.calibrations import Calibrations
from policy.compare.folds import Fold, deal_folds
from policy.compare.labels import why_no_accuracy
from policy.compare.matched import compare as compare_sweeps
from policy.compare.meta import describe
from policy.compare.policies import Entry, entries
from policy.compare.records import Operating
from policy.compare.report import write_report
from policy.compare.results import Results
from policy.compare.runs import Plan, Run, operating_points, plan
from policy.compare.sweep import ClipSweep, gather, joined, references, sweep
from policy.compare.timing import Timed, latencies
from policy.device import open_device
from policy.gate_file import read_metadata
from policy.policies import DENSE, HEURISTICS, LEARNED, PACED
from policy.progress import progress

BUDGETS = [0.1, 0.2, 0.35, 0.5]


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
    device: str = "cpu",
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
    fallback: bool = True,
    folds: int = 1,
) -> Results:
    """Compare policies on videos, each at the same compute.

    Every policy's knob is calibrated on the calibration split, then frozen; one sweep over the
    test split serves all budgets. Writes results.json, results.csv, curve.png (quality
    against compute), drift.png and drift.csv (quality against the frames since the dense one),
    clips.csv (what was measured on each clip) and TensorBoard runs, and prints the table.

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
        resamples: Of the bootstrap over groups.
        seed: Of the bootstrap.
        device: cpu, cuda, cuda:1, ...
        preprocessing: What happens to a frame first; the model's own by default.
        fallback: Let paced gates serve the threshold where their files say so, as they are served;
            false shows what each gate does by itself.
        folds: For few videos: with 2 or more, the groups of the calibration and test splits are
            pooled and dealt into so many folds, and each fold is compared at knobs found on the
            others. For gates that were trained on other videos: a gate whose weights or fallback
            were chosen on these calibration clips would be tested on them too. Latencies are those
            of the first fold's settings.

    Raises:
        RegateError: If an argument does not fit; nothing is written then.
    """
    budgets = sorted(set(BUDGETS if budgets is None else budgets))
    _check_budgets(budgets)
    _check_counts(
        calibration_clips=(calibration_clips, 1),
        timed_frames=(timed_frames, 0),
        resamples=(resamples, 0),
        seed=(seed, 0),
        folds=(folds, 1),
    )
    folder = Path(out)
    check_writable(folder)
    on = open_device(device)
    model = load_backbone(backbone, weights, preprocessing=preprocessing).to(on)
    data.resize_crop = model.resize_crop
    no_accuracy = why_no_accuracy(data.class_names, model)
    chosen = policies or [DENSE, *HEURISTICS, *_learned(gates or [])]
    dealt = deal_folds(data, folds)
    parts: list[list[Run]] = []
    with progress() as bar:
        for fold in dealt:
            clips = fold.calibration_clips(calibration_clips)
            found = _entries(chosen, gates or [], model, clips, told=bool(parts))
            plans = _calibrated(found, Calibrations(model, clips, budgets), fallback, bar)
            parts.append(_swept(model, plans, fold, no_accuracy is None, bar))
        by_policy = list(zip(*parts, strict=True))
        sweeps = [joined([run.sweep for run in runs]) for runs in by_policy]
        measured = [
            point
            for runs, its in zip(by_policy, sweeps, strict=True)
            for point in operating_points(runs, its, budgets)
        ]
        operating = _timed(model, measured, _first_frames(dealt[0].test, timed_frames), bar)
    results = compare_sweeps(
        sweeps,
        operating,
        budgets,
        describe(model, data, weights, gates or [], parts) | {"no_accuracy": no_accuracy},
        resamples=resamples,
        seed=seed,
    )
    for path in write_report(results, sweeps, folder):
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
    """The learned policies among gate files, each at every frame and at its own pace."""
    named = dict.fromkeys(str(read_metadata(path)["policy"]) for path in gates)
    return [f"{name}{suffix}" for name in named if name in LEARNED for suffix in ("", PACED)]


def _entries(
    policies: Sequence[str],
    gates: Sequence[str],
    model: Backbone,
    clips: Sequence[Clip],
    told: bool,
) -> list[Entry]:
    """As ``entries``, silently where an earlier fold has told what the gate files warn of."""
    with catch_warnings():
        if told:
            simplefilter("ignore", RegateWarning)
        return entries(policies, gates, model, [clip.frames for clip in clips])


def _calibrated(
    found: Sequence[Entry], calibrations: Calibrations, fallback: bool, bar: Progress
) -> list[Plan]:
    task = bar.add_task("calibrating", total=len(found))
    plans = []
    for entry in found:
        bar.update(task, description=f"calibrating {entry.policy}")
        plans.append(plan(entry, calibrations, fallback))
        bar.advance(task)
    bar.update(task, description="calibrated")
    return plans


def _swept(
    model: Backbone, plans: Sequence[Plan], fold: Fold, labelled: bool, bar: Progress
) -> list[Run]:
    """Every policy over every test clip, clip by clip: the dense outputs of one are in memory."""
    test = fold.test
    clips = (test[index] for index in range(len(test)))
    task = bar.add_task("sweeping", total=len(test) * len(plans))
    swept: list[list[ClipSweep]] = [[] for _ in plans]
    for reference in references(model, clips, labelled, fold.before):
        for planned, its in zip(plans, swept, strict=True):
            its.append(sweep(model, planned.entry, planned.settings, reference))
            bar.advance(task)
    return [
        Run(planned, gather(model, planned.entry, planned.knobs, its), its[0].state_bytes)
        for planned, its in zip(plans, swept, strict=True)
    ]


def _timed(
    model: Backbone,
    measured: Sequence[tuple[Operating, Timed]],
    clips: Sequence[Tensor],
    bar: Progress,
) -> list[Operating]:
    """Add to each operating point how long a frame takes; nothing where there are no clips."""
    if not clips:
        return [operating for operating, _ in measured]
    task = bar.add_task("timing", total=sum(map(len, clips)))
    times = latencies(
        model,
        [timed for _, timed in measured],
        [model.normalize(clip) for clip in clips],
        lambda: bar.advance(task),
    )
    return [
        replace(operating, ms_mean=taken.mean, ms_p50=taken.p50, ms_p95=taken.p95)
        for (operating, _), taken in zip(measured, times, strict=True)
    ]


def _first_frames(test: ClipDataset, count: int) -> list[Tensor]:
    """Clips with ``count`` later frames in all, the last one cut; fewer if there are no more."""
    clips: list[Tensor] = []
    for index in range(len(test)):
        if count <= 0:
            break
        clips.append(test[index].frames[: count + 1])
        count -= len(clips[-1]) - 1
    return clips
