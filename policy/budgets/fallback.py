"""Never worse than the heuristic: a gate serves only the budgets at which it was found better.

A learned gate contains the threshold: its score without the networks. The two are compared on the
calibration videos, each at the settings that its own calibration found, and where the gate is not
shown to be closer to dense the threshold serves in its place.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from backbones.vit import Backbone
from datamodules.records import Clip
from policy.budgets.pacing import with_paces
from policy.budgets.search import calibrate
from policy.budgets.table import Calibration, Fallback, Verdict
from policy.compare.bootstrap import resample_counts, why_no_interval
from policy.compare.curve import resampled_curve
from policy.compare.estimate import differences
from policy.compare.records import FloatArray, Sweep
from policy.cost import BackboneMacs
from policy.gates.base import Gate, Masks, Setting
from policy.gates.heuristic import ThresholdGate
from policy.quality import SweptClip, dense_reference, sweep_settings
from policy.signals import staggered

JUDGED_CLIPS = 64
"""Of the calibration split, at most; many more than the knobs are found on."""
RESAMPLES = 2000
SEED = 0


def with_fallback(
    backbone: Backbone,
    gate: Gate,
    clips: Sequence[Clip],
    judged: Iterable[Clip],
    table: Calibration,
    budgets: Sequence[float] = (),
    advance: Callable[[], None] = lambda: None,
) -> Calibration:
    """Add to a gate's calibration the heuristic that serves where the gate is not better.

    Per calibrated point: KL to dense of both, each read off its own curve at the same MACs, inside
    each of 2,000 resamples of groups. The gate keeps the point if the 95 % interval
    of the difference lies below 0. Points are judged one by one.

    Args:
        backbone: The frozen model.
        gate: A heuristic, which contains no other, is left as it is.
        clips: Calibration clips that the heuristic's knobs and paces are found on: those of the
            gate's.
        judged: Clips that both are compared on, asked for one by one.
        table: Of the gate, paced or not; the heuristic is paced if it is.
        budgets: Asked for, beside the grid.
        advance: Called after each of the ``judged`` clips.

    Raises:
        RegateError: If a clip has one frame.
    """
    if gate.heuristic is None:
        return table
    alone = standing_alone(gate.heuristic)
    theirs = calibrate(backbone, alone, [clip.frames for clip in clips], budgets, table.source)
    if table.paces:
        theirs = with_paces(backbone, alone, clips, theirs, budgets)
    settings = _settings(gate, table), _settings(gate.heuristic, theirs)
    ours, their = _swept(backbone, settings, judged, advance)
    found = verdicts(ours, their, table.spent)
    fallback = Fallback(theirs, found, len(ours.clips), len(set(ours.groups)))
    return replace(table, fallback=fallback)


def standing_alone(heuristic: Gate) -> Gate:
    """The gate that a heuristic is calibrated as, which spends and keeps the same.

    Args:
        heuristic: From ``Gate.heuristic``.
    """
    # One shared mask is the same and can be followed without computing a block.
    return ThresholdGate() if heuristic.masks is Masks.NESTED else heuristic


def verdicts(ours: Sweep, theirs: Sweep, budgets: Sequence[float]) -> tuple[Verdict, ...]:
    """A gate minus its heuristic at each budget, read off their curves in the same resamples.

    Args:
        ours: Of the gate.
        theirs: Of the heuristic, over the same clips.
        budgets: Fractions of the dense frame's MACs.
    """
    resamples = 0 if why_no_interval(ours.groups) else RESAMPLES
    counts = resample_counts(ours.groups, resamples, SEED)
    gate, heuristic = (resampled_curve(sweep, ["kl"], counts) for sweep in (ours, theirs))
    found = []
    for budget in budgets:
        pair = gate.at(np.log(budget)), heuristic.at(np.log(budget))
        kl = differences(*pair, ["kl"], gate.groups)["kl"]
        found.append(Verdict(budget, kl.value, kl.interval))
    return tuple(found)


def _settings(gate: Gate, table: Calibration) -> list[Setting]:
    paces = table.paces or (1.0,) * len(table.spent)
    return [Setting(gate, knob, pace) for knob, pace in zip(table.knobs, paces, strict=True)]


def _swept(
    backbone: Backbone,
    settings: tuple[list[Setting], list[Setting]],
    clips: Iterable[Clip],
    advance: Callable[[], None],
) -> tuple[Sweep, Sweep]:
    """Spent and KL of two gates over the same clips, one clip in memory at a time."""
    names, groups = [], []
    rows: tuple[list[_Row], list[_Row]] = ([], [])
    for place, clip in enumerate(clips):
        names.append(clip.name)
        groups.append(clip.group)
        frames, dense = backbone.normalize(clip.frames), dense_reference(backbone, clip)
        for its, found in zip(settings, rows, strict=True):
            swept = sweep_settings(backbone, its, frames, dense, phase=staggered(place))
            found.append(_row(swept))
        advance()
    macs = BackboneMacs.of(backbone).dense

    def sweep(its: list[Setting], found: list[_Row]) -> Sweep:
        spent, spent_with_first, kl = (np.stack(column) for column in zip(*found, strict=True))
        return Sweep(
            policy=its[0].gate.name,
            seed=0,
            knobs=np.array([setting.knob for setting in its]),
            spent=spent,
            spent_with_first=spent_with_first,
            metrics={"kl": kl},
            over_frames={},
            dense_macs=macs,
            clips=tuple(names),
            groups=tuple(groups),
        )

    return sweep(settings[0], rows[0]), sweep(settings[1], rows[1])


_Row = tuple[FloatArray, FloatArray, FloatArray]


def _row(swept: SweptClip) -> _Row:
    """Spent without and with the first frame, and KL, each [k]."""
    spent = swept.spent.cpu()
    kl = swept.metrics["kl"].cpu().double()
    return spent[1:].mean(0).numpy(), spent.mean(0).numpy(), kl.numpy()
