r"""Does reuse cost accuracy at a task? An action head on dense features, read from gated ones.

    python docs/action_head.py --root data/ut-interaction --csv annotations.csv \
        --weights vit_tiny.safetensors --gates gate.safetensors threshold.safetensors

A linear classifier learns the videos' labels from the mean and the spread over frames of the frozen
model's *dense* features. It is then given held-out videos as each gate serves them, budget by
budget. Folds never divide a group (a scene). Differences to dense are paired per video, with a 95 %
bootstrap interval over groups of videos. The gates were trained without labels, on some of the
scenes; 120 clips decide little, and the table shows how little.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from backbones.loading import load_backbone
from backbones.vit import Backbone
from datamodules.base import SPLITS
from datamodules.folder import VideoFolder
from datamodules.records import Clip
from policy.compare.bootstrap import resample_counts, t_interval, weighted_mean
from policy.gate_file import load_gate
from policy.gates.base import Gate
from policy.quality import dense_clip
from policy.session import ReuseSession

RESAMPLES = 2000
DENSE = ("dense", 1.0)
Setting = tuple[str, float]
Array = npt.NDArray[np.float64]


@torch.no_grad()
def served(backbone: Backbone, gate: Gate, budget: float, frames: Tensor) -> tuple[Tensor, float]:
    """Features of a clip's frames as a gate serves them [t, d], and mean spent of the later ones.

    Args:
        backbone: The frozen model.
        gate: Calibrated.
        budget: Asked for.
        frames: Normalised, [t, c, h, w].
    """
    session = ReuseSession(backbone, gate, budget=budget)
    results = [session.step(frame) for frame in frames]
    spent = np.mean([float(result.spent) for result in results[1:]])
    return torch.cat([result.features for result in results]), float(spent)


def described(features: Tensor) -> Array:
    """One vector per clip: mean and standard deviation over its frames, [2 d]."""
    return torch.cat([features.mean(0), features.std(0)]).double().numpy()


def predictions(
    dense: Array,
    seen: Array,
    labels: npt.NDArray[np.int64],
    groups: Sequence[str],
    folds: int,
) -> npt.NDArray[np.int64]:
    """Classes of every clip as ``seen``, from heads that learned the other folds' ``dense``, [n].

    Args:
        dense: [n, f].
        seen: Likewise, of a policy.
        labels: [n].
        groups: Of the clips.
        folds: Of groups.
    """
    found = np.empty_like(labels)
    for learned, held_out in GroupKFold(folds).split(dense, labels, groups):
        head = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
        head.fit(dense[learned], labels[learned])
        found[held_out] = head.predict(seen[held_out])
    return found


def collected(
    backbone: Backbone, gates: Sequence[Gate], budgets: Sequence[float], clips: Sequence[Clip]
) -> tuple[dict[Setting, Array], dict[Setting, float]]:
    """Vectors of all clips, each [n, f], and mean spent, of dense and of each gate and budget."""
    vectors: dict[Setting, list[Array]] = {}
    spent: dict[Setting, list[float]] = {}
    for clip in track(clips, "serving", transient=True):
        frames = backbone.normalize(clip.frames)
        seen = {DENSE: (dense_clip(backbone, frames).features, 1.0)}
        for gate in gates:
            for budget in budgets:
                seen[(gate.name, budget)] = served(backbone, gate, budget, frames)
        for setting, (features, cost) in seen.items():
            vectors.setdefault(setting, []).append(described(features))
            spent.setdefault(setting, []).append(cost)
    means = {setting: float(np.mean(costs)) for setting, costs in spent.items()}
    return {setting: np.stack(found) for setting, found in vectors.items()}, means


def main(options: argparse.Namespace) -> None:
    """Print one row per gate and budget."""
    backbone = load_backbone(options.backbone, options.weights)
    data = VideoFolder(
        root=options.root,
        csv=options.csv,
        group_column=options.group_column,
        num_frames=options.frames,
        fps=options.fps,
    )
    data.resize_crop = backbone.resize_crop
    clips = [split[place] for split in map(data.dataset, SPLITS) for place in range(len(split))]
    gates = [load_gate(path, backbone) for path in options.gates]
    vectors, spent = collected(backbone, gates, options.budgets, clips)
    labels = np.array([int(clip.labels[0]) for clip in clips])
    groups = [clip.group for clip in clips]
    right = {
        setting: predictions(vectors[DENSE], seen, labels, groups, options.folds) == labels
        for setting, seen in vectors.items()
    }
    print(f"{len(clips)} clips, {len(set(groups))} groups, {len(data.class_names)} classes\n")
    print("| policy | asked | spent | accuracy | minus dense |\n|---|---|---|---|---|")
    counts = resample_counts(groups, RESAMPLES, 0)
    rows = []
    for (name, budget), hits in right.items():
        apart = hits.astype(float) - right[DENSE]
        low, high, _ = t_interval(weighted_mean(counts, apart), len(set(groups)))
        row = {"policy": name, "budget": budget, "spent": spent[(name, budget)]}
        row |= {"accuracy": float(hits.mean()), "difference": float(apart.mean())}
        rows.append(row | {"interval": [float(low), float(high)]})
        print(
            f"| {name} | {budget:g} | {spent[(name, budget)]:.3f} | {hits.mean():.3f} | "
            f"{apart.mean():+.3f} [{low:+.3f}, {high:+.3f}] |"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", required=True, help="folder of labelled videos")
    parser.add_argument("--csv", help="table of them: path, label, group")
    parser.add_argument("--group_column", default="sequence")
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--gates", nargs="+", required=True, help="calibrated gate files")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.1, 0.2, 0.35])
    parser.add_argument("--frames", type=int, default=24, help="of each clip")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
