"""Which policies a comparison runs, each with the gate it runs and its seeds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from backbones.vit import Backbone
from datamodules.errors import RegateError
from policy.budgets.search import fit_missing_offsets
from policy.gate_file import load_gate, read_metadata
from policy.gates.base import Gate
from policy.gates.heuristic import AlwaysRecompute, RandomGate
from policy.policies import DENSE, HEURISTICS, LEARNED, PACED, POLICIES, build_gate, family

RANDOM_SEEDS = (0, 1, 2)
"""Of policies that draw: one draw would make luck a property of the policy."""
SEED_OPTION = re.compile(r"--seed_everything[= ](\d+)\b")


@dataclass(frozen=True)
class Entry:
    """One policy in one seed.

    Attributes:
        policy: Its name in tables.
        gate: What decides.
        seed: Of its choices, or of its training; that of a training whose command names none is
            the place of its file among those of the policy.
        learned: Whether it was trained.
    """

    policy: str
    gate: Gate
    seed: int
    learned: bool

    @property
    def paced(self) -> bool:
        """Whether it looks at a share of the frames, chosen per budget."""
        return self.policy.endswith(PACED)


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
        RegateError: If a name is unknown, it or a file is given twice, a learned policy has no gate
            file or files of different make, or a gate file belongs to none of the policies.
    """
    unknown = [name for name in policies if name not in POLICIES]
    if unknown:
        raise RegateError(f"no policy {unknown[0]!r}: choose from {', '.join(POLICIES)}")
    twice = [name for index, name in enumerate(policies) if name in policies[:index]]
    if twice:
        raise RegateError(f"{twice[0]} is named twice in the policies")
    same = [Path(path).resolve() for path in gates]
    if again := [path for index, path in enumerate(gates) if same[index] in same[:index]]:
        raise RegateError(f"{again[0]} is given twice in --gates: each file is a training seed")
    files = [(path, load_gate(path, backbone)) for path in gates]
    for path, gate in files:
        if gate.name not in LEARNED or gate.name not in map(family, policies):
            raise RegateError(
                f"{path} is a gate of the policy {gate.name}, which is not compared: leave it out "
                f"of --gates, or compare one of {', '.join(LEARNED)} with it"
            )
    found: list[Entry] = []
    for name in policies:
        if family(name) in LEARNED:
            found += _trained(name, [pair for pair in files if pair[1].name == family(name)])
        elif name == DENSE:
            found.append(Entry(name, AlwaysRecompute(), 0, False))
        elif name in HEURISTICS:
            gate = build_gate(name).to(backbone.mean.device)
            fit_missing_offsets(backbone, gate, clips)
            seeds = RANDOM_SEEDS if isinstance(gate, RandomGate) else (0,)
            found += [Entry(name, gate, seed, False) for seed in seeds]
    return found


def _trained(policy: str, files: Sequence[tuple[str, Gate]]) -> list[Entry]:
    """The seeds of a learned policy.

    Raises:
        RegateError: If there are none, or they are no seeds of one training.
    """
    if not files:
        raise RegateError(f"{policy} is a learned policy: give its files with --gates")
    metadata = [read_metadata(path) for path, _ in files]
    first = metadata[0]["settings"]
    for (path, _), its in zip(files, metadata, strict=True):
        if its["settings"] != first:
            one, other = _differing(its["settings"], first)
            raise RegateError(
                f"{path} ({one}) and {files[0][0]} ({other}) are gates of different make, but "
                "files of one policy are averaged as its seeds: compare them one at a time"
            )
    named = [SEED_OPTION.search(its.get("command", "")) for its in metadata]
    return [
        Entry(policy, gate, place if seed is None else int(seed[1]), True)
        for place, ((_, gate), seed) in enumerate(zip(files, named, strict=True))
    ]


def _differing(one: dict[str, Any], other: dict[str, Any]) -> tuple[str, str]:
    """The settings that two gates do not share, as words."""
    keys = [key for key in one | other if one.get(key) != other.get(key)]
    told = (", ".join(f"{key} {its.get(key)}" for key in keys) for its in (one, other))
    return next(told), next(told)
