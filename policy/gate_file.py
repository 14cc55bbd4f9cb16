"""Gate files: weights and all that is needed to serve them, in one ``.safetensors``."""

import json
import math
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from backbones.preprocessing import Preprocessing
from backbones.vit import Backbone
from datamodules.errors import RegateError, RegateWarning
from policy.atomic import atomic_write
from policy.budgets.table import Calibration
from policy.gates.base import Gate, Masks
from policy.gates.heuristic import ThresholdGate
from policy.gates.learned import LearnedGate
from policy.gates.selective import SelectiveGate
from policy.policies import HEURISTICS, LEARNED, build_gate
from policy.provenance import command, commit
from policy.rl.actor_critic import Actor

SCHEMA = 1
KEY = "regate"
MECHANISM = "kv"
REQUIRED = ("policy", "settings", "knob", "mechanism", "masks", "backbone", "identity")

Metadata = dict[str, Any]


def save_gate(
    path: str | os.PathLike[str], gate: Gate, backbone: Backbone, made_by: str = ""
) -> None:
    """Write a gate with its calibration, and of which backbone on which frames it is.

    Args:
        path: Ends in ``.safetensors``; replaced as a whole or not at all.
        gate: A heuristic that has a name in ``policy.policies``, or what a training made.
        backbone: That it was trained or calibrated on, with its preprocessing.
        made_by: The command that trained it; the one that runs if empty.

    Raises:
        RegateError: If the gate could not be loaded again, a weight is NaN or infinite, or the
            file cannot be written.
    """
    _check_known(gate)
    tensors = {name: value.contiguous() for name, value in gate.state_dict().items()}
    _check_finite(tensors, "the gate to be saved")
    calibration = gate.calibration
    metadata: Metadata = {
        "schema": SCHEMA,
        "policy": gate.name,
        "settings": _settings(gate),
        "knob": gate.knob if math.isfinite(gate.knob) else None,
        "mechanism": MECHANISM,
        "masks": str(gate.masks),
        "backbone": backbone.name,
        "identity": _identity(backbone),
        "preprocessing": backbone.preprocessing.to_json(),
        "calibration": calibration.to_json() if calibration else None,
        "budgets": [calibration.spent[0], calibration.spent[-1]] if calibration else None,
        "command": made_by or command(),
        "commit": commit(),
    }
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={KEY: json.dumps(metadata)})


def load_gate(path: str | os.PathLike[str], backbone: Backbone) -> Gate:
    """Read a gate for a backbone, ready to serve.

    Warns:
        RegateWarning: If the backbone's frames are not like those that it was calibrated on, or
            the threshold serves some of its budgets.

    Raises:
        RegateError: If the file is absent, damaged, no gate file, of a newer schema, of another
            backbone (both are named), or holds NaN.
    """
    metadata = read_metadata(path)
    _check_complete(path, metadata)
    try:
        return _loaded(path, metadata, backbone)
    except RegateError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise RegateError(
            f"{path} has metadata that cannot be read ({_first_line(error)}): export it again, or "
            "update regate if a newer one wrote it"
        ) from error


def _loaded(path: str | os.PathLike[str], metadata: Metadata, backbone: Backbone) -> Gate:
    """The gate of a file that is complete."""
    _check_same_backbone(path, metadata, backbone)
    _warn_of_other_frames(path, metadata, backbone)
    gate = _build(path, metadata)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        gate.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise RegateError(f"{path} is damaged ({_first_line(error)}): export it again") from error
    _check_finite(tensors, str(path))
    if metadata["knob"] is not None:
        gate.knob = float(metadata["knob"])
    if metadata.get("calibration") is not None:
        gate.calibration = Calibration.from_json(metadata["calibration"])
        _warn_of_fallback(path, gate)
    gate.requires_grad_(False)
    return gate.to(backbone.mean.device).eval()


def read_metadata(path: str | os.PathLike[str]) -> Metadata:
    """What a gate file says of itself, without its weights.

    Raises:
        RegateError: If the file is absent, damaged, no gate file, or of a newer schema.
    """
    if not Path(path).is_file():
        raise RegateError(f"no gate file {path}: train one with `regate fit`, or see checkpoints/")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
    except (SafetensorError, OSError) as error:
        raise RegateError(
            f"{path} is no readable .safetensors file ({_first_line(error)})"
        ) from error
    if text is None:
        raise RegateError(f"{path} is a .safetensors file but no gate: `regate export` writes them")
    try:
        metadata: Metadata = json.loads(text)
        newer = metadata["schema"] > SCHEMA
    except (ValueError, TypeError, KeyError) as error:
        raise RegateError(
            f"{path} has metadata that cannot be read ({_first_line(error)}): export it again"
        ) from error
    if newer:
        raise RegateError(
            f"{path} has gate schema {metadata['schema']}, this version reads up to {SCHEMA}: "
            "update regate"
        )
    return metadata


def calibrated_on(metadata: Metadata) -> Preprocessing:
    """What happened to the images that a gate was calibrated on.

    Args:
        metadata: From ``read_metadata``. Of older files nothing is known: each setting is None.
    """
    return Preprocessing.from_json(metadata.get("preprocessing") or {})


