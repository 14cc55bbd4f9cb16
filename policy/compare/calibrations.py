"""Calibrations of one comparison, each found once though several policies need it."""

from collections.abc import Hashable, Sequence

from backbones.vit import Backbone
from datamodules.records import Clip
from policy.budgets.pacing import with_paces
from policy.budgets.search import calibrate
from policy.budgets.table import Calibration
from policy.gates.base import Gate
from policy.gates.heuristic import ThresholdGate

HEADROOM = 2.0
"""How far above the highest budget a curve is swept: test videos may spend less than asked."""


class Calibrations:
    """What gates spend at their knobs on the calibration clips.

    A learned policy and its paced form run one gate, and the threshold is asked for four times: as
    a policy, paced, and by each learned gate that falls back to it.

    Args:
        model: The frozen model.
        clips: Calibration clips.
        budgets: That must be met, beside the grid.
    """

    def __init__(self, model: Backbone, clips: Sequence[Clip], budgets: Sequence[float]) -> None:
        self.budgets = tuple(budgets)
        self.upto = min(HEADROOM * max(budgets), 1.0)
        self._model = model
        self._clips = clips
        self._plain: dict[Hashable, Calibration] = {}
        self._paced: dict[Hashable, Calibration] = {}

    def plain(self, gate: Gate) -> Calibration:
        """Of a gate that looks at every frame."""
        key = _key(gate)
        if key not in self._plain:
            frames = [clip.frames for clip in self._clips]
            self._plain[key] = calibrate(self._model, gate, frames, self.budgets, upto=self.upto)
        return self._plain[key]

    def paced(self, gate: Gate) -> Calibration:
        """Of a gate that looks at the share of frames that is best at each budget."""
        key = _key(gate)
        if key not in self._paced:
            plain = self.plain(gate)
            self._paced[key] = with_paces(self._model, gate, self._clips, plain, self.budgets)
        return self._paced[key]


def _key(gate: Gate) -> Hashable:
    """Thresholds with the same masks and offsets are one gate; of others, each is its own."""
    if type(gate) is ThresholdGate:
        return gate.masks, tuple(gate.offsets or ())
    return gate
