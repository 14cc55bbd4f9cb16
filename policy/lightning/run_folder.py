"""Where a run lies: its config, its checkpoints, and how to find one from the other."""

from pathlib import Path

from datamodules.errors import RegateError

CONFIG_NAME = "config.yaml"
CHECKPOINTS = "checkpoints"


def resume_config(run_dir: Path, number: int) -> Path:
    """Config of the resume with this number, from 1 on, whether there was one or not."""
    return run_dir / f"config.resume-{number}.yaml"


def newest_config(run_dir: Path) -> Path:
    """What a run was last resumed with, or else started with, whether that is there or not."""
    resumes = 0
    while resume_config(run_dir, resumes + 1).exists():
        resumes += 1
    return resume_config(run_dir, resumes) if resumes else run_dir / CONFIG_NAME


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
