"""Quality and spending against the frames since the dense one: whether errors of reuse add up."""

from collections.abc import Sequence

from policy.compare.records import Operating, Sweep
from policy.compare.results import Drift, Row


def drift(
    sweeps: Sequence[Sweep], operating: Sequence[Operating], rows: Sequence[Row]
) -> list[Drift]:
    """Read each row's policy at the row's frozen setting, frame by frame.

    Args:
        sweeps: One per policy, seeds averaged.
        operating: Where in the sweeps the budgets lie.
        rows: Of the table; one at a budget that its policy cannot be calibrated for is left out.
    """
    by_policy = {sweep.policy: sweep for sweep in sweeps}
    columns = {(point.policy, point.budget): point.column for point in operating}
    entries = []
    for row in rows:
        # Without a budget there is but one setting.
        column = columns.get((row.policy, row.budget), 0 if row.budget is None else None)
        if column is None:
            continue
        over_frames = by_policy[row.policy].over_frames
        entries.append(
            Drift(
                policy=row.policy,
                learned=row.learned,
                budget=row.budget,
                spent=row.spent,
                kl=over_frames["kl"][:, column].tolist(),
                agreement=over_frames["agreement"][:, column].tolist(),
                spent_by_frame=over_frames["spent"][:, column].tolist(),
            )
        )
    return entries
