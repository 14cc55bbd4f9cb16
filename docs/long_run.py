"""How far a gate strays from dense on a long video, window by window, without and with a guard.

    python docs/long_run.py one-by-one-person-detection.mp4 bottle-detection.mp4 \
        --gate checkpoints/gates/vit_tiny_patch16_224.safetensors --weights vit_tiny.safetensors

What is shown changes from window to window, and KL with it. So each window is also held against a
session that begins afresh there: what it does better is what the frames before have spoilt, and a
rank correlation tells whether that grows.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr

from backbones.vit import Backbone
from datamodules.video import read_frames
from policy.divergence import kl_to_dense
from policy.gates.base import Gate
from policy.guard import Guard
from policy.serving.opening import open_session
from policy.session import ReuseSession

FRESH = "begun afresh"
ALONE = "no guard"

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """One session over one video; each [t]."""

    kl: FloatArray
    agrees: FloatArray
    spent: FloatArray
    flushes: int


def run(
    video: Path,
    backbone: Backbone,
    gate: Gate,
    budget: float,
    guards: dict[str, Guard | None],
    window: int,
    count: int | None = None,
) -> dict[str, Run]:
    """Pass a video through a session per guard, and through one that is reset at each window.

    Args:
        video: The file.
        backbone: Also the dense model.
        gate: Calibrated.
        budget: Of all sessions.
        guards: By name.
        window: Frames.
        count: Frames to read; None for all.
    """
    sessions = {
        name: ReuseSession(backbone, gate, budget, guard=guard)
        for name, guard in ({FRESH: None} | guards).items()
    }
    rows: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in sessions}
    for frame in read_frames(video, count=count):
        if frame.index % window == 0:
            sessions[FRESH].reset()
        tensor = backbone.preprocess(frame.image)
        with torch.no_grad():
            dense = backbone(tensor.unsqueeze(0)).double()
        for name, session in sessions.items():
            result = session.step(tensor)
            kl = kl_to_dense(dense, result.logits.double())
            agrees = dense.argmax(-1) == result.logits.argmax(-1)
            flush = result.guard.cut | result.guard.aged
            rows[name].append((float(kl), float(agrees), float(result.spent), float(flush)))
    found = {}
    for name, of_frames in rows.items():
        kl, agrees, spent, flush = np.array(of_frames).T
        found[name] = Run(kl, agrees, spent, int(flush.sum()))
    return found


def windows(values: FloatArray, size: int) -> FloatArray:
    """Means of whole windows, [t // size]; frames after the last are left out."""
    whole = len(values) // size * size
    means: FloatArray = values[:whole].reshape(-1, size).mean(1)
    return means


def growth(kl: FloatArray, fresh: FloatArray) -> tuple[float, float]:
    """Whether what earlier frames have spoilt grows over the windows, both [w].

    Returns:
        Spearman's correlation of the excess over ``fresh`` with the number of the window, the
        first left out, where both are the same; and its one-sided p value.
    """
    excess = (kl - fresh)[1:]
    found = spearmanr(np.arange(len(excess)), excess, alternative="greater")
    return float(found.statistic), float(found.pvalue)


def print_tables(video: str, runs: dict[str, Run], window: int) -> None:
    """In Markdown: sums of each session, and the KL of each window."""
    fresh = windows(runs[FRESH].kl, window)
    print(f"\n{video}, {len(runs[FRESH].kl)} frames\n")
    print("| session | spent | KL | agreement | flushes | excess KL, last half | growth: ρ, p |")
    print("|---|---|---|---|---|---|---|")
    for name, found in runs.items():
        kl = windows(found.kl, window)
        excess = (kl - fresh)[len(kl) // 2 :].mean()
        # Where a flush falls on the start of each window, nothing is left of what came before.
        same = np.allclose(kl, fresh)
        trend = "–" if same else "{:+.2f}, {:.3f}".format(*growth(kl, fresh))
        print(
            f"| {name} | {found.spent[1:].mean():.4f} | {found.kl.mean():.3f} | "
            f"{found.agrees.mean():.3f} | {found.flushes} | {excess:+.3f} | {trend} |"
        )
    print("\n| frames from | " + " | ".join(runs) + " |\n|---" + "|---" * len(runs) + "|")
    for index, row in enumerate(zip(*(windows(r.kl, window) for r in runs.values()), strict=True)):
        print(f"| {index * window} | " + " | ".join(f"{value:.3f}" for value in row) + " |")


def draw(videos: dict[str, dict[str, Run]], window: int, out: Path) -> None:
    """KL of each window, one panel per video."""
    figure, axes = plt.subplots(
        1, len(videos), figsize=(5.2 * len(videos), 3.6), squeeze=False, layout="constrained"
    )
    for panel, (video, runs) in zip(axes[0], videos.items(), strict=True):
        for name, found in runs.items():
            kl = windows(found.kl, window)
            middle = (np.arange(len(kl)) + 0.5) * window
            look = {"color": "#7b8791", "linestyle": ":"} if name == FRESH else {}
            panel.plot(middle, kl, marker="o", markersize=3, label=name, **look)
        panel.set(title=video, xlabel="frame", ylabel="KL to dense, nats", ylim=(0, None))
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(out, dpi=150)


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, run, print and draw."""
    parser = argparse.ArgumentParser(description="Long videos, without and with a guard.")
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--gate", required=True, help="calibrated gate file")
    parser.add_argument("--weights", default="pretrained", help="of its backbone")
    parser.add_argument("--budget", type=float, default=0.25)
    parser.add_argument("--max_age", type=int, nargs="*", default=[100, 50])
    parser.add_argument("--window", type=int, default=100, help="frames")
    parser.add_argument("--frames", type=int, help="of each video; all by default")
    parser.add_argument("--out", type=Path, default=Path("long_run.png"))
    args = parser.parse_args(words)
    opened = open_session(args.gate, weights=args.weights, budget=args.budget)
    guards = {ALONE: None} | {f"max_age {age}": Guard(max_age=age) for age in args.max_age}
    found = {}
    for video in args.videos:
        found[video.stem] = run(
            *(video, opened.backbone, opened.gate, args.budget, guards, args.window, args.frames)
        )
        print_tables(video.name, found[video.stem], args.window)
    draw(found, args.window, args.out)
    print(f"\nwrote {args.out}")


if __name__ == "__main__":
    main()
