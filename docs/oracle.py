r"""How much a gate could gain: an oracle that knows each frame's dense output, against thresholds.

    python docs/oracle.py --root data/ut-interaction --csv annotations.csv \
        --weights vit_tiny.safetensors --gates gate.safetensors

The oracle's score of a patch is by default its leave-one-out harm: the KL to the dense logits when
every other patch is fresh and this one alone keeps its cache. ``--score derivative`` takes the
derivative of that KL in each patch's share of being fresh instead, averaged along the way from all
reused to all fresh. Patches above a knob are recomputed with one shared mask, and the caches are
those of the oracle's own decisions. It is no policy, since it has to compute the frame many times
over to decide; it says how much of the threshold's distance to dense is a matter of choosing
better, and with ``--gates`` how much of that a learned gate has found. All are read off their own
curves at equal MACs, on the same clips, each frame looked at.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from backbones.loading import load_backbone
from backbones.vit import Backbone
from datamodules.folder import VideoFolder
from policy.budgets.search import spread_clips
from policy.divergence import kl_to_dense
from policy.gate_file import load_gate
from policy.gates import ThresholdGate
from policy.gates.base import BlockView, Decision, Gate
from policy.quality import DenseClip, dense_reference, sweep_clip
from policy.reuse.kv import KVState, MaskedKV
from policy.session import ReuseSession
from policy.signals import log_drift

THRESHOLDS = (3.5, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0)
BATCH = 49
"""Patches left out side by side: as many copies of the caches are held."""
ALONG = (1 / 6, 1 / 2, 5 / 6)
"""Shares of being fresh, of all patches at once, at which derivatives are taken."""
Score = Callable[[Backbone, Tensor, KVState, Tensor], Tensor]


class GivenMask(Gate):
    """Recomputes the patches it was told to before the frame."""

    name = "given"

    def __init__(self) -> None:
        super().__init__()
        self.recompute = torch.empty(0)

    def decide(self, view: BlockView) -> Decision:
        """What was given, bool [s, p]."""
        return Decision(self.recompute)


class _OneMask:
    """A mechanism's gate that answers every block with one mask, [s, n]."""

    def __init__(self, mask: Tensor) -> None:
        self._mask = mask

    def mask(self, *_: object) -> Tensor:
        return self._mask


@torch.no_grad()
def harm(
    backbone: Backbone, tokens: Tensor, caches: KVState, dense: Tensor, share: float
) -> Tensor:
    """Leave-one-out harm of each patch of one stream, nats, [p].

    Args:
        backbone: The frozen model.
        tokens: The frame's embedding, [1, n, d].
        caches: Of the stream before the frame.
        dense: The frame's dense logits, [1, k].
        share: Of the patches that are tried, those that drifted most; the harm of the rest is 0.
    """
    prefix = backbone.num_prefix_tokens
    drift = log_drift(tokens[0, prefix:], caches.reference[0][0, prefix:])
    tried = drift.topk(max(1, round(share * len(drift)))).indices
    found = torch.zeros_like(drift)
    for patches in tried.split(BATCH):
        count = len(patches)
        mask = torch.ones(count, tokens.shape[1], dtype=torch.bool)
        mask[torch.arange(count), patches + prefix] = False
        copies = caches.select(torch.zeros(count, dtype=torch.int64))
        gate = _OneMask(mask)
        out, _, _ = MaskedKV().step(backbone, tokens.expand(count, -1, -1), copies, gate)  # type: ignore[arg-type]
        logits, _, _ = backbone.head(out)
        found[patches] = kl_to_dense(dense.expand(count, -1), logits)
    return found


def derivative(backbone: Backbone, tokens: Tensor, caches: KVState, dense: Tensor) -> Tensor:
    """What making each patch fresh takes off the KL, to first order along the way, nats, [p].

    Args:
        backbone: The frozen model.
        tokens: The frame's embedding, [1, n, d].
        caches: Of the stream before the frame.
        dense: The frame's dense logits, [1, k].
    """
    prefix = backbone.num_prefix_tokens
    total = torch.zeros(tokens.shape[1] - prefix)
    for share in ALONG:
        mask = torch.full(tokens.shape[:2], share)
        mask[:, :prefix] = 1
        mask.requires_grad_()
        with torch.enable_grad():
            out, _, _ = MaskedKV().step(backbone, tokens, caches, _OneMask(mask))  # type: ignore[arg-type]
            kl = kl_to_dense(dense, backbone.head(out)[0]).sum()
            (slope,) = torch.autograd.grad(kl, mask)
        total -= slope[0, prefix:] / len(ALONG)
    return total


