"""``regate calibrate``: which setting of a gate spends which budget on videos of one's own."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from backbones.preprocessing import Preprocessing
from backbones.vit import Backbone
from datamodules.base import ClipDataModule
from datamodules.errors import RegateError, RegateWarning
from datamodules.folder import VideoFolder  # noqa: F401  (known to the help and by its short name)
from datamodules.synthetic import SyntheticClips  # noqa: F401  (likewise)
from policy.atomic import check_writable_file
from policy.budgets.build import budget_table
from policy.budgets.fallback import JUDGED_CLIPS
from policy.budgets.risk import Risk, RiskLimit
from policy.budgets.risk_control import disagreement, lowest_budget, one_per_group, videos_needed
from policy.budgets.search import check_lengths, even_places, fit_missing_offsets, spread_places
from policy.budgets.table import Calibration, check_budget
from policy.gate_file import read_metadata, save_gate
from policy.gates.base import Gate
from policy.progress import progress
from policy.provenance import command
from policy.serving.opening import open_gate

BUDGETS = [0.1, 0.2, 0.35, 0.5]
CONFIDENCE, TOLERANCE = 0.95, 0.1
"""Of a risk, where it is to be tested and they are not given."""


def recalibrate(
    *,
    gate: str,
    data: ClipDataModule,
    out: str | None = None,
    backbone: str = "",
    weights: str = "pretrained",
    budgets: list[float] | None = None,
    clips: int = 12,
    paced: bool = True,
    fallback: bool = True,
    risk: float | None = None,
    confidence: float = CONFIDENCE,
    tolerance: float = TOLERANCE,
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
    device: str = "cpu",
) -> Path:
    """Find the knob and pace of each budget on the calibration split of some videos.

    How much a knob spends depends on the videos: on a still scene less than on a busy street. The
    gate's weights stay as they are; what changes is its table of budgets. A policy by name, such
    as threshold, becomes a gate file of its own.

    Args:
        gate: A gate file, or the name of a policy with a knob.
        data: Where the clips come from.
        out: The gate file to write; by default the given one, or the policy's name.
        backbone: timm's name; a gate file's own if empty.
        weights: "pretrained", a local .safetensors or .pth file, or "random".
        budgets: That must be met to 1 %, beside a grid; 0.1,0.2,0.35,0.5 by default.
        clips: Of the calibration split, at most.
        paced: Whether frames may be skipped where that stays closer to dense.
        fallback: Compare a learned gate with the threshold on the whole calibration split (64
            clips at most), and serve the threshold where the gate is not found to be better.
        risk: Find the lowest budget at which at most this share of videos differs from dense on
            more than ``tolerance`` of its frames: by Learn then Test, exact for any number of
            videos, as far as later ones are like these (exchangeable with them). One video is
            drawn of each group, since those of one scene are not independent; groups that the
            settings and the fallback are found on are left out. 0.05 at a confidence of 0.95
            needs 59 such videos without a failure.
        confidence: Probability that the promise on ``risk`` holds.
        tolerance: Share of a video's later frames with another top-1 than dense.
        preprocessing: What happens to an image first; by default as the gate file says.
        device: As torch names it.

    Returns:
        The gate file.

    Raises:
        RegateError: If anything does not exist or does not fit, or the policy has no knob.
    """
    limit = None if risk is None else RiskLimit(risk, confidence, tolerance)
    asked = sorted(set(BUDGETS if budgets is None else budgets))
    for budget in asked:
        check_budget(budget)
    if clips < 1:
        raise RegateError(f"clips must be 1 or more, got {clips}")
    if risk is None and (confidence, tolerance) != (CONFIDENCE, TOLERANCE):
        raise RegateError("confidence and tolerance say how a risk is tested: give --risk too")
    from_file = Path(gate).is_file()
    by_default = gate if from_file else f"{gate}.safetensors"
    path = Path(by_default if out is None else out)
    check_writable_file(path)
    with warnings.catch_warnings():
        # That it was calibrated on other frames is what this changes.
        warnings.simplefilter("ignore", RegateWarning)
        model, built = open_gate(gate, backbone, weights, preprocessing, device)
    data.resize_crop = model.resize_crop
    table = _table(model, built, data, clips, asked, paced, fallback, limit)
    built.calibration = table
    made_by = [read_metadata(gate).get("command", "")] if from_file else []
    save_gate(path, built, model, " && ".join(filter(None, [*made_by, command()])))
    print("\n".join([*_told(table, built.name, asked), f"gate: {path} ({table.source})"]))
    return path


def _table(
    model: Backbone,
    gate: Gate,
    data: ClipDataModule,
    clips: int,
    asked: Sequence[float],
    paced: bool,
    fallback: bool,
    limit: RiskLimit | None,
) -> Calibration:
    """All that the gate file will say of budgets, found on the calibration split."""
    places = spread_places(data, clips)
    # Too few videos for the risk are told before anything is computed.
    tested = _tested(model, data, places, limit) if limit else []
    judged = _judged(data, places if limit else None) if fallback else []
    split = data.dataset("calibration")
    found = [split[place] for place in places]
    check_lengths([clip.frames for clip in found])
    fit_missing_offsets(model, gate, [clip.frames for clip in found])
    _, table = budget_table(model, gate, data, found, asked, paced, judged)
    if limit is None:
        return table
    return replace(table, risk=_risk(model, gate, table, data, tested, limit))


def _told(table: Calibration, gate: str, asked: Sequence[float]) -> list[str]:
    """A line per asked budget that can be had, then who serves and what is promised."""
    lines = ["budget  knob    pace"]
    for budget in asked:
        if table.reaches(budget):
            line = f"{budget:<7g} {table.knob(budget):<7.3f} {table.pace(budget):.2f}"
            lines.append(line + ("  threshold" if table.falls_back(budget) else ""))
        else:
            lines.append(f"{budget:<7g} under the floor of {table.lowest:.3g}")
    if table.fallback is not None:
        lines.append(table.fallback.told(gate))
    if table.risk is not None:
        lines.append(table.risk.told())
    return lines


def _tested(
    model: Backbone, data: ClipDataModule, places: list[int], limit: RiskLimit
) -> list[int]:
    """Videos to test the risk on: one of each group that no setting is found on.

    Raises:
        RegateError: If they are too few for any budget to pass, or the model has no classes.
    """
    if not model.num_classes:
        raise RegateError(
            f"risk counts frames with another top-1 than dense, but {model.name} has no classes: "
            "leave --risk out"
        )
    groups = data.dataset("calibration").groups
    taken = {groups[place] for place in places}
    tested, needed = one_per_group(groups, apart=taken), videos_needed(limit)
    if len(tested) < needed:
        raise RegateError(
            f"a risk of {limit.risk:g} at a confidence of {limit.confidence:g} needs {needed} "
            f"calibration videos of different groups, beside the {len(taken)} groups that budgets "
            f"are found on; {data.name} has {len(tested)}: give more videos, raise --risk, or "
            "lower --confidence or --clips"
        )
    return tested


def _judged(data: ClipDataModule, places: list[int] | None) -> list[int]:
    """Clips to compare a gate with its heuristic on; of the groups at ``places`` if given."""
    if places is None:
        return spread_places(data, JUDGED_CLIPS)
    groups = data.dataset("calibration").groups
    taken = {groups[place] for place in places}
    mine = [place for place, group in enumerate(groups) if group in taken]
    return [mine[place] for place in even_places(len(mine), JUDGED_CLIPS)]


def _risk(
    model: Backbone,
    gate: Gate,
    table: Calibration,
    data: ClipDataModule,
    places: list[int],
    limit: RiskLimit,
) -> Risk:
    """Test the budgets of a table on the videos at ``places``."""
    # A gate that recomputes everything spends a little over 1, which is no budget to ask for.
    budgets = sorted({min(spent, 1.0) for spent in table.spent})
    settings = [gate.setting(budget, table) for budget in budgets]
    split = data.dataset("calibration")
    with progress() as bar:
        task = bar.add_task("testing the risk", total=len(places))
        found = (split[place] for place in places)
        wrong = disagreement(model, settings, found, partial(bar.advance, task))
    return lowest_budget(wrong, budgets, limit)
