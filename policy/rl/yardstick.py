"""What the calibrated threshold spends and is worth: where episodes get knob and price from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from backbones.vit import Backbone
from datamodules.errors import RegateError
from datamodules.records import Clip
from policy.budgets.search import calibrate
from policy.budgets.table import Calibration
from policy.gates.heuristic import ThresholdGate
from policy.quality import dense_reference, sweep_clip
from policy.rl.reward import Quality

LEAST_PRICE = 0.01
"""Where more compute buys nothing that a few clips could show, it still costs something."""


@dataclass(frozen=True)
class Yardstick:
    """The threshold's calibration, and a smooth curve of its quality against what it spends.

    Args:
        calibration: From budget to the threshold's knob.
        curve: Quality as a quadratic in log spent, highest power first.
    """

    calibration: Calibration
    curve: tuple[float, float, float]

    @classmethod
    def measure(
        cls, backbone: Backbone, threshold: ThresholdGate, clips: Sequence[Clip], quality: Quality
    ) -> Self:
        """Calibrate on clips, and sweep the same clips at the knobs that were found.

        Args:
            backbone: The frozen model.
            threshold: The heuristic that actions of 0 stand for.
            clips: Of the calibration split, of at least two frames each.
            quality: That the price is to be balanced with. Accuracy is read off the clips that
                have a label on a frame after the first.

        Raises:
            RegateError: If accuracy is the quality, and there is no such clip.
        """
        calibration = calibrate(backbone, threshold, [clip.frames for clip in clips])
        knobs = torch.tensor(calibration.knobs, dtype=torch.float32, device=backbone.mean.device)
        means = []
        for clip in clips:
            dense = dense_reference(backbone, clip)
            labels = clip.labels if quality == "accuracy" else None
            frames = backbone.normalize(clip.frames)
            swept = sweep_clip(backbone, threshold, frames, dense, knobs, labels)
            mean = swept.metrics[quality].double().cpu().numpy()
            means.append(1 - mean if quality == "kl" else mean)
        known = [mean for mean in means if not np.isnan(mean).any()]
        if not known:
            raise RegateError(
                f"none of the {len(clips)} calibration clips has a label, without which there is "
                "no accuracy: use quality=agreement"
            )
        worth = np.mean(known, axis=0)
        # One smooth curve: on a few clips the slope between two points is chance.
        square, linear, level = np.polyfit(np.log(calibration.spent), worth, 2)
        return cls(calibration, (float(square), float(linear), float(level)))

    def knob(self, budget: float) -> float:
        """Of the threshold that spends the budget; of its least where that is more."""
        return self.calibration.knob(max(budget, self.calibration.lowest))

    def price(self, budget: float) -> float:
        """What one more dense frame's compute buys at the budget, in quality.

        At this price the heuristic neither gains nor loses by spending a little more.
        """
        square, linear, _ = self.curve
        slope = (2 * square * np.log(budget) + linear) / budget
        return float(max(slope, LEAST_PRICE))
