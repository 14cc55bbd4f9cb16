"""Quality against the frames since the dense one: whether errors of reuse add up."""

from collections.abc import Sequence

import numpy as np

from policy.compare.records import Sweep
from policy.compare.results import Drift, Row


def drift(sweeps: Sequence[Sweep], rows: Sequence[Row]) -> list[Drift]:
    """Read each row's policy at the row's frozen knob, frame by frame.

    Args:
        sweeps: One per policy, seeds averaged.
        rows: Of the table; one at a budget that its policy cannot be calibrated for is left out.
    """
    by_policy = {sweep.policy: sweep for sweep in sweeps}
    entries = []
    for row in rows:
        if row.budget is not None and row.knob is None:
            continue
        sweep = by_policy[row.policy]
        # The sweep has a knob calibrated for just this budget; without a budget it has but one.
        index = 0 if row.knob is None else int(np.abs(sweep.knobs - row.knob).argmin())
        entries.append(
            Drift(
                policy=row.policy,
                learned=row.learned,
                budget=row.budget,
                spent=row.spent,
                kl=sweep.over_frames["kl"][:, index].tolist(),
                agreement=sweep.over_frames["agreement"][:, index].tolist(),
            )
        )
    return entries
