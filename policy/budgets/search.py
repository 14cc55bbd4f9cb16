"""Finding the knob that spends a budget, on videos kept apart for it."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backbones.vit import Backbone
from datamodules.base import ClipDataModule
from datamodules.errors import RegateError
from datamodules.records import Clip
from policy.budgets.table import TOLERANCE, Calibration
from policy.cost import BackboneMacs
from policy.gates.base import BlockView, Gate, Masks
from policy.gates.heuristic import ShareGate, ThresholdGate
from policy.session import ReuseSession
from policy.signals import staggered

FloatArray = npt.NDArray[np.float64]

GRID = (0.04, 0.06, 0.09, 0.13, 0.19, 0.28, 0.41, 0.6, 0.85)
"""Budgets that every calibration and sweep covers: nine points, even in log MACs."""
APART = 0.2
"""Least distance of a grid point to an asked budget, in log MACs."""
ROUNDS = 6
OFFSET_CLIPS = 4
"""That the offsets of blocks are measured on."""
# A policy's lowest reachable budget is approached, not met, by its least spending knob.
ABOVE_FLOOR = 1.05
NEAR_FLOOR = 1.15


def targets(
    floor: float, budgets: Iterable[float] = (), upto: float = 1.0, least: int = 7
) -> tuple[float, ...]:
    """Budgets to calibrate for: the asked ones and the grid, as far as they can be reached.

    Args:
        floor: Smallest spent of the policy.
        budgets: Asked for.
        upto: Highest budget of interest; a point there closes the range from above.
        least: Points wanted; more are put into the widest gaps where the grid offers fewer.
    """
    lowest = max(floor * ABOVE_FLOOR, 1e-3)
    asked = {budget for budget in budgets if lowest < budget < 1}
    # Two knobs a hair apart add a point of noise to the curve, not of knowledge.
    grid = {
        value
        for value in GRID
        if lowest < value < upto and all(abs(np.log(value / other)) > APART for other in asked)
    }
    # Just above the floor too: a gate answers for every budget that it can reach.
    near = any(value < NEAR_FLOOR * lowest for value in asked | grid)
    nearest = {lowest} if floor and not near else set()
    points = sorted(asked | grid | nearest | ({upto} if upto < 1 else set()))
    if len(points) < least:  # a high floor, or a low end: the range itself
        points = sorted({*points, lowest, upto if upto < 1 else (1 + lowest) / 2})
    while len(points) < least:
        low, high = max(pairwise(points), key=lambda pair: pair[1] / pair[0])
        points = sorted([*points, float(np.sqrt(low * high))])
    return tuple(points)


def calibrate(
    backbone: Backbone,
    gate: Gate,
    clips: Sequence[Tensor],
    budgets: Iterable[float] = (),
    source: str = "",
    advance: Callable[[], None] = lambda: None,
    upto: float = 1.0,
) -> Calibration:
    """Measure which knob spends which budget, and refine until the targets are met.

    All knobs of a round run side by side as streams of one session. A round evaluates, for each
    target, the point where the curve measured so far crosses it; after a few rounds every target
    is met to within ``TOLERANCE``.

    Args:
        backbone: The frozen model.
        gate: Any gate with a knob.
        clips: Frames of each calibration video, uint8 [t, c, h, w].
        budgets: That must be met, beside the grid.
        source: What the clips are, for the record.
        advance: Called after each clip of each round, for a progress bar.
        upto: Highest budget of interest. What lies above is the dearest to measure.

    Raises:
        RegateError: If the gate has no knob, or clips are missing or have one frame. A share of
            patches or frames needs none.
    """
    if gate.knob_range is None:
        raise RegateError(f"the {gate.name} policy has no knob to calibrate")
    floor = BackboneMacs.of(backbone).floor(gate) if gate.decides_per_token else 0.0
    wanted = targets(floor, budgets, upto)
    if isinstance(gate, ShareGate):
        # What a share spends is known: it goes evenly from the floor to the whole frame.
        macs = BackboneMacs.of(backbone)
        whole = macs.ceiling(gate) if gate.decides_per_token else 1.0
        spends = (*wanted, whole)
        shares = tuple((spent - floor) / (whole - floor) for spent in spends)
        return Calibration(spends, shares, floor, "closed form")
    check_lengths(clips)
    # The most spending knob ends a whole table, so that it answers for budgets up to 1.
    ends = {gate.knob_range[0]} if upto == 1 else set()
    measured = _search(backbone, gate, clips, wanted, ends, advance)
    best = {_closest(measured, target) for target in wanted}
    points = sorted((measured[knob], knob) for knob in best | ends)
    ascending = [points[0]]
    for point in points[1:]:
        if point[0] > ascending[-1][0]:
            ascending.append(point)
    return Calibration(
        spent=tuple(point[0] for point in ascending),
        knobs=tuple(point[1] for point in ascending),
        floor=floor,
        source=source,
    )


def _search(
    backbone: Backbone,
    gate: Gate,
    clips: Sequence[Tensor],
    wanted: Sequence[float],
    ends: set[float],
    advance: Callable[[], None],
) -> dict[float, float]:
    """Mean spent by knob, for the ends and for knobs ever closer to each wanted budget."""
    assert gate.knob_range is not None
    measured: dict[float, float] = {}
    knobs = np.append(_first_knobs(backbone, gate, clips, len(wanted)), list(ends))
    for _ in range(ROUNDS):
        spent = spent_per_clip(backbone, gate, clips, knobs, advance).mean(0)
        measured |= dict(zip(knobs.tolist(), spent.tolist(), strict=True))
        missed = [t for t in wanted if _relative_miss(measured, t) > TOLERANCE]
        guesses = {_crossing(measured, gate.knob_range, target) for target in missed}
        knobs = np.array(sorted(guesses - measured.keys()))
        if not len(knobs):
            break
    return measured


def spread_places(data: ClipDataModule, count: int) -> list[int]:
    """Places of as many calibration clips or all, spread over the split.

    Raises:
        RegateError: If the split is empty.
    """
    total = len(data.dataset("calibration"))
    if not total:
        raise RegateError(f"{data.name} has no calibration clips: give it more videos")
    return even_places(total, count)


def even_places(total: int, count: int) -> list[int]:
    """Places of as many of some clips or all, in even steps: neighbours often show one scene."""
    places = np.unique(np.linspace(0, total - 1, min(count, total)).round())
    return [int(place) for place in places]


def spread_clips(data: ClipDataModule, count: int) -> list[Clip]:
    """The calibration clips at ``spread_places``."""
    dataset = data.dataset("calibration")
    return [dataset[place] for place in spread_places(data, count)]


def spent_per_clip(
    backbone: Backbone,
    gate: Gate,
    clips: Sequence[Tensor],
    knobs: FloatArray,
    advance: Callable[[], None] = lambda: None,
    pace: float = 1.0,
) -> FloatArray:
    """Mean spent of each clip's frames after the first, at each knob, [clips, knobs].

    Args:
        backbone: The frozen model.
        gate: Any gate.
        clips: uint8 [t, c, h, w], of at least two frames each.
        knobs: [k], run side by side.
        advance: Called after each clip.
        pace: Share of frames looked at.
    """
    rows = []
    for place, frames in enumerate(clips):
        session = ReuseSession(backbone, gate, execution="dry" if gate.runs_dry else "auto")
        session.knob, session.pace = torch.tensor(knobs, dtype=torch.float32), pace
        session.phase = staggered(place)
        total = torch.zeros(len(knobs), dtype=torch.float64)
        for index, frame in enumerate(backbone.normalize(frames)):
            result = session.step(frame.expand(len(knobs), *frame.shape))
            if index:
                total += result.spent
        rows.append((total / (len(frames) - 1)).numpy())
        advance()
    return np.stack(rows)


def fit_block_offsets(backbone: Backbone, gate: ThresholdGate, clips: Sequence[Tensor]) -> None:
    """Give each block its own threshold: offsets at which all blocks recompute the same share.

    Tokens grow from block to block and so does their drift, hence one threshold for all blocks
    spends nearly everything in the last ones. An offset is the block's typical log drift from
    frame to frame, measured on a dense run; only their differences matter, the knob does the rest.

    Raises:
        RegateError: If clips are missing or have one frame.
    """
    check_lengths(clips)
    probe = _DriftProbe()
    for frames in clips:
        session = ReuseSession(backbone, probe, execution="gathered")
        for frame in backbone.normalize(frames):
            session.step(frame)
    gate.offsets = probe.typical(backbone.depth)


def fit_missing_offsets(backbone: Backbone, gate: Gate, clips: Sequence[Tensor]) -> None:
    """Give a threshold per block that was made by its name its offsets; leave others as they are.

    Args:
        backbone: The frozen model.
        gate: Any gate.
        clips: Calibration clips, uint8 [t, c, h, w].

    Raises:
        RegateError: If clips are needed and missing, or have one frame.
    """
    if type(gate) is ThresholdGate and gate.masks is Masks.PER_BLOCK and gate.offsets is None:
        fit_block_offsets(backbone, gate, clips[:OFFSET_CLIPS])


def check_lengths(clips: Sequence[Tensor]) -> None:
    """Refuse clips that no policy can be calibrated on.

    Raises:
        RegateError: If there are none, or one has a single frame.
    """
    if not clips or min(map(len, clips)) < 2:
        raise RegateError(
            "a policy is calibrated on clips of at least two frames, since the first is dense: "
            "give the data module longer videos"
        )


class _DriftProbe(ThresholdGate):
    """Recomputes everything and keeps each block's upper drift, which is what thresholds cut."""

    def __init__(self) -> None:
        super().__init__(masks=Masks.PER_BLOCK)
        self.knob = -math.inf  # a threshold of 0 would leave patches that did not move at all
        self.seen: dict[int, list[float]] = {}

    def score(self, view: BlockView) -> Tensor:
        score = super().score(view)
        self.seen.setdefault(view.block, []).append(float(score.quantile(0.8)))
        return score

    def typical(self, depth: int) -> list[float]:
        """Median over frames, relative to the first block, per block."""
        medians = [float(np.median(self.seen[block])) for block in range(depth)]
        return [value - medians[0] for value in medians]