@torch.no_grad()
def run_oracle(
    backbone: Backbone, frames: Tensor, dense: DenseClip, knob: float, score: Score
) -> tuple[float, float]:
    """Mean spent and KL of a clip's frames after the first, at one log harm.

    Args:
        backbone: The frozen model.
        frames: Normalised, [t, c, h, w].
        dense: Of the same frames.
        knob: Logarithm of the score above which a patch is recomputed.
        score: ``harm`` or ``derivative``.
    """
    gate = GivenMask()
    session = ReuseSession(backbone, gate, execution="masked")
    spent, kl = [], []
    for index, frame in enumerate(frames):
        reference = dense.logits[index : index + 1]
        if session.state is not None and isinstance(session.state.caches, KVState):
            tokens = backbone.embed(frame.unsqueeze(0))
            found = score(backbone, tokens, session.state.caches, reference)
            gate.recompute = (found > np.exp(knob)).unsqueeze(0)
        result = session.step(frame)
        if index:
            spent.append(float(result.spent))
            kl.append(float(kl_to_dense(reference, result.logits)))
    return float(np.mean(spent)), float(np.mean(kl))


def curve_of(
    backbone: Backbone, gate: Gate, clips: Sequence[Tensor], dense: Sequence[DenseClip]
) -> list[tuple[float, float]]:
    """Mean spent and KL of a gate at each of a series of knobs."""
    knobs = torch.tensor(THRESHOLDS)
    swept = [
        sweep_clip(backbone, gate, frames, reference, knobs)
        for frames, reference in zip(clips, dense, strict=True)
    ]
    spent = torch.stack([clip.spent[1:].mean(0) for clip in swept]).mean(0)
    kl = torch.stack([clip.metrics["kl"] for clip in swept]).mean(0)
    return list(zip(spent.tolist(), kl.tolist(), strict=True))


def read(curve: Sequence[tuple[float, float]], spent: float) -> float:
    """KL at a spending, linear in log MACs; nan outside the curve."""
    x, y = zip(*sorted(curve), strict=True)
    return float(np.interp(np.log(spent), np.log(x), y, left=np.nan, right=np.nan))


def main(options: argparse.Namespace) -> None:
    """Run both and print one line per knob of the oracle."""
    backbone = load_backbone(options.backbone, options.weights)
    data = VideoFolder(
        root=options.root,
        csv=options.csv,
        group_column=options.group_column,
        num_frames=options.frames,
        fps=options.fps,
        clips_per_video=1,
    )
    data.resize_crop = backbone.resize_crop
    found = spread_clips(data, options.clips)
    clips = [backbone.normalize(clip.frames) for clip in found]
    dense = [dense_reference(backbone, clip) for clip in found]
    threshold = curve_of(backbone, ThresholdGate(), clips, dense)
    gates = [load_gate(path, backbone) for path in options.gates]
    learned = [curve_of(backbone, gate, clips, dense) for gate in gates]
    score = derivative if options.score == "derivative" else partial(harm, share=options.candidates)
    points = []
    print("| knob | spent | KL threshold | KL oracle | change | KL learned | change |")
    print("|---|---|---|---|---|---|---|")
    for knob in options.knobs:
        pairs = list(zip(clips, dense, strict=True))
        each = [
            run_oracle(backbone, *pair, knob, score)
            for pair in track(pairs, f"log score {knob:g}", transient=True)
        ]
        spent, kl = np.mean(each, axis=0).tolist()
        theirs = read(threshold, spent)
        ours = float(np.mean([read(curve, spent) for curve in learned])) if learned else np.nan
        points.append({"knob": knob, "spent": spent, "kl": kl, "threshold": theirs, "gate": ours})
        print(
            f"| {knob:g} | {spent:.3f} | {theirs:.3f} | {kl:.3f} | {kl / theirs - 1:+.0%} | "
            f"{ours:.3f} | {ours / theirs - 1:+.0%} |"
        )
    if options.json:
        record = {"threshold": threshold, "points": points, "clips": len(clips)}
        options.json.write_text(json.dumps(record, indent=2))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", required=True, help="folder of videos")
    parser.add_argument("--csv", help="table of them: path, label, group")
    parser.add_argument("--group_column", default="sequence")
    parser.add_argument("--backbone", default="vit_tiny_patch16_224")
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--clips", type=int, default=6, help="of the calibration split")
    parser.add_argument("--frames", type=int, default=8, help="of each clip")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--knobs", type=float, nargs="+", default=[-5.5, -6.5, -7.5, -8.5])
    parser.add_argument("--score", choices=["leave-one-out", "derivative"], default="leave-one-out")
    parser.add_argument("--gates", nargs="*", default=[], help="learned gates' files, averaged")
    parser.add_argument("--candidates", type=float, default=0.5, help="share of patches tried")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
