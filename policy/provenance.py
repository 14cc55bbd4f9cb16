"""What made a file: the command and the commit, for results, configs and gate files."""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_command: list[str] = []


@contextmanager
def running(words: list[str]) -> Iterator[None]:
    """Note, while the block runs, that it is the command ``regate <words>``."""
    _command[:] = words
    try:
        yield
    finally:
        _command.clear()


def command() -> str:
    """The running command as one could type it, or "" when Regate is used from Python."""
    return shlex.join(["regate", *_command]) if _command else ""


def commit() -> str:
    """Git commit of this source tree, with "+" if tracked files differ; "" outside of git."""
    folder = Path(__file__).resolve().parent
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        # An installed copy may lie inside somebody else's repository.
        _git(folder, "ls-files", "--error-unmatch", __file__)
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return revision + ("+" if changed else "")


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *words],
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    ).stdout.strip()