def _first_knobs(backbone: Backbone, gate: Gate, clips: Sequence[Tensor], count: int) -> FloatArray:
    """Knobs spread over the useful part of the range."""
    assert gate.knob_range is not None
    most, least = gate.knob_range
    scores = []
    for frames in clips[:4]:
        session = ReuseSession(backbone, gate, execution="dry" if gate.runs_dry else "auto")
        session.knob = most  # recompute nearly everything: scores are drift from frame to frame
        for frame in backbone.normalize(frames):
            result = session.step(frame)
            if result.score is not None:
                scores.append(result.score.flatten())
    seen = torch.cat(scores)
    low, high = seen.quantile(0.02).item(), seen.max().item()
    # Between recomputations drift adds up, and later blocks drift further than the first.
    spread = (high - low) + (2.0 if gate.masks is Masks.PER_BLOCK else 0.0)
    return np.linspace(max(low, most), min(low + 1.1 * spread, least), count)


def _crossing(
    measured: dict[float, float], knob_range: tuple[float, float], target: float
) -> float:
    """Where the curve measured so far crosses the target, between its two neighbours."""
    most, least = knob_range
    ends = {most: max(1.0, *measured.values()), least: min(1e-3, *measured.values())}
    curve = sorted((ends | measured).items(), key=lambda item: item[0], reverse=most > least)
    for (knob_a, spent_a), (knob_b, spent_b) in pairwise(curve):
        if spent_a >= target >= spent_b and spent_a > spent_b:
            a, b, t = np.log(max(spent_a, 1e-4)), np.log(max(spent_b, 1e-4)), np.log(target)
            share = float(np.clip((a - t) / (a - b), 0.1, 0.9))
            return float(np.float32(knob_a + share * (knob_b - knob_a)))
    return least


def _closest(measured: dict[float, float], target: float) -> float:
    return min(measured, key=lambda knob: abs(np.log(max(measured[knob], 1e-9) / target)))


def _relative_miss(measured: dict[float, float], target: float) -> float:
    return abs(measured[_closest(measured, target)] / target - 1)
