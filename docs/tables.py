"""Print a comparison's results.json as the Markdown tables of docs/results.md.

python docs/tables.py runs/demo/results.json
"""

import json
import sys
from pathlib import Path
from typing import Any

METRICS = ("kl", "agreement", "cosine", "accuracy")
"""Of a dozen in the file: what fits a page."""


def main(path: str) -> None:
    """Print what was run, one row per policy and budget, and how the learned policies compare."""
    results: dict[str, Any] = json.loads(Path(path).read_text())
    print_run(results["meta"])
    print_rows(results["rows"])
    print_pairs(results["rows"], results["paired"])


def print_run(meta: dict[str, Any]) -> None:
    """The command and what it ran on."""
    print(f"`{meta['command']}`\n")
    folds = meta.get("folds", 1)
    videos = "test videos" if folds == 1 else f"videos in {folds} folds"
    print(f"| commit | machine | gates | {videos} | in groups | dense MACs |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {meta['commit'][:8]} | {meta['machine']} | {len(meta['gates'])} | {meta['clips']} | "
        f"{meta['groups']} | {meta['dense_macs'] / 1e6:.1f} M |\n"
    )
    if meta["data"].get("disturbance"):
        kind, *settings = meta["data"]["disturbance"].items()
        told = ", ".join(f"{name} {value}" for name, value in settings)
        print(f"{kind[1]} ({told}). KL, agreement and cosine are to {meta['reference']}.\n")


def print_rows(rows: list[dict[str, Any]]) -> None:
    """One row per policy and budget; the lowest KL of each budget in bold."""
    metrics = [name for name in METRICS if name in rows[0]]
    print("| asked | policy | spent | " + " | ".join(metrics) + " | ms | state |")
    print("|---" * (len(metrics) + 5) + "|")
    for row in rows:
        asked = "" if row["budget"] is None else f"{row['budget']:g}"
        rivals = [other["kl"]["value"] for other in rows if other["budget"] == row["budget"]]
        best = asked and row["kl"]["value"] == min(value for value in rivals if value is not None)
        name = f"**{row['policy']}**" if best else row["policy"]
        cells = [_with_interval(row[metric]) for metric in metrics]
        milliseconds = "–" if row["ms_mean"] is None else f"{row['ms_mean']:.1f}"
        print(
            f"| {asked} | {name} | {row['spent']:.3f} | {' | '.join(cells)} | "
            f"{milliseconds} | {row['state_bytes'] / 1e6:.2f} MB |"
        )


def print_pairs(rows: list[dict[str, Any]], pairs: list[dict[str, Any]]) -> None:
    """How far the KL of each learned policy is from that of every other, as a share of the latter.

    Bold where the interval lies below 0, in italics where it lies above.
    """
    budgets = sorted({pair["budget"] for pair in pairs})
    print("\n| KL of | against | " + " | ".join(f"at {budget:g}" for budget in budgets) + " |")
    print("|---" * (len(budgets) + 2) + "|")
    kl = {(row["policy"], row["budget"]): row["kl"]["value"] for row in rows}
    found = {
        (pair["policy"], pair["against"], pair["budget"]): pair
        for pair in pairs
        if pair["metric"] == "kl"
    }
    for policy, against in dict.fromkeys((one, other) for one, other, _ in found):
        cells = [_share(found[policy, against, budget], kl[against, budget]) for budget in budgets]
        print(f"| {policy} | {against} | " + " | ".join(cells) + " |")


def _share(pair: dict[str, Any], of: float | None) -> str:
    if pair["difference"] is None or not of:
        return "–"
    text = f"{100 * pair['difference'] / of:+.0f} %"
    if pair["interval"] is None:
        return text
    low, high = pair["interval"]
    text += f" [{100 * low / of:+.0f}, {100 * high / of:+.0f}]"
    if low > 0:
        return f"*{text}*"
    return f"**{text}**" if pair["wins"] else text


def _with_interval(metric: dict[str, Any]) -> str:
    if metric["value"] is None:
        return "–"
    if metric["interval"] is None:
        return f"{metric['value']:.3f}"
    low, high = metric["interval"]
    return f"{metric['value']:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main(sys.argv[1])
