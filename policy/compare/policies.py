"""Which policies a comparison runs, each with the gate it runs and its seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from backbones.vit import Backbone
from datamodules.errors import RegateError
from policy.calibration import fit_block_offsets
from policy.gate_file import load_gate
from policy.gates.base import Gate
from policy.gates.heuristic import AlwaysRecompute, ThresholdGate
from policy.policies import DENSE, HEURISTICS, LEARNED, POLICIES, build_gate

OFFSET_CLIPS = 4


@dataclass(frozen=True)
class Entry:
    """One policy in one seed.

    Attributes:
        policy: Its name in tables.
        gate: What decides.
        seed: Of its training, or of its choices.
        learned: Whether it was trained.
    """

    policy: str
    gate: Gate
    seed: int
    learned: bool


def entries(
    policies: Sequence[str], gates: Sequence[str], backbone: Backbone, clips: Sequence[Tensor]
) -> list[Entry]:
    """Make the gates to be compared.

    Args:
        policies: Names, in the order of the table.
        gates: Gate files of the learned policies; several of one policy are its seeds.
        backbone: The frozen model.
        clips: Calibration clips, uint8 [t, c, h, w], for thresholds calibrated per block.

    Raises:
        RegateError: If a name is unknown or given twice, a learned policy has no gate file, or a
            gate file belongs to none of the policies.
    """
    unknown = [name for name in policies if name not in POLICIES]
    if unknown:
        raise RegateError(f"no policy {unknown[0]!r}: choose from {', '.join(POLICIES)}")
    twice = [name for index, name in enumerate(policies) if name in policies[:index]]
    if twice:
        raise RegateError(f"{twice[0]} is named twice in the policies")
    loaded = [load_gate(path, backbone) for path in gates]
    for path, gate in zip(gates, loaded, strict=True):
        if gate.name not in LEARNED or gate.name not in policies:
            raise RegateError(
                f"{path} is a gate of the policy {gate.name}, which is not compared: leave it out "
                f"of --gates, or compare one of {', '.join(LEARNED)} with it"
            )
    found: list[Entry] = []
    for name in policies:
        if name in LEARNED:
            seeds = [gate for gate in loaded if gate.name == name]
            if not seeds:
                raise RegateError(f"{name} is a learned policy: give its files with --gates")
            found += [Entry(name, gate, seed, True) for seed, gate in enumerate(seeds)]
        elif name == DENSE:
            found.append(Entry(name, AlwaysRecompute(), 0, False))
        elif name in HEURISTICS:
            gate = build_gate(name).to(backbone.mean.device)
            if isinstance(gate, ThresholdGate) and name == "threshold-per-block":
                fit_block_offsets(backbone, gate, clips[:OFFSET_CLIPS])
            found.append(Entry(name, gate, 0, False))
    return found
