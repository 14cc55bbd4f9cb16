"""Which share of the frames a policy should look at for each budget.

At a low budget a policy that looks at every frame can afford a few tokens of each, and its frames
mix fresh and stale content; looked at every second frame, the same MACs recompute twice as many
tokens together, and the frame between repeats the last output. Which of the two is nearer to the
dense model is measured here, per budget, on the calibration videos. A few videos say it roughly:
frames are skipped only where that gains more than the gain's standard error over the clips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np
import torch
from torch import Tensor

from backbones.vit import Backbone
from datamodules.records import Clip
from policy.budgets.search import FloatArray, spent_per_clip, targets
from policy.budgets.table import TOLERANCE, Calibration
from policy.gates.base import Gate
from policy.quality import DenseClip, dense_reference, sweep_clip
from policy.signals import staggered

PACES = (1.0, 2 / 3, 1 / 2, 1 / 3)
"""Shares that are tried; the first looks at every frame."""
LEAST_GAIN = 0.02
"""Of log KL; what skipping frames must gain to be worth the later answer to a change."""
LEAST_KL = 1e-6
ROUNDS = 3


@dataclass(frozen=True)
class _Curve:
    """One pace at k knobs, by ascending spent: mean spent [k], and KL of each clip [clips, k]."""

    pace: float
    knobs: FloatArray
    spent: FloatArray
    kl: FloatArray
    lowest: float

    def reaches(self, budget: float) -> bool:
        # Looking at every frame reaches all that its calibration holds.
        return self.lowest <= budget and (self.pace == 1 or budget <= self.spent[-1])

    def kl_at(self, budget: float) -> FloatArray:
        """Of each clip, where the mean over all spends the budget, [clips]."""
        asked, spent = np.log(budget), np.log(self.spent)
        return np.array([np.interp(asked, spent, clip) for clip in self.kl])


def with_paces(
    backbone: Backbone,
    gate: Gate,
    clips: Sequence[Clip],
    plain: Calibration,
    budgets: Sequence[float] = (),
    advance: Callable[[], None] = lambda: None,
) -> Calibration:
    """Choose a pace for each point of a calibration, and for budgets below its floor.

    Args:
        backbone: The frozen model.
        gate: Any gate that decides per token.
        clips: The calibration clips; closeness is to dense on their undisturbed frames.
        plain: Of the same gate on the same clips, looking at every frame.
        budgets: Asked for; those that only a pace reaches are met too.
        advance: Called after each pass over a clip.
    """
    shown = [clip.frames for clip in clips]
    normalised = [backbone.normalize(frames) for frames in shown]
    dense = [dense_reference(backbone, clip) for clip in clips]
    knobs = np.asarray(plain.knobs)
    curves = [_sweep(backbone, gate, normalised, dense, knobs, pace, advance) for pace in PACES]
    curves[0] = replace(curves[0], lowest=plain.lowest)
    # A gate that recomputes everything spends a little over 1, which is no budget one can ask for.
    every = dict(zip(plain.spent, plain.knobs, strict=True))
    lowest = min(curve.lowest for curve in curves)
    below = targets(plain.floor * PACES[-1], budgets)
    # No knob was tried that spends still less; a curve that ends above its target ends the table.
    low = {max(spent, lowest) for spent in below if spent < plain.lowest}
    points = [
        (budget, every[budget], 1.0)
        if curve.pace == 1
        else _met(backbone, gate, shown, curve, budget)
        for budget, curve in _chosen(curves, sorted({*every, *low}))
    ]
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
    spent, kl = np.zeros(len(knobs)), np.zeros((len(clips), len(knobs)))
    settings = torch.tensor(knobs, dtype=torch.float32)
    for place, (frames, reference) in enumerate(zip(clips, dense, strict=True)):
        phase = staggered(place)
        swept = sweep_clip(backbone, gate, frames, reference, settings, paces=pace, phase=phase)
        spent += swept.spent[1:].mean(0).numpy() / len(clips)
        kl[place] = swept.metrics["kl"].cpu().double().numpy()
        advance()
    order = spent.argsort()
    lowest = float(spent.min()) * (1 - TOLERANCE)
    return _Curve(pace, knobs[order], spent[order], kl[:, order], lowest)


def _chosen(curves: Sequence[_Curve], budgets: Sequence[float]) -> list[tuple[float, _Curve]]:
    """The pace of each budget that any pace reaches.

    More budget never looks at fewer frames: where a few clips say otherwise it is chance. Of all
    such choices, the one with the lowest KL over the budgets, each relative to its own.

    Args:
        curves: The first looks at every frame.
        budgets: Ascending.
    """
    ascending = sorted(curves, key=lambda curve: curve.pace)
    cost = {budget: [_cost(curve, curves[0], budget) for curve in ascending] for budget in budgets}
    reached = [budget for budget in budgets if min(cost[budget]) < np.inf]
    best = min(
        combinations_with_replacement(range(len(ascending)), len(reached)),
        key=lambda choice: sum(
            cost[budget][index] for budget, index in zip(reached, choice, strict=True)
        ),
    )
    return [(budget, ascending[index]) for budget, index in zip(reached, best, strict=True)]


def _cost(curve: _Curve, every: _Curve, budget: float) -> float:
    """Log KL of a pace, and what it must gain on a look at every frame to be chosen."""
    if not curve.reaches(budget):
        return np.inf
    kl = curve.kl_at(budget)
    cost = float(np.log(max(kl.mean(), LEAST_KL)))
    if curve is every:
        return cost
    error = _error_of_gain(kl, every.kl_at(budget)) if every.reaches(budget) else 0.0
    return cost + max(LEAST_GAIN, error)


def _error_of_gain(kl: FloatArray, every: FloatArray) -> float:
    """Standard error of the log of two means' ratio, paired over clips, to first order.

    The rule of one standard error (Breiman et al., Classification and Regression Trees, 1984,
    section 3.4.3): of choices that the data cannot tell apart, the one that costs nothing else.
    """
    if len(kl) < 2:
        return 0.0
    apart = kl / max(kl.mean(), LEAST_KL) - every / max(every.mean(), LEAST_KL)
    return float(apart.std(ddof=1) / np.sqrt(len(kl)))


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
