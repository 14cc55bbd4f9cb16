"""All that a gate file says of budgets: knobs, paces, and where the heuristic serves."""

from collections.abc import Sequence
from functools import partial

from backbones.vit import Backbone
from datamodules.base import ClipDataModule
from datamodules.records import Clip
from policy.budgets.fallback import with_fallback
from policy.budgets.pacing import PACES, with_paces
from policy.budgets.search import calibrate
from policy.budgets.table import Calibration
from policy.gates.base import Gate
from policy.progress import progress


def budget_table(
    backbone: Backbone,
    gate: Gate,
    data: ClipDataModule,
    clips: Sequence[Clip],
    budgets: Sequence[float],
    paced: bool = True,
    judged: Sequence[int] = (),
) -> tuple[Calibration, Calibration]:
    """Calibrate a gate as it is to be served, beside a progress bar.

    Args:
        backbone: The frozen model.
        gate: Any gate with a knob.
        data: Of which the clips are.
        clips: Calibration clips that knobs and paces are found on.
        budgets: That must be met, beside the grid.
        paced: Whether frames may be skipped where that stays closer to dense.
        judged: Places, in the calibration split, of the clips that the gate is compared with its
            heuristic on; none leaves the comparison out.

    Returns:
        The calibration with a look at every frame, and the one to be served.

    Raises:
        RegateError: If the gate has no knob, or clips are missing or have one frame.
    """
    frames = [clip.frames for clip in clips]
    source = f"{data.name}, {len(clips)} calibration clips"
    with progress() as bar:
        task = bar.add_task(f"calibrating {gate.name}", total=None)
        advance = partial(bar.advance, task)
        plain = calibrate(backbone, gate, frames, budgets, source, advance)
        table = plain
        if paced and gate.decides_per_token:
            bar.reset(task, description="choosing paces", total=len(PACES) * len(clips))
            table = with_paces(backbone, gate, clips, plain, budgets, advance)
        if judged and gate.heuristic is not None:
            split = data.dataset("calibration")
            found = (split[place] for place in judged)
            bar.reset(task, description=f"{gate.name} against threshold", total=len(judged))
            table = with_fallback(backbone, gate, clips, found, table, budgets, advance)
    return plain, table
