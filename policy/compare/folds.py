"""Which clips find the knobs and which are compared; with few videos, each in its turn."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import GroupKFold

from datamodules.base import ClipDataModule, ClipDataset
from datamodules.errors import RegateError
from datamodules.records import Clip
from policy.budgets.search import even_places


class Fold(NamedTuple):
    """Clips for the knobs, clips that are compared at them, and how many the folds before have."""

    calibration: ClipDataset
    test: ClipDataset
    before: int = 0

    def calibration_clips(self, count: int) -> list[Clip]:
        """As many clips for the knobs or all, spread over them."""
        return [self.calibration[place] for place in even_places(len(self.calibration), count)]


class Picked(ClipDataset):
    """Clips of several datasets as one, or some of them.

    Args:
        sources: Theirs.
        places: Which, counted through the sources; None for all.
    """

    def __init__(self, sources: Sequence[ClipDataset], places: Sequence[int] | None = None) -> None:
        """Look up where each clip lies; none is decoded."""
        where = [(source, index) for source in sources for index in range(len(source))]
        self._where = where if places is None else [where[place] for place in places]
        super().__init__(
            [source.names[index] for source, index in self._where],
            [source.groups[index] for source, index in self._where],
        )

    def __getitem__(self, draw: int) -> Clip:
        """Decode or render one clip; the same in every epoch, as in a test split."""
        source, index = self._where[draw % len(self)]
        return source[index]


def deal_folds(data: ClipDataModule, count: int) -> list[Fold]:
    """One fold of calibration and test split, or more that test each of their groups once.

    Args:
        data: Of whose training split nothing is taken.
        count: 1 for the splits as they are. More pools them and deals the groups out: each part
            is the test of one fold, and the others its calibration.

    Raises:
        RegateError: If there are not as many groups as folds.
    """
    calibration, test = data.dataset("calibration"), data.dataset("test")
    if not calibration:
        raise RegateError(f"{data.name} has no calibration clips: give it more videos")
    if count == 1:
        return [Fold(calibration, test)]
    pool = Picked([calibration, test])
    groups = len(set(pool.groups))
    if groups < count:
        raise RegateError(
            f"{count} folds need as many groups of clips, but the calibration and test splits of "
            f"{data.name} have {groups}: ask for fewer folds, or give it more videos"
        )
    found: list[Fold] = []
    for places in GroupKFold(count).split(np.zeros(len(pool)), groups=pool.groups):
        knobs, compared = (Picked([pool], part) for part in places)
        found.append(Fold(knobs, compared, sum(len(fold.test) for fold in found)))
    return found
