"""Which share of the frames a policy should look at for each budget.

At a low budget a policy that looks at every frame can afford a few tokens of each, and its frames
mix fresh and stale content; looked at every second frame, the same MACs recompute twice as many
tokens together, and the frame between repeats the last output. Which of the two is nearer to the
dense model is measured here, per budget, on the calibration videos.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backbones.vit import Backbone
from policy.budget import TOLERANCE, Calibration
from policy.calibration import FloatArray, spent_per_clip, targets
from policy.gates.base import Gate
from policy.quality import DenseClip, dense_clip, sweep_clip

PACES = (1.0, 2 / 3, 1 / 2, 1 / 3)
"""Shares that are tried, the whole first: it wins unless another is better by ``LEAST_GAIN``."""
LEAST_GAIN = 0.02
ROUNDS = 3


@dataclass(frozen=True)
class _Curve:
    """One pace: mean spent and KL over the clips, by ascending spent, each [k]."""

    pace: float
    knobs: FloatArray
    spent: FloatArray
    kl: FloatArray

    def reaches(self, budget: float) -> bool:
        # Looking at every frame reaches all that its calibration holds.
        below = self.pace == 1 or budget <= self.spent[-1]
        return bool(self.spent[0] * (1 - TOLERANCE) <= budget and below)

    def kl_at(self, budget: float) -> float:
        return float(np.interp(np.log(budget), np.log(self.spent), self.kl))

    def knob_at(self, budget: float) -> float:
        return float(np.interp(np.log(budget), np.log(self.spent), self.knobs))


def with_paces(
    backbone: Backbone,
    gate: Gate,
    clips: Sequence[Tensor],
    plain: Calibration,
    advance: Callable[[], None] = lambda: None,
) -> Calibration:
    """Choose a pace for each point of a calibration, and for budgets below its floor.

    Args:
        backbone: The frozen model.
        gate: Any gate that decides per token.
        clips: The calibration clips, uint8 [t, c, h, w].
        plain: Of the same gate on the same clips, looking at every frame.
        advance: Called after each pass over a clip.
    """
    normalised = [backbone.normalize(frames) for frames in clips]
    dense = [dense_clip(backbone, frames) for frames in normalised]
    knobs = np.asarray(plain.knobs)
    curves = [_sweep(backbone, gate, normalised, dense, knobs, pace, advance) for pace in PACES]
    # A gate that recomputes everything spends a little over 1, which is no budget one can ask for.
    every = dict(zip(plain.spent, plain.knobs, strict=True))
    low = [spent for spent in targets(plain.floor * PACES[-1]) if spent < plain.lowest]
    points: list[tuple[float, float, float]] = []
    for budget in sorted({*every, *low}):
        # More budget never looks at fewer frames: what a few clips say otherwise is chance.
        least = points[-1][2] if points else 0.0
        usable = [curve for curve in curves if curve.pace >= least]
        if budget not in every:
            usable = [curve for curve in usable if curve.pace < 1]
        curve = _best(usable, budget)
        if curve is not None and curve.pace == 1:
            points.append((budget, every[budget], 1.0))
        elif curve is not None:
            points.append(_met(backbone, gate, clips, curve, budget))
    ascending = [points[0]]
    for point in points[1:]:
        if point[0] > ascending[-1][0]:
            ascending.append(point)
    spent, chosen, paces = zip(*ascending, strict=True)
    return Calibration(spent, chosen, plain.floor * min(paces), plain.source, paces)


def _sweep(
    backbone: Backbone,
    gate: Gate,
    clips: Sequence[Tensor],
    dense: Sequence[DenseClip],
    knobs: FloatArray,
    pace: float,
    advance: Callable[[], None],
) -> _Curve:
    spent, kl = np.zeros(len(knobs)), np.zeros(len(knobs))
    settings = torch.tensor(knobs, dtype=torch.float32)
    for frames, reference in zip(clips, dense, strict=True):
        swept = sweep_clip(backbone, gate, frames, reference, settings, paces=pace)
        spent += swept.spent[1:].mean(0).numpy() / len(clips)
        kl += swept.metrics["kl"].cpu().double().numpy() / len(clips)
        advance()
    order = spent.argsort()
    return _Curve(pace, knobs[order], spent[order], kl[order])


def _best(curves: Sequence[_Curve], budget: float) -> _Curve | None:
    """The pace nearest to the dense model at a budget; None if none reaches it."""
    best: _Curve | None = None
    for curve in curves:
        if curve.reaches(budget) and (
            best is None or curve.kl_at(budget) < (1 - LEAST_GAIN) * best.kl_at(budget)
        ):
            best = curve
    return best


def _met(
    backbone: Backbone, gate: Gate, clips: Sequence[Tensor], curve: _Curve, budget: float
) -> tuple[float, float, float]:
    """Spent, knob and pace closest to a budget, the knob found between those swept."""
    measured = dict(zip(curve.spent.tolist(), curve.knobs.tolist(), strict=True))
    for _ in range(ROUNDS):
        if min(abs(spent / budget - 1) for spent in measured) <= TOLERANCE:
            break
        spents = sorted(measured)
        knob = float(np.interp(np.log(budget), np.log(spents), [measured[s] for s in spents]))
        found = spent_per_clip(backbone, gate, clips, np.array([knob]), pace=curve.pace)
        measured[float(found.mean())] = knob
    spent = min(measured, key=lambda value: abs(value / budget - 1))
    return spent, measured[spent], curve.pace
