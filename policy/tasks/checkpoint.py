"""Whether a checkpoint is of the task that it is loaded in, which loading itself does not tell."""

from collections.abc import Collection
from typing import Any

from backbones.vit import Backbone
from datamodules.errors import RegateError

BACKBONE = "backbone."
"""Prefix of the tensors that checkpoints leave out: the backbone is frozen, and known by name."""


def check_fits(
    path: str,
    checkpoint: dict[str, Any],
    task: str,
    parts: Collection[str],
    backbone: Backbone,
) -> None:
    """Refuse what would be loaded in part only, without a word.

    Args:
        path: Of the checkpoint, to be named.
        checkpoint: As read.
        task: Class name of the one that loads it.
        parts: Names of the tensors that it has a place for, the backbone's left out.
        backbone: Of the task.

    Raises:
        RegateError: If the checkpoint is of another task, of another backbone, or of a task of
            other parts.
    """
    theirs = checkpoint["state_dict"]
    lacking = [name for name in parts if name not in theirs]
    homeless = [name for name in theirs if name not in parts]
    made_by = str(checkpoint.get("hyper_parameters", {}).get("_class_path", "")).split(".")[-1]
    # A subclass with the same parts may go on with it.
    if (lacking or homeless) and made_by not in ("", task):
        raise RegateError(
            f"{path} was made by {made_by}, but the config names {task}: leave --config out, and "
            f"the one in the checkpoint's run folder is read, or name a checkpoint of {task}"
        )
    _check_backbone(path, checkpoint.get("backbone", {}), backbone)
    if lacking:
        raise RegateError(f"{path} lacks {lacking[0]!r}: it is of another version or task")
    if homeless:
        raise RegateError(
            f"{path} has {homeless[0]!r}, for which this task has no place: it is of another "
            "version or of other settings, such as --model.releases"
        )


def _check_backbone(path: str, theirs: dict[str, str], ours: Backbone) -> None:
    if theirs.get("fingerprint") != ours.fingerprint:
        raise RegateError(
            f"{path} belongs to {theirs.get('name')} with weights {theirs.get('fingerprint')}, "
            f"but the backbone is {ours.name} with {ours.fingerprint}: load that backbone with "
            "those weights"
        )
