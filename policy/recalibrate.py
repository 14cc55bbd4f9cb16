"""``regate calibrate``: which setting of a gate spends which budget on videos of one's own."""

import warnings
from pathlib import Path

from backbones.preprocessing import Preprocessing
from datamodules.base import ClipDataModule
from datamodules.errors import RegateError, RegateWarning
from datamodules.folder import VideoFolder  # noqa: F401  (known to the help and by its short name)
from datamodules.synthetic import SyntheticClips  # noqa: F401  (likewise)
from policy.atomic import check_writable
from policy.budget import Calibration, check_budget
from policy.budget_table import budget_table
from policy.calibration import spread_clips, spread_places
from policy.fallback import JUDGED_CLIPS
from policy.gate_file import read_metadata, save_gate
from policy.provenance import command
from policy.serving.opening import open_gate

BUDGETS = [0.1, 0.2, 0.35, 0.5]


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
        preprocessing: What happens to an image first; by default as the gate file says.
        device: As torch names it.

    Returns:
        The gate file.

    Raises:
        RegateError: If anything does not exist or does not fit, or the policy has no knob.
    """
    asked = sorted(set(BUDGETS if budgets is None else budgets))
    for budget in asked:
        check_budget(budget)
    if clips < 1:
        raise RegateError(f"clips must be 1 or more, got {clips}")
    from_file = Path(gate).is_file()
    path = Path(out or (gate if from_file else f"{gate}.safetensors"))
    check_writable(path.parent)
    with warnings.catch_warnings():
        # That it was calibrated on other frames is what this changes.
        warnings.simplefilter("ignore", RegateWarning)
        model, built = open_gate(gate, backbone, weights, preprocessing, device)
    data.resize_crop = model.resize_crop
    shown = spread_clips(data, clips)
    judged = spread_places(data, JUDGED_CLIPS) if fallback else []
    _, table = budget_table(model, built, data, shown, asked, paced, judged)
    built.calibration = table
    made_by = [read_metadata(gate)["command"]] if from_file else []
    save_gate(path, built, model, " && ".join([*made_by, command()]))
    print(_told(table, asked))
    if table.fallback is not None:
        print(table.fallback.told(built.name))
    print(f"gate: {path} ({table.source})")
    return path


def _told(table: Calibration, asked: list[float]) -> str:
    """One line per asked budget that can be had."""
    lines = ["budget  knob    pace"]
    for budget in asked:
        if table.reaches(budget):
            line = f"{budget:<7g} {table.knob(budget):<7.3f} {table.pace(budget):.2f}"
            lines.append(line + ("  threshold" if table.falls_back(budget) else ""))
        else:
            lines.append(f"{budget:<7g} under the floor of {table.lowest:.3g}")
    return "\n".join(lines)
