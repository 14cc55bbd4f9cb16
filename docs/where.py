r"""Where a learned gate spends and where the threshold does, at the same MACs on the same video.

    python docs/where.py one-by-one-person-detection.mp4 --gate gate.safetensors \
        --weights vit_tiny.safetensors --start 50 --frames 80 --out docs/images/where.png

The learned gate runs at the knob of a budget; the threshold's knob is then sought that spends the
same on these very frames. Maps show the share of the later frames on which each patch was
recomputed, over the last frame; the third is the difference.
"""

import argparse
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import brentq
from torch import Tensor

from backbones.preprocessing import Preprocessing
from backbones.vit import Backbone
from datamodules.video import read_frames
from policy.gates import ThresholdGate
from policy.gates.base import Gate
from policy.serving.opening import open_gate
from policy.session import ReuseSession

Array = npt.NDArray[np.float64]


@torch.no_grad()
def spending(backbone: Backbone, gate: Gate, knob: float, frames: Tensor) -> tuple[float, Array]:
    """Mean spent of the frames after the first, and each patch's share of them, [rows, columns].

    Args:
        backbone: The frozen model.
        gate: Any.
        knob: Its setting.
        frames: Preprocessed, [t, c, h, w].
    """
    session = ReuseSession(backbone, gate)
    session.knob = knob
    results = [session.step(frame) for frame in frames][1:]
    masks = torch.cat([result.recompute[:, 0, backbone.num_prefix_tokens :] for result in results])
    share = masks.double().mean(0).reshape(backbone.grid).numpy()
    return float(np.mean([float(result.spent) for result in results])), share


def draw(picture: Array, maps: list[tuple[str, Array]], path: Path) -> None:
    """Three panels: both maps and their difference.

    Args:
        picture: What lies below, [h, w] in [0, 1].
        maps: Threshold and learned gate: a title and shares, [rows, columns].
        path: Of the PNG.
    """
    (_, first), (_, second) = maps
    panels = [*maps, ("learned minus threshold", second - first)]
    figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
    top, apart = max(first.max(), second.max()), abs(second - first).max()
    for axis, (title, shares) in zip(axes, panels, strict=True):
        signed = shares is panels[2][1]
        limits = (-apart, apart) if signed else (0, top)
        axis.imshow(picture, cmap="gray", extent=(0, 1, 1, 0), vmin=-0.5, vmax=1.5)
        image = axis.imshow(
            shares,
            cmap="RdBu_r" if signed else "viridis",
            alpha=0.6,
            extent=(0, 1, 1, 0),
            vmin=limits[0],
            vmax=limits[1],
        )
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
        figure.colorbar(image, ax=axis, shrink=0.75, label="share of frames")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(options: argparse.Namespace) -> None:
    """Run both and write the picture."""
    backbone, gate = open_gate(options.gate, "", options.weights, Preprocessing(), "cpu")
    shown = islice(read_frames(options.video), options.start, options.start + options.frames)
    images = [frame.image for frame in shown]
    frames = torch.stack([backbone.preprocess(image) for image in images])
    setting = gate.setting(options.budget)
    if setting.gate is not gate:
        raise SystemExit(
            f"error: {options.gate} serves the threshold at budget {options.budget:g}, so there "
            "is nothing to compare: ask for another budget"
        )
    # Every frame is looked at: a pace would tell of when, not of where.
    spent, learned = spending(backbone, gate, setting.knob, frames)
    threshold = ThresholdGate()

    def over(knob: float) -> float:
        return spending(backbone, threshold, knob, frames)[0] - spent

    knob = brentq(over, -4.0, 6.0, xtol=0.02)
    same, theirs = spending(backbone, threshold, knob, frames)
    gray = frames[-1].mean(0).double().numpy()
    gray = (gray - gray.min()) / np.ptp(gray)
    maps = [(f"threshold, spent {same:.3f}", theirs), (f"{gate.name}, spent {spent:.3f}", learned)]
    draw(gray, maps, options.out)
    print(f"wrote {options.out}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    parser.add_argument("--gate", required=True, help="a learned gate's file")
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--budget", type=float, default=0.5)
    parser.add_argument("--start", type=int, default=0, help="first frame, counted from 0")
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
