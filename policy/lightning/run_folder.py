"""Where a run lies: its config, its checkpoints, and how to find one from the other."""

from pathlib import Path

from datamodules.errors import RegateError

CONFIG_NAME = "config.yaml"
CHECKPOINTS = "checkpoints"


def last_checkpoint(run_dir: Path) -> Path:
    """The newest ``last*.ckpt`` of a run.

    Raises:
        RegateError: If there is none. Lightning would train from scratch and exit with 0.
    """
    folder = run_dir / CHECKPOINTS
    found = sorted(folder.glob("last*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RegateError(
            f"--ckpt_path last found no checkpoint in {folder}; "
            "name the run with --run_dir, or leave --ckpt_path out to start a new one"
        )
    return found[-1]


def run_of(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint lies in: the nearest one above it with a config."""
    for folder in checkpoint.absolute().parents[:3]:
        if (folder / CONFIG_NAME).is_file():
            return folder
    return None


def check_unused(run_dir: Path) -> None:
    """Refuse to mix a new run into the folder of another.

    Raises:
        RegateError: If the folder holds checkpoints. A run that died before its first one has
            left nothing to lose.
    """
    if any((run_dir / CHECKPOINTS).glob("*.ckpt")):
        raise RegateError(
            f"{run_dir} holds a run already; go on with it by --ckpt_path last, "
            "or name another folder with --run_dir"
        )
