"""The two programs of a session: for a stream's first frame and for every later one."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from backbones.vit import Backbone
from datamodules.errors import RegateError
from policy.atomic import atomic_write
from policy.cost import BackboneMacs
from policy.exporting.step import FirstFrame, LaterFrame
from policy.gates.base import Gate
from policy.gates.top_k import TopK
from policy.provenance import command, commit

FIRST, STEP = "first.pt2", "step.pt2"
METADATA = "regate.json"
"""Name under which a program carries what it is: ``torch.export.load(…, extra_files=…)``."""


@dataclass(frozen=True)
class Programs:
    """What a session does, written down by ``torch.export``.

    Two programs and not one with a branch: a graph without control flow passes through every
    compiler, and whoever runs it can make a stream dense again at any time, as at a scene cut.

    Attributes:
        first: ``FirstFrame``: frames → outputs with a state.
        step: ``LaterFrame``: frames, state → outputs with the next state.
        gate: Whose patches ``step`` recomputes.
        spent: On a later frame, as a fraction of the dense frame's MACs.
        metadata: What the files say of themselves, as plain values.
    """

    first: ExportedProgram
    step: ExportedProgram
    gate: TopK
    spent: float
    metadata: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write ``first.pt2`` and ``step.pt2``, each with its own copy of the weights.

        Raises:
            RegateError: If they cannot be written.
        """
        for name, program in ((FIRST, self.first), (STEP, self.step)):
            with atomic_write(folder / name) as temporary, temporary.open("wb") as file:
                torch.export.save(program, file, extra_files={METADATA: json.dumps(self.metadata)})


def programs(backbone: Backbone, gate: Gate, patches: int, streams: int = 1) -> Programs:
    """Export a session of a fixed count of patches per later frame.

    A calibrated gate is taken as it serves what such a frame spends, every frame being looked at:
    at that knob, or as the heuristic that it falls back to there.

    Args:
        backbone: On the device, and in the dtype, that the programs will run in.
        gate: With one mask for all blocks, and a score.
        patches: That are recomputed on each later frame; prefix tokens are on top.
        streams: That go in lock-step.

    Raises:
        RegateError: If the gate cannot pick a fixed count, or the count does not fit the frame.
    """
    most = backbone.num_tokens - backbone.num_prefix_tokens
    if not 1 <= patches <= most:
        raise RegateError(
            f"a frame of {backbone.name} has {most} patches, so that 1 to {most} can be "
            f"recomputed, not {patches}"
        )
    if streams < 1:
        raise RegateError(f"streams must be 1 or more, got {streams}")
    ranked = _as_served(backbone, gate, patches)
    height, width = backbone.image_size
    frames = backbone.mean.new_zeros(streams, backbone.in_chans, height, width)
    first, later = FirstFrame(backbone).eval(), LaterFrame(backbone, ranked).eval()
    with torch.no_grad():
        state = first(frames)["state"]
        spent = _spent(backbone, ranked)
        return Programs(
            first=torch.export.export(first, (frames,), strict=False),
            step=torch.export.export(later, (frames, state), strict=False),
            gate=ranked,
            spent=spent,
            metadata=_metadata(backbone, ranked, streams, spent),
        )


def _as_served(backbone: Backbone, gate: Gate, patches: int) -> TopK:
    """The top patches of what serves a budget as large as they cost."""
    ranked = TopK(gate, patches)
    setting = gate.unpaced_setting(min(_spent(backbone, ranked), 1.0))
    ranked = TopK(setting.gate, patches)
    ranked.knob = setting.knob
    return ranked


def _spent(backbone: Backbone, gate: TopK) -> float:
    """On a later frame, as a fraction of the dense frame's MACs."""
    macs = BackboneMacs.of(backbone)
    recompute = torch.zeros(1, backbone.depth, backbone.num_tokens, dtype=torch.bool)
    recompute[..., : backbone.num_prefix_tokens + gate.count] = True
    return float(macs.frame(recompute) + macs.gate(gate, recompute)) / macs.dense


def _metadata(backbone: Backbone, gate: TopK, streams: int, spent: float) -> dict[str, Any]:
    return {
        "backbone": backbone.name,
        "fingerprint": backbone.fingerprint,
        "preprocessing": backbone.preprocessing.to_json(),
        "policy": gate.gate.name,
        "knob": gate.knob,
        "patches": gate.count,
        "grid": list(backbone.grid),
        "num_prefix_tokens": backbone.num_prefix_tokens,
        "streams": streams,
        "spent": spent,
        "command": command(),
        "commit": commit(),
    }
