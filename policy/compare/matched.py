"""Policies compared at the same compute.

Protocol: one knob per policy, quality interpolated in log MACs at the budget inside each
resample, paired over groups of clips, training seeds averaged per clip.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from policy.compare.area import areas, plot_curve
from policy.compare.bootstrap import resample_counts, why_no_interval
from policy.compare.curve import merge_seeds, resampled_curve
from policy.compare.drift import drift
from policy.compare.paired import paired
from policy.compare.records import METRICS, Operating, Sweep
from policy.compare.results import Results, best_heuristic
from policy.compare.rows import rows


def compare(
    sweeps: Sequence[Sweep],
    operating: Sequence[Operating],
    budgets: Sequence[float],
    meta: Mapping[str, object],
    subjects: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Results:
    """Read every policy at every budget.

    Args:
        sweeps: All policies and seeds over the same clips.
        operating: What was measured at the calibrated knobs; may be incomplete.
        budgets: Fractions of the dense MACs, in (0, 1].
        meta: Data, split, fingerprint, seeds, command, commit; copied into the results, with
            the counts of clips and groups and the kind of interval added.
        subjects: Policies to set against every other one. By default the learned ones, or
            without any the best heuristic.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        The results. Point values come from the data themselves, never from the resamples.

    Raises:
        ValueError: If there are no sweeps, or they do not cover the same clips.
    """
    if not sweeps:
        raise ValueError("nothing to compare: no policy was swept")
    merged = merge_seeds(sweeps)
    groups = merged[0].groups
    reason = why_no_interval(groups)
    counts = resample_counts(groups, 0 if reason else resamples, seed)
    metrics = [name for name in METRICS if any(_labelled(sweep, name) for sweep in merged)]
    curves = [resampled_curve(sweep, metrics, counts) for sweep in merged]
    budgets = sorted(set(budgets))

    area = areas(curves, budgets, metrics)
    table = rows(curves, operating, budgets, metrics)
    if subjects is None:
        subjects = [curve.policy for curve in curves if curve.learned] or [
            name for name in [best_heuristic(area, table)] if name is not None
        ]
    interval = (
        f"95 %, Student's t with the standard error of {resamples} paired resamples of the "
        f"{len(set(groups))} groups"
    )
    return Results(
        rows=table,
        paired=paired(curves, budgets, metrics, subjects),
        area=area,
        curves=[plot_curve(curve, metrics) for curve in curves],
        drift=drift(merged, operating, table),
        meta={
            **meta,
            "budgets": budgets,
            "clips": len(groups),
            "groups": len(set(groups)),
            "interval": reason or interval,
            "resamples": len(counts) - 1,
            "bootstrap_seed": seed,
            "dense_macs": merged[0].dense_macs,
        },
    )


def _labelled(sweep: Sweep, metric: str) -> bool:
    return metric in sweep.metrics and bool(np.isfinite(sweep.metrics[metric]).any())