def _settings(gate: Gate) -> dict[str, Any]:
    if isinstance(gate, LearnedGate):
        settings = {key: getattr(gate, key) for key in ("dim", "depth", "rank", "hidden")}
        return settings | {"releases": len(gate.releases) > 0}
    if isinstance(gate, SelectiveGate):
        return _settings_of_agent(gate)
    if isinstance(gate, ThresholdGate):
        return {"offsets": gate.offsets}
    return {}


def _settings_of_agent(gate: SelectiveGate) -> dict[str, Any]:
    if not isinstance(gate.actor, Actor):
        raise RegateError(
            f"the actor of the {gate.name} gate is {type(gate.actor).__name__}, which no file can "
            "hold: give it a policy.rl.actor_critic.Actor"
        )
    return {
        "hidden": gate.actor.hidden,
        "observed": [field.name for field in gate.observation_fields],
    }


def _build(path: str | os.PathLike[str], metadata: Metadata) -> Gate:
    policy = metadata["policy"]
    if policy in HEURISTICS:
        gate = build_gate(policy)
        gate.masks = Masks(metadata["masks"])
        if isinstance(gate, ThresholdGate):
            gate.offsets = metadata["settings"]["offsets"]
        return gate
    if policy == LearnedGate.name:
        return LearnedGate(**metadata["settings"])
    if policy in LEARNED:
        return _build_agent(path, policy, metadata["settings"])
    raise RegateError(f"{path} holds a {policy!r} gate, which this version does not know")


def _build_agent(path: str | os.PathLike[str], policy: str, settings: Metadata) -> SelectiveGate:
    gate = SelectiveGate()
    observed = [field.name for field in gate.observation_fields]
    if settings["observed"] != observed:
        raise RegateError(
            f"{path} holds an agent that observes {', '.join(settings['observed'])}, but this "
            f"version tells it {', '.join(observed)}: train it again"
        )
    gate.name = policy
    gate.actor = Actor(gate.observation_size, gate.action_size, settings["hidden"])
    return gate


def _identity(backbone: Backbone) -> dict[str, Any]:
    return {
        "depth": backbone.depth,
        "dim": backbone.dim,
        "num_prefix_tokens": backbone.num_prefix_tokens,
        "fingerprint": backbone.fingerprint,
    }


def _check_known(gate: Gate) -> None:
    if gate.name not in (*HEURISTICS, *LEARNED):
        raise RegateError(
            f"a {gate.name} gate could not be loaded from its file again, so none is written: "
            "train an agent with PPOTask or ReinforceTask, or give a gate of your own a name in "
            "policy/policies.py (docs/add_a_gate.md)"
        )


def _check_complete(path: str | os.PathLike[str], metadata: Metadata) -> None:
    missing = [key for key in REQUIRED if key not in metadata]
    if missing:
        raise RegateError(f"{path} says nothing of its {missing[0]}: export it again")
    if metadata["mechanism"] != MECHANISM:
        raise RegateError(
            f"{path} was trained for the {metadata['mechanism']!r} mechanism, this version "
            f"serves {MECHANISM!r}: update regate"
        )


def _check_same_backbone(
    path: str | os.PathLike[str], metadata: Metadata, backbone: Backbone
) -> None:
    theirs, ours = metadata["identity"], _identity(backbone)
    if theirs != ours:
        raise RegateError(
            f"{path} belongs to {_told(metadata['backbone'], theirs)}, but the backbone is "
            f"{_told(backbone.name, ours)}: load that backbone with those weights, or train a "
            "gate for this one"
        )


def _warn_of_other_frames(
    path: str | os.PathLike[str], metadata: Metadata, backbone: Backbone
) -> None:
    ours = backbone.preprocessing.to_json()
    theirs = calibrated_on(metadata).to_json()
    differ = [name for name, value in theirs.items() if value not in (None, ours[name])]
    if differ:
        options = " ".join(f"--preprocessing.{name} {_word(ours[name])}" for name in differ)
        warnings.warn(
            f"{path} was calibrated with {_listed(theirs, differ)}, but the backbone has "
            f"{_listed(ours, differ)}: what it spends at a budget was measured with the former, "
            f"so calibrate it anew by `regate export --ckpt FILE {options}`",
            RegateWarning,
            stacklevel=4,
        )


def _warn_of_fallback(path: str | os.PathLike[str], gate: Gate) -> None:
    fallback = gate.calibration.fallback if gate.calibration else None
    if fallback is not None and not all(verdict.favours for verdict in fallback.verdicts):
        warnings.warn(f"{path}: {fallback.told(gate.name)}", RegateWarning, stacklevel=4)


def _listed(settings: dict[str, Any], names: list[str]) -> str:
    return " and ".join(f"{name} {_word(settings[name])}" for name in names)


def _word(value: Any) -> str:  # noqa: ANN401  (numbers, names and lists of numbers)
    """A setting as one types it."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _told(name: str, identity: dict[str, Any]) -> str:
    return (
        f"{name} (depth {identity['depth']}, width {identity['dim']}, "
        f"{identity['num_prefix_tokens']} prefix tokens, weights {identity['fingerprint']})"
    )


def _check_finite(tensors: dict[str, torch.Tensor], place: str) -> None:
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise RegateError(
                f"{place} has NaN or infinite values in {name!r}: train or export it again"
            )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
