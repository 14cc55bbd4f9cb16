"""Never worse than the heuristic: a gate serves only the budgets at which it was found better.

A learned gate contains the threshold: its score without the networks. The two are compared on the
calibration videos, each at the settings that its own calibration found, and where the gate is not
shown to be closer to dense the threshold serves in its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from backbones.vit import Backbone
from datamodules.records import Clip
from policy.budget import Calibration, Fallback, Verdict
from policy.calibration import calibrate
from policy.compare.bootstrap import resample_counts, why_no_interval
from policy.compare.curve import Curve, resampled_curve
from policy.compare.estimate import estimates
from policy.compare.records import Sweep
from policy.cost import BackboneMacs
from policy.gates.base import Gate, Masks, Setting
from policy.gates.heuristic import ThresholdGate
from policy.pacing import with_paces
from policy.quality import SweptClip, dense_reference, sweep_settings

JUDGED_CLIPS = 64
"""Of the calibration split, at most; many more than the knobs are found on."""
RESAMPLES = 2000
SEED = 0


def with_fallback(
    backbone: Backbone,
    gate: Gate,
    clips: Sequence[Clip],
    judged: Sequence[Clip],
    table: Calibration,
    budgets: Sequence[float] = (),
    advance: Callable[[], None] = lambda: None,
) -> Calibration:
    """Add to a gate's calibration the heuristic that serves where the gate is not better.

    Per calibrated point: KL to dense of both, each read off its own curve at the same MACs, inside
    each of 2,000 resamples of groups and then clips. The gate keeps the point if the 95 % interval
    of the difference lies below 0. Points are judged one by one.

    Args:
        backbone: The frozen model.
        gate: A heuristic, which contains no other, is left as it is.
        clips: Calibration clips that the heuristic's knobs and paces are found on: those of the
            gate's.
        judged: Clips that both are compared on.
        table: Of the gate, paced or not; the heuristic is paced if it is.
        budgets: Asked for, beside the grid.
        advance: Called after each of the ``judged`` clips.

    Raises:
        RegateError: If a clip has one frame.
    """
    if gate.heuristic is None:
        return table
    theirs = heuristic_calibration(backbone, gate.heuristic, clips, table, budgets)
    ours, their = _curves(backbone, gate, table, gate.heuristic, theirs, judged, advance)
    verdicts = []
    for budget in table.spent:
        found = estimates(ours.at(np.log(budget)) - their.at(np.log(budget)), ["kl"])["kl"]
        verdicts.append(Verdict(budget, found.value, found.interval))
    groups = len({clip.group for clip in judged})
    return replace(table, fallback=Fallback(theirs, tuple(verdicts), len(judged), groups))


def heuristic_calibration(
    backbone: Backbone,
    heuristic: Gate,
    clips: Sequence[Clip],
    table: Calibration,
    budgets: Sequence[float],
    upto: float = 1.0,
) -> Calibration:
    """Of the heuristic in a gate: on the same clips, for the same budgets, paced alike.

    Args:
        backbone: The frozen model.
        heuristic: From ``Gate.heuristic``.
        clips: Calibration clips.
        table: Of the gate.
        budgets: Asked for, beside the grid.
        upto: Highest budget of interest.
    """
    # One shared mask is the same and can be followed without computing a block.
    alone = ThresholdGate() if heuristic.masks is Masks.NESTED else heuristic
    frames = [clip.frames for clip in clips]
    plain = calibrate(backbone, alone, frames, budgets, table.source, upto=upto)
    return with_paces(backbone, alone, clips, plain) if table.paces else plain


def _curves(
    backbone: Backbone,
    gate: Gate,
    ours: Calibration,
    heuristic: Gate,
    theirs: Calibration,
    clips: Sequence[Clip],
    advance: Callable[[], None],
) -> tuple[Curve, Curve]:
    """KL against MACs of both over the same clips, in the same resamples."""
    settings = [_settings(gate, ours), _settings(heuristic, theirs)]
    swept: list[list[SweptClip]] = [[], []]
    for clip in clips:
        frames, dense = backbone.normalize(clip.frames), dense_reference(backbone, clip)
        for its, found in zip(settings, swept, strict=True):
            whole = sweep_settings(backbone, its, frames, dense)
            found.append(replace(whole, logits=whole.logits[:0]))  # outputs need the memory
        advance()
    groups = [clip.group for clip in clips]
    counts = resample_counts(groups, 0 if why_no_interval(groups) else RESAMPLES, SEED)
    macs = BackboneMacs.of(backbone).dense
    curves = [
        resampled_curve(_sweep(its, found, clips, macs), ["kl"], counts)
        for its, found in zip(settings, swept, strict=True)
    ]
    return curves[0], curves[1]


def _settings(gate: Gate, table: Calibration) -> list[Setting]:
    paces = table.paces or (1.0,) * len(table.spent)
    return [Setting(gate, knob, pace) for knob, pace in zip(table.knobs, paces, strict=True)]


def _sweep(
    settings: Sequence[Setting], swept: Sequence[SweptClip], clips: Sequence[Clip], macs: float
) -> Sweep:
    return Sweep(
        policy=settings[0].gate.name,
        seed=0,
        knobs=np.array([setting.knob for setting in settings]),
        spent=np.stack([clip.spent[1:].mean(0).cpu().numpy() for clip in swept]),
        spent_with_first=np.stack([clip.spent.mean(0).cpu().numpy() for clip in swept]),
        metrics={"kl": np.stack([clip.metrics["kl"].cpu().double().numpy() for clip in swept])},
        over_frames={},
        dense_macs=macs,
        clips=tuple(clip.name for clip in clips),
        groups=tuple(clip.group for clip in clips),
    )
