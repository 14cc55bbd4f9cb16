"""Results on disk: strict JSON and flat CSV, each written whole or not at all."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from policy.atomic import atomic_write
from policy.compare.records import METRICS, Sweep
from policy.compare.results import Estimate, Results, Row, finite


def write_json(results: Results, path: Path) -> None:
    """Write ``results.json``.

    Raises:
        RegateError: If the file cannot be written.
    """
    text = json.dumps(results.as_json(), indent=1, allow_nan=False, ensure_ascii=False)
    replace_file(path, (text + "\n").encode())


def write_csv(results: Results, path: Path) -> None:
    """Write one line per row, intervals as ``kl, kl_low, kl_high``; empty where unknown.

    Raises:
        RegateError: If the file cannot be written.
    """
    present = [name for name in METRICS if any(name in row.metrics for row in results.rows)]
    _write_lines([_flat(row, present) for row in results.rows], path)


def write_drift(results: Results, path: Path) -> None:
    """Write one line per policy, budget and frame since the dense one.

    Raises:
        RegateError: If the file cannot be written.
    """
    lines: list[dict[str, object]] = []
    for entry in results.drift:
        about = {key: getattr(entry, key) for key in ("policy", "learned", "budget", "spent")}
        values = zip(entry.kl, entry.agreement, entry.spent_by_frame, strict=True)
        lines += [
            about | {"frame": frame, "kl": kl, "agreement": agreement, "spent_by_frame": spent}
            for frame, (kl, agreement, spent) in enumerate(values, start=1)
        ]
    _write_lines(lines, path)


def write_clips(sweeps: Sequence[Sweep], path: Path) -> None:
    """Write one line per policy, seed, setting and clip: what every other number is made of.

    Raises:
        RegateError: If the file cannot be written.
    """
    lines: list[dict[str, object]] = []
    for sweep in sweeps:
        columns = {"spent": sweep.spent, "spent_with_first": sweep.spent_with_first}
        columns |= {name: sweep.metrics[name] for name in METRICS if name in sweep.metrics}
        folds = sweep.folds or (0,) * len(sweep.clips)
        for setting in range(len(sweep.knobs)):
            about = {"policy": sweep.policy, "seed": sweep.seed, "setting": setting}
            lines += [
                about
                | {"clip": clip, "group": group, "fold": fold, "knob": sweep.knob_of(row, setting)}
                | {name: finite(values[row, setting]) for name, values in columns.items()}
                for row, (clip, group, fold) in enumerate(
                    zip(sweep.clips, sweep.groups, folds, strict=True)
                )
            ]
    _write_lines(lines, path)


def replace_file(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``, whole or not at all.

    Raises:
        RegateError: If the folder or the file cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def _write_lines(lines: list[dict[str, object]], path: Path) -> None:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    replace_file(path, buffer.getvalue().encode())


def _flat(row: Row, metrics: list[str]) -> dict[str, object]:
    line = {name: value for name, value in vars(row).items() if name != "metrics"}
    after = {name: line.pop(name) for name in ("ms_mean", "ms_p50", "ms_p95", "state_bytes")}
    marks = {name: line.pop(name) for name in ("interpolated", "fallback", "note")}
    for name in metrics:
        estimate = row.metrics.get(name, Estimate(None, None))
        low, high = estimate.interval or (None, None)
        line |= {name: estimate.value, f"{name}_low": low, f"{name}_high": high}
    return line | after | marks
