"""Print a comparison's results.json as the Markdown tables of docs/results.md.

python docs/tables.py runs/demo/results.json
"""

import json
import sys
from pathlib import Path
from typing import Any

METRICS = (
    "kl",
    "agreement",
    "agreement_top5",
    "cosine",
    "cosine_worst5",
    "excess_flips",
    "accuracy",
)


def main(path: str) -> None:
    """Print what was run, one row per policy and budget, and the learned policies' pairs."""
    results: dict[str, Any] = json.loads(Path(path).read_text())
    meta = results["meta"]
    rows = results["rows"]
    metrics = [name for name in METRICS if name in rows[0]]
    print(f"`{meta['command']}`\n")
    print(f"| commit | machine | gates | {meta['split']} videos | in groups | dense MACs |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {meta['commit'][:8]} | {meta['machine']} | {len(meta['gates'])} | {meta['clips']} | "
        f"{meta['groups']} | {meta['dense_macs'] / 1e6:.1f} M |\n"
    )
    print("| asked | policy | spent | " + " | ".join(metrics) + " | ms p50 | state |")
    print("|---" * (len(metrics) + 5) + "|")
    for row in rows:
        asked = "" if row["budget"] is None else f"{row['budget']:g}"
        cells = [_with_interval(row[name]) for name in metrics]
        print(
            f"| {asked} | {row['policy']} | {row['spent']:.3f} | {' | '.join(cells)} | "
            f"{row['ms_p50']:.1f} | {row['state_bytes'] / 1e6:.2f} MB |"
        )
    print("\n| policy | against | asked | metric | difference | 95 % | wins |")
    print("|---|---|---|---|---|---|---|")
    for pair in results["paired"]:
        if pair["metric"] in ("kl", "agreement", "cosine") and pair["difference"] is not None:
            low, high = pair["interval"] or (float("nan"), float("nan"))
            print(
                f"| {pair['policy']} | {pair['against']} | {pair['budget']:g} | {pair['metric']} | "
                f"{pair['difference']:+.4f} | {low:+.4f} to {high:+.4f} | "
                f"{'yes' if pair['wins'] else ''} |"
            )


def _with_interval(metric: dict[str, Any]) -> str:
    if metric["value"] is None:
        return "–"
    if metric["interval"] is None:
        return f"{metric['value']:.3f}"
    low, high = metric["interval"]
    return f"{metric['value']:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main(sys.argv[1])
