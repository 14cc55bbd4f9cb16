"""The sentences under the table: what the numbers are, over what, and who wins."""

from policy.compare.results import Paired, Results, best_at

VERDICT_METRICS = ("kl", "agreement")


def legend_lines(results: Results) -> list[str]:
    """What the columns mean, on which videos, and what is missing."""
    meta = results.meta
    lines = [
        f"Split {meta.get('split', 'unknown')}: {_count(meta.get('clips'), 'video')} in "
        f"{_count(meta.get('groups'), 'group')}. spent: fraction of the "
        f"{si(meta.get('dense_macs'))}MACs of a dense frame, mean over the frames after the "
        "first (1 MAC = 2 FLOPs).",
        f"KL, agreement and cosine are to {meta.get('reference', 'the dense model')}.",
        f"Intervals: {meta.get('interval')}.",
    ]
    if any(row.budget is not None for row in results.rows):
        lines.append(
            "Quality is read at the asked budget, linear in log MACs between a policy's knobs. "
            "* lowest KL at its budget."
        )
    if any(row.interpolated for row in results.rows):
        lines.append(
            "~ interpolated: the frozen knob's realised spent is more than 2 % off the budget."
        )
    if any(row.fallback for row in results.rows):
        lines.append("† the threshold serves there, in all seeds or some, as the gate file says.")
    if meta.get("folds", 1) != 1 and any(row.learned for row in results.rows):
        lines.append(
            "Folds: a gate whose training chose its weights on these clips is tested on them too."
        )
    if meta.get("no_accuracy"):
        lines.append(f"Accuracy is left out: {meta['no_accuracy']}.")
    return lines + list(dict.fromkeys(f"{r.policy}: {r.note}" for r in results.rows if r.note))


def verdict_lines(results: Results) -> list[str]:
    """Each learned policy against the best heuristic, budget by budget."""
    entries = {(e.policy, e.against, e.budget, e.metric): e for e in results.paired}
    lines = []
    for policy in dict.fromkeys(row.policy for row in results.rows if row.learned):
        for budget in sorted({entry.budget for entry in results.paired}):
            best = best_at(results.rows, budget, learned=False)
            keys = [(policy, best, budget, metric) for metric in VERDICT_METRICS]
            found = [_difference(entries[key]) for key in keys if key in entries]
            if found:
                lines.append(f"{policy} − {best} at {budget:g}: " + "; ".join(found))
    return lines


def verdict(entry: Paired) -> str:
    """``wins``, ``loses`` or ``level``; ``no interval`` where nothing can be said."""
    if entry.interval is None:
        return "no interval"
    if entry.wins:
        return "wins"
    low, high = entry.interval
    return "loses" if low > 0 or high < 0 else "level"


def si(value: object) -> str:
    """A count with three digits and its prefix, ``1.26 G``; ends in a space before the unit."""
    if not isinstance(value, int | float):
        return "? "
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.3g} "


def _difference(entry: Paired) -> str:
    if entry.difference is None:
        return f"{entry.metric} not reached by both"
    text = f"{entry.metric} {entry.difference:+.3f}"
    if entry.interval is not None:
        text += f" [{entry.interval[0]:+.3f}, {entry.interval[1]:+.3f}]"
    return f"{text} {verdict(entry)}"


def _count(number: object, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
