"""Keeping to a time per frame: from measured milliseconds to the hard budget of the next frame.

Nothing here looks at a clock. Whoever serves says what a frame has spent and how long it took, so
that a simulated machine can take the place of a real one.
"""

import math
from collections import deque

import numpy as np
import numpy.typing as npt

from datamodules.errors import RegateError

FRAMES = 60
"""Newest ones, which the machine is known by."""
FORGETTING = 0.97
"""Weight of a frame beside that of the next."""
QUANTILE = 0.95
"""Of frames that shall keep to the target."""
LEAST_MARGIN = 1.03
"""Of that quantile over the model's time: the calmest machine has some noise."""
SPREAD = 0.1
"""Relative spread of spent at which frames say as much of the slope as the prior does."""
SHIFT = 1.1
"""Factor by which the machine must have slowed down, or sped up, to be taken for another one."""
SLOWED, SPED = 3, 5
"""Newest frames that must agree on it."""
RISE = 1.1
"""Most that the budget grows by from one frame to the next; it falls at once."""
CAUTION = 0.5
"""Of the budget that follows from a single frame."""
AT_FLOOR = 30
"""Frames at the lowest budget after which a target counts as out of reach."""

FloatArray = npt.NDArray[np.float64]


class LatencyController:
    """Steps a hard budget so that 95 of 100 frames take no longer than a target.

    The model is ``ms ≈ a + b · spent``, fitted to the newest frames, of which later ones weigh
    more. Where they all spent nearly the same the slope is not to be seen in them, and is taken for
    the steepest that there can be, a = 0: too small a step costs frames, too large a one the
    target. ``margin`` is the 95 % quantile of measured over modelled time, and the budget is
    ``(target / margin − a) / b``, within the floor and the ceiling.

    When three frames in a row are slower than nearly all before them, by 10 % or more, the machine
    has changed: what is known of it is scaled to them, instead of being outweighed one by one.
    Likewise after five that are faster.

    Args:
        target_ms: Per frame, milliseconds.
        floor: Smallest budget that can be asked for, fraction of the dense frame's MACs.
        ceiling: Largest that may be, and at least the floor.

    Attributes:
        budget: For the next frame.

    Raises:
        RegateError: If the target is not positive.
    """

    def __init__(self, target_ms: float, floor: float, ceiling: float = 1.0) -> None:
        check_target(target_ms)
        self.target_ms = target_ms
        self.floor = floor
        self.ceiling = max(floor, ceiling)
        self.budget = self.ceiling
        self._frames: deque[tuple[float, float]] = deque(maxlen=FRAMES)
        self._at_floor: deque[float] = deque(maxlen=AT_FLOOR)
        self._complained = False

    def observe(self, spent: float, ms: float, steered: bool = True) -> None:
        """Take a frame, and set ``budget`` for the next one.

        Args:
            spent: Fraction of the dense frame's MACs.
            ms: How long it took.
            steered: Whether the budget held for it: not so for a stream's first frame.
        """
        if steered:
            self._at_floor.append(ms)
            if self.budget > self.floor:
                self._at_floor.clear()
        self._frames.append((spent, ms))
        self._follow_shift()
        wanted = self._wanted()
        most = self.budget * RISE if len(self._frames) > 1 else wanted * CAUTION
        self.budget = min(max(min(wanted, most), self.floor), self.ceiling)

    def complaint(self) -> str | None:
        """A sentence, once, when even the lowest budget is found to take longer than the target."""
        if self._complained or len(self._at_floor) < AT_FLOOR:
            return None
        measured = np.array(self._at_floor)
        median, slow = np.median(measured), _upper(measured)
        if slow <= SHIFT * self.target_ms:
            return None
        self._complained = True
        return (
            f"{self.target_ms:g} ms per frame cannot be kept: at the lowest budget, "
            f"{self.floor:.3g}, a frame takes {slow:.3g} ms (95 % of the last {AT_FLOOR} take no "
            f"longer, half of them {median:.3g} ms). It goes on there: ask for more time, take a "
            "smaller backbone or image, or leave the machine less else to do"
        )

    def _wanted(self) -> float:
        """The budget that the frames known so far speak for."""
        spent, ms = self._known()
        base, slope = _line(spent, ms)
        margin = max(_upper(ms / (base + slope * spent)), LEAST_MARGIN)
        return float((self.target_ms / margin - base) / slope)

    def _follow_shift(self) -> None:
        """Scale the older frames to the newest ones where the machine has changed."""
        spent, ms = self._known()
        if len(ms) < 2 * SPED:
            return
        base, slope = _line(spent, ms)
        ratio = ms / (base + slope * spent)
        for newest, sign in ((SLOWED, 1), (SPED, -1)):
            older, newer = sign * np.log(ratio[:-newest]), sign * np.log(ratio[-newest:])
            change = np.median(newer) - np.median(older)
            if newer.min() > _upper(older) and change > np.log(SHIFT):
                ms[:-newest] *= np.exp(sign * change)
                self._frames.clear()
                self._frames.extend(zip(spent.tolist(), ms.tolist(), strict=True))
                return

    def _known(self) -> tuple[FloatArray, FloatArray]:
        """Spent and milliseconds of the newest frames, oldest first."""
        spent, ms = np.array(self._frames).T
        return spent, ms


def check_target(target_ms: float) -> None:
    """Refuse what no frame can take.

    Raises:
        RegateError: If the target is not a positive number.
    """
    if not 0 < target_ms < math.inf:
        raise RegateError(f"latency_ms must be > 0, milliseconds per frame, got {target_ms:g}")


def _upper(values: FloatArray) -> float:
    """The value that a ``QUANTILE`` of them does not exceed."""
    return float(np.sort(values)[math.ceil(QUANTILE * len(values)) - 1])


def _line(spent: FloatArray, ms: FloatArray) -> tuple[float, float]:
    """Base and slope of the weighted line through the frames; see ``LatencyController``."""
    weights = FORGETTING ** np.arange(len(ms))[::-1]
    weights /= weights.sum()
    at, mean = weights @ spent, weights @ ms
    prior = (SPREAD * at) ** 2
    steepest = mean / at
    slope = weights @ ((spent - at) * (ms - mean)) + prior * steepest
    slope /= weights @ (spent - at) ** 2 + prior
    slope = min(max(slope, steepest / 10), steepest)
    return float(mean - slope * at), float(slope)
