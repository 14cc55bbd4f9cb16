"""Checkpoints that a kill or a full disk cannot tear."""

from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from datamodules.errors import RegateError
from policy.atomic import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs, and replaces it in one step.

    Lightning's own writer goes through a temporary file too, but in the system's temporary
    folder: on another file system the final move is a copy, which a kill can cut.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any | None = None,  # noqa: ANN401  (Lightning's signature)
    ) -> None:
        """Write ``checkpoint`` to ``path``; remote paths take Lightning's way.

        Raises:
            RegateError: If the place cannot be written to or has no room.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with atomic_write(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:
                # torch's zip writer reports a full disk so, in the words of its own internals.
                raise RegateError(
                    f"cannot write {path} ({_first_line(error)}); is the disk full?"
                ) from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint without running code from it.

        Raises:
            RegateError: If there is none, or what is there is cut or is something else.
        """
        try:
            # Always True: with False, torch.load may run code found in the file.
            return super().load_checkpoint(path, map_location, weights_only=True)
        except FileNotFoundError as error:
            raise RegateError(f"there is no checkpoint at {path}; check --ckpt_path") from error
        except (RuntimeError, OSError, EOFError, UnpicklingError) as error:
            raise RegateError(
                f"{path} cannot be read as a checkpoint ({_first_line(error)}); "
                "it is damaged or something else, so name another one with --ckpt_path"
            ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
