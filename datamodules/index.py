"""Find the videos of a folder, with the labels, groups and splits that it states."""

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path

from datamodules.base import Split
from datamodules.errors import RegateError
from datamodules.sources import video_files

SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "calibration": "calibration",
    "val": "calibration",
    "valid": "calibration",
    "validation": "calibration",
    "test": "test",
    "testing": "test",
}
"""What people call the splits, in CSV columns and as folder names."""


@dataclass(frozen=True)
class VideoEntry:
    r"""One video of an index.

    Args:
        path: The file.
        name: Its path below the root, with forward slashes; or as the CSV gives it. Bytes of a
            file's name that are no text stand in it as ``\xff``, so that it can be written down.
        label: Its class, or None.
        group: The scene it shows; its own name where nothing is stated.
        split: The split it is meant for, or None.
    """

    path: Path
    name: str
    label: str | None
    group: str
    split: Split | None


def find_videos(
    root: Path, csv_name: str | None = None, group_column: str | None = None
) -> list[VideoEntry]:
    """List the videos of ``root``, in natural order or in the CSV's.

    Without a CSV, the folders below ``root`` are the classes; ``train``, ``val`` and ``test``
    above them are splits. Files beside the classes' folders, or all in one, are unlabelled.

    Args:
        root: Folder.
        csv_name: Table in it with the columns path and, as far as known, label, group, split.
        group_column: Name of the group column; None takes "group" if there is one.

    Raises:
        RegateError: If the folder or table is missing, lacks a column, or lists no video; if some
            of the folders are splits and others are not, or a file is listed twice.
    """
    if not root.is_dir():
        raise RegateError(f"there is no folder {root}; set --data.root to your videos.")
    if csv_name is not None:
        return _from_csv(root, root / csv_name, group_column)
    if group_column is not None:
        raise RegateError(f"group_column '{group_column}' needs a CSV; set --data.csv too.")
    files = video_files(root)
    if not files:
        raise RegateError(f"{root} holds no video file; set --data.root to your videos.")
    return _from_folders(root, files)


def _from_folders(root: Path, files: list[Path]) -> list[VideoEntry]:
    folders = [path.relative_to(root).parts[:-1] for path in files]
    splits: list[Split | None] = [None] * len(files)
    tops = [parts[0] if parts else None for parts in folders]
    stated = [top for top in tops if top is not None and top.lower() in SPLIT_WORDS]
    if len(stated) == len(tops):
        splits = [SPLIT_WORDS[top.lower()] for top in stated]
        folders = [parts[1:] for parts in folders]
    elif stated:
        other = next(path for path, top in zip(files, tops, strict=True) if top not in stated)
        raise RegateError(
            f"{root} has the split folder '{stated[0]}', but {other.relative_to(root)} is in none: "
            "move it into one, rename the folder if it is a class, or state both by --data.csv."
        )
    labels: list[str | None] = [parts[0] if parts else None for parts in folders]
    if len(set(labels) - {None}) < 2:
        labels = [None] * len(files)
    names = [_as_text(path.relative_to(root)) for path in files]
    labels = [None if label is None else _as_text(Path(label)) for label in labels]
    rows = zip(files, names, labels, splits, strict=True)
    return [VideoEntry(path, name, label, name, split) for path, name, label, split in rows]


def _as_text(path: Path) -> str:
    return os.fsencode(path.as_posix()).decode(errors="backslashreplace")


def _from_csv(root: Path, table: Path, group_column: str | None) -> list[VideoEntry]:
    if not table.is_file():
        raise RegateError(f"there is no table {table}; set --data.csv to one below --data.root.")
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RegateError(f"{table} is not UTF-8 ({error.reason}); save it as UTF-8.") from error
    with io.StringIO(text, newline="") as lines:
        reader = csv.DictReader(lines)
        columns = reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        for needed in ("path", *([group_column] if group_column else [])):
            if needed not in columns:
                raise RegateError(
                    f"{table} has no column '{needed}', only {', '.join(columns) or 'none'}; "
                    f"name its columns in the first line."
                )
        entries = [_entry(root, table, row, group_column or "group") for row in reader]
    if not entries:
        raise RegateError(f"{table} lists no video; add lines below the column names.")
    seen: set[Path] = set()
    for entry in entries:
        file = entry.path.resolve()
        if file in seen:
            raise RegateError(f"{table} lists {entry.name} twice; remove one of the lines.")
        seen.add(file)
    return entries


def _entry(root: Path, table: Path, row: dict[str, str | None], group_column: str) -> VideoEntry:
    name = (row["path"] or "").strip()
    word = (row.get("split") or "").strip().lower()
    if word and word not in SPLIT_WORDS:
        raise RegateError(
            f"{table} has split '{word}' for {name}; use train, calibration (or val), or test."
        )
    return VideoEntry(
        path=root / name,
        name=name,
        label=(row.get("label") or "").strip() or None,
        group=(row.get(group_column) or "").strip() or name,
        split=SPLIT_WORDS.get(word),
    )
