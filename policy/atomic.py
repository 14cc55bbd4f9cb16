"""Files that are whole or absent, whenever the process dies."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datamodules.errors import RegateError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to, which replaces ``path`` once the block has ended.

    A reader sees the old file or the new one, never a part; if the block raises, the old one
    stays. The temporary file lies in the same folder, because a move between file systems is a
    copy. Its name is fixed, so that the next write clears up after a kill; hence one writer
    per path at a time.

    Args:
        path: The file to make or replace; missing folders are made.

    Raises:
        RegateError: If no file is named, the folder cannot be made or written to, or the disk is
            full.

    Example:
        with atomic_write("results.json") as temporary:
            temporary.write_text("{}")
    """
    target = Path(path)
    if not target.name:
        raise RegateError(f"cannot write {str(path)!r}, which names no file")
    temporary = target.with_name(f".{target.name}.tmp")
    with _told_in_a_sentence(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        # Asked for before the work is done: a block may compute for minutes.
        temporary.touch()
        mode = temporary.stat().st_mode
    try:
        yield temporary
        with _told_in_a_sentence(target):
            temporary.chmod(mode)  # some writers leave files that only their owner can read
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
            _sync_folder(target.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise cannot_write(target, error) from error
        raise


@contextmanager
def _told_in_a_sentence(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(target, error) from error


def cannot_write(target: Path, error: OSError) -> RegateError:
    """The one sentence for a file or folder that cannot be written."""
    return RegateError(
        f"cannot write {target} ({error.strerror or error}); "
        "choose a place that is writable and has room"
    )


def check_writable(folder: Path) -> None:
    """Make a folder, or say before any work is done that it cannot be used.

    Raises:
        RegateError: If it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise cannot_write(folder, error) from error


def check_writable_file(path: Path) -> None:
    """As ``check_writable`` for the folder of a file, which must not be a folder itself.

    Raises:
        RegateError: If the folder cannot be made or written to, or the file's name is a folder's.
    """
    if path.is_dir():
        raise RegateError(f"cannot write {path}, which is a folder: name a file in it")
    check_writable(path.parent)


def _sync_folder(folder: Path) -> None:
    # Without this a power cut can undo the rename, though not tear the file.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
