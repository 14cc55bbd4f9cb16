"""Deal clips out to train, calibration and test so that no scene is in two of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datamodules.base import SPLITS, Split
from datamodules.errors import RegateError


@dataclass(frozen=True)
class SplitOptions:
    """How to deal out groups that come without a split.

    Args:
        calibration: Share of the groups to calibrate on, in (0, 1).
        test: Share of the groups to compare on, in (0, 1). Training gets the rest.
        seed: Fixes which group goes where. Apart from the training seed, so that runs of
            several seeds are compared on the same clips.

    Raises:
        RegateError: If the shares leave nothing for training, or the seed is negative.
    """

    calibration: float = 0.2
    test: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse shares that cannot be dealt out."""
        if min(self.calibration, self.test) <= 0 or self.calibration + self.test >= 1:
            raise RegateError(
                f"split shares must be above 0 and leave some for training, got calibration "
                f"{self.calibration} and test {self.test}."
            )
        if self.seed < 0:
            raise RegateError(f"the split's seed must be 0 or more, got {self.seed}.")


def split_groups(groups: Sequence[str], options: SplitOptions) -> dict[str, Split]:
    """Give each distinct group a split; depends on their names and the options alone.

    Raises:
        RegateError: If there are fewer groups than splits.
    """
    distinct = sorted(set(groups))
    if len(distinct) < len(SPLITS):
        raise RegateError(
            f"a split into train, calibration and test needs at least {len(SPLITS)} groups, got "
            f"{len(distinct)} ({', '.join(distinct)}); add videos, or group them more finely."
        )
    order = [distinct[i] for i in np.random.default_rng(options.seed).permutation(len(distinct))]
    # With few groups, rounding must not use up those that the others need.
    calibration = min(max(1, round(options.calibration * len(order))), len(order) - 2)
    test = min(max(1, round(options.test * len(order))), len(order) - calibration - 1)
    found: dict[str, Split] = dict.fromkeys(order, "train")
    found |= dict.fromkeys(order[:calibration], "calibration")
    found |= dict.fromkeys(order[calibration : calibration + test], "test")
    return found
