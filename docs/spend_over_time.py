r"""What policies spend frame by frame after the dense one, each at the knob frozen for a budget.

    regate compare --config configs/compare/synthetic.yaml --policies threshold,ppo \
        --gates runs/ppo/gate.safetensors --out runs/compare
    python docs/spend_over_time.py runs/compare/results.json --out spend_over_time.png

One panel per budget, one line per policy, mean over the clips of the split. A policy whose line is
that of the threshold spends when the threshold does, so what it changes is which patches; one that
saves for later or spends beforehand lies elsewhere.

The table says how much spending varies over the frames: its standard deviation over its mean.
A paced policy holds the same frames of every clip, and its line is a comb.
"""

import argparse
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from policy.compare.figure import png
from policy.compare.figure_style import FAINT, INK, Look, looks, quiet
from policy.compare.results import PlotCurve

HEURISTIC = "threshold"
"""Drawn beside the learned policies where none are named."""

Entry = Mapping[str, Any]
"""One of ``drift`` in results.json."""


def read_results(path: Path) -> dict[str, Any]:
    """A comparison's results.

    Raises:
        SystemExit: If there are none, or they lack what frames spent.
    """
    if not path.is_file():
        raise SystemExit(f"error: no {path}: `regate compare --out FOLDER` writes results.json")
    results: dict[str, Any] = json.loads(path.read_text())
    if not all("spent_by_frame" in entry for entry in results.get("drift", [{}])):
        raise SystemExit(
            f"error: {path} does not say what each frame spent: make it again by `regate compare`"
        )
    return results


def chosen(
    results: Mapping[str, Any], policies: Sequence[str], budgets: Sequence[float]
) -> list[Entry]:
    """What is to be drawn, in the order of the comparison.

    Args:
        results: Of a comparison.
        policies: By name; the learned ones and the threshold if empty.
        budgets: All of the comparison if empty.

    Raises:
        SystemExit: If one of them was not compared.
    """
    entries = [entry for entry in results["drift"] if entry["budget"] is not None]
    known = {
        "policy": list(dict.fromkeys(entry["policy"] for entry in entries)),
        "budget": sorted({entry["budget"] for entry in entries}),
    }
    for what, asked in (("policy", policies), ("budget", budgets)):
        for one in asked:
            if one not in known[what]:
                listed = ", ".join(map(str, known[what])) or "none"
                raise SystemExit(f"error: no {what} {one} with a knob was compared, but {listed}")
    return [
        entry
        for entry in entries
        if (
            entry["policy"] in policies
            if policies
            else entry["learned"] or entry["policy"] == HEURISTIC
        )
        and (not budgets or entry["budget"] in budgets)
    ]


def draw(entries: Sequence[Entry], styles: Mapping[str, Look]) -> Figure:
    """One panel per budget."""
    budgets = sorted({entry["budget"] for entry in entries})
    figure = Figure(figsize=(3.1 * len(budgets) + 0.3, 3.3), layout="constrained", dpi=150)
    for panel, budget in zip(
        figure.subplots(1, len(budgets), squeeze=False)[0], budgets, strict=True
    ):
        panel.axhline(budget, color=FAINT, lw=0.9, ls=(0, (1, 2.5)), zorder=1)
        for entry in entries:
            if entry["budget"] == budget:
                spent = entry["spent_by_frame"]
                look = styles[entry["policy"]].line() | {"markersize": 3.0}
                panel.plot(range(1, len(spent) + 1), spent, label=entry["policy"], **look)
        panel.set_title(f"budget {budget:g}", fontsize=9.5, loc="left", color=INK)
        _finish(panel)
    first = figure.axes[0]
    first.set_ylabel("spent: fraction of dense MACs", fontsize=9, color=INK)
    handles, labels = first.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False,
        fontsize=8.5, labelcolor=INK,
    )  # fmt: skip
    return figure


def _finish(panel: Axes) -> None:
    panel.set_ylim(0, 1.08 * panel.get_ylim()[1])
    panel.set_xlabel("frames since the dense one", fontsize=9, color=INK)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    quiet(panel)


def print_table(entries: Sequence[Entry]) -> None:
    """In Markdown, one row per policy and budget."""
    print("| budget | policy | spent | lowest frame | highest frame | deviation / mean |")
    print("|---|---|---|---|---|---|")
    for entry in sorted(entries, key=lambda entry: float(entry["budget"])):
        spent = np.array(entry["spent_by_frame"])
        print(
            f"| {entry['budget']:g} | {entry['policy']} | {spent.mean():.3f} | {spent.min():.3f} | "
            f"{spent.max():.3f} | {spent.std() / spent.mean():.2f} |"
        )


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and the results, print and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="results.json of a comparison")
    parser.add_argument(
        "--policies", nargs="+", default=[], help="the learned ones and threshold by default"
    )
    parser.add_argument("--budgets", type=float, nargs="+", default=[], help="all by default")
    parser.add_argument("--out", type=Path, default=Path("spend_over_time.png"), help="a .png file")
    args = parser.parse_args(words)
    if args.out.suffix != ".png":
        parser.error(f"--out must end in .png, got {args.out}")
    results = read_results(args.results)
    entries = chosen(results, args.policies, args.budgets)
    if not entries:
        raise SystemExit(
            f"error: {args.results} has no learned policy and no threshold: name --policies"
        )
    print_table(entries)
    styles = looks([PlotCurve(**curve) for curve in results["curves"]])
    picture = Image.open(io.BytesIO(png(draw(entries, styles))))
    # A palette: a third of the size, and lines need no more colours.
    picture.convert("RGB").quantize(256).save(args.out, optimize=True)
    print(f"\nwrote {args.out} ({args.out.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
