r"""How trainings went: a tag of several runs' TensorBoard logs, one line per configuration.

    python docs/learning_curves.py runs/ppo-0 runs/ppo-1 runs/reinforce-0 runs/reinforce-1 \
        --out learning_curves.png

Runs that get one label are seeds of one configuration: their mean is drawn thick, each of them
thin, and the band is one standard deviation to either side. A label is the folder's name without
the number at its end (`runs/ppo-0`: ppo; `runs/synthetic/vit/ppo/seed0`: ppo), or the values of the
settings that --label_by names, as they stand in each run's config.yaml. Runs of one label whose
model or data differ in anything but a seed, or the fallback that a file gets, are refused.

The means end where the shortest run of a label does. Below the zero line of the default tag a
policy is closer to dense than the threshold at the same MACs; the picture is of the clips that also
choose the weights, so verdicts come from `regate compare`.

Logs count batches, so PPO, which takes up to sixteen steps per batch, and REINFORCE, which takes
one, stand side by side.
"""

import argparse
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]  # PyYAML ships no annotations
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from policy.compare.figure import png
from policy.compare.figure_style import FAINT, INK, LEARNED, quiet
from policy.lightning.run_folder import CONFIG_NAME

DEFAULT_TAG = "val/kl_minus_threshold"
SHOWN = 8
"""Tags that an error names."""
UNTRAINED = ("seed", "fallback")
"""Settings in which seeds of one configuration may differ; a fallback is found after training."""
AXES = {
    "clips": "training clips",
    "batches": "training batches (an agent's rollouts)",
}


@dataclass(frozen=True)
class Run:
    """One training's curve.

    Attributes:
        folder: Of the run.
        config: As kept there.
        points: Value by training batches seen.
    """

    folder: Path
    config: Mapping[str, Any]
    points: Mapping[int, float]


def read_run(folder: Path, tag: str) -> Run:
    """Read a run's config and a tag of its log; values that are no number are left out.

    Raises:
        SystemExit: If there is no config, no log or no such tag.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise SystemExit(f"error: no {CONFIG_NAME} in {folder}: name the folder of a run")
    if not any(folder.glob("events.out.tfevents.*")):
        raise SystemExit(f"error: no TensorBoard log in {folder}: has its training begun?")
    log = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    known = log.Tags()["scalars"]
    if tag not in known:
        near = [name for name in known if name.split("/")[0] == tag.split("/")[0]] or known
        raise SystemExit(
            f"error: {folder} has logged no {tag} so far; of what it has: "
            f"{', '.join(near[:SHOWN]) or 'nothing'}"
        )
    # Batches are counted from 0. Of what a killed run logged twice, the later counts.
    points = {event.step + 1: event.value for event in log.Scalars(tag)}
    finite = {step: value for step, value in points.items() if math.isfinite(value)}
    return Run(folder, yaml.safe_load(path.read_text()), finite)


def label_of(run: Run, keys: Sequence[str]) -> str:
    """What a run is called: the values of some of its settings, or its folder without a number.

    Args:
        run: To be labelled.
        keys: Of the config, with dots between levels; the folder's name counts if there are none.

    Raises:
        SystemExit: If the run has no such setting.
    """
    if keys:
        return ", ".join(f"{key.split('.')[-1]} {setting(run, key)}" for key in keys)
    folder = run.folder.resolve()
    name = re.sub(r"[-_]?(seed)?[-_]?\d+$", "", folder.name)
    return name or folder.parent.name


def setting(run: Run, key: str) -> Any:  # noqa: ANN401  (whatever a config holds)
    """One setting of a run.

    Raises:
        SystemExit: If there is none of that name.
    """
    flat = flattened(run.config)
    if key not in flat:
        last = key.split(".")[-1]
        near = [name for name in flat if name.split(".")[-1] == last] or list(flat)
        raise SystemExit(
            f"error: the config of {run.folder} has no {key}; did you mean "
            f"{' or '.join(near[:SHOWN])}?"
        )
    return flat[key]


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by names with dots."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def grouped(runs: Sequence[Run], keys: Sequence[str]) -> dict[str, list[Run]]:
    """Runs by label, in the order given.

    Raises:
        SystemExit: If runs of one label differ in more than seeds.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(label_of(run, keys), []).append(run)
    for label, its in groups.items():
        first = _trained(its[0])
        for other in its[1:]:
            theirs = _trained(other)
            differ = [key for key in {**first, **theirs} if first.get(key) != theirs.get(key)]
            if differ:
                raise SystemExit(
                    f"error: {its[0].folder} and {other.folder} would both be {label!r}, but "
                    f"differ in {differ[0]}: tell them apart by --label_by {differ[0]}"
                )
    return groups


def _trained(run: Run) -> dict[str, Any]:
    """What makes a configuration."""
    flat = flattened(run.config)
    return {
        key: value
        for key, value in flat.items()
        if key.split(".")[0] in ("model", "data") and key.split(".")[-1] not in UNTRAINED
    }


def scale(run: Run, axis: str) -> int:
    """By how much the axis advances per batch: 1, or the clips in a batch over all processes."""
    if axis == "batches":
        return 1
    flat = flattened(run.config)
    devices = flat.get("trainer.devices")
    return int(setting(run, "data.init_args.batch_size")) * (
        devices if isinstance(devices, int) and devices > 0 else 1
    )


def draw(groups: Mapping[str, Sequence[Run]], axis: str, y_label: str) -> Figure:
    """One thick line per label, over one thin one per run."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained", dpi=150)
    panel = figure.subplots()
    panel.axhline(0, color=INK, lw=0.8, alpha=0.55, zorder=1)
    for place, (label, runs) in enumerate(groups.items()):
        colour = LEARNED[place % len(LEARNED)]
        dashes = "-" if place < len(LEARNED) else "--"
        for run in runs:
            x = np.array(sorted(run.points)) * scale(run, axis)
            y = [run.points[step] for step in sorted(run.points)]
            panel.plot(x, y, color=colour, lw=0.8, alpha=0.45, ls=dashes, zorder=2)
        steps, values = common(runs)
        x, mean = steps * scale(runs[0], axis), values.mean(0)
        named = f"{label} ({len(runs)} seed{'' if len(runs) == 1 else 's'})"
        panel.plot(
            x, mean, color=colour, lw=2.4, ls=dashes, marker="o", ms=4, label=named, zorder=4
        )
        if len(runs) > 1:
            spread = values.std(0, ddof=1)
            panel.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.13, lw=0)
    panel.set_xlim(left=0)
    panel.set_xlabel(AXES[axis], fontsize=9, color=INK)
    panel.set_ylabel(y_label, fontsize=9, color=INK)
    quiet(panel)
    panel.spines[["bottom", "left"]].set_color(FAINT)
    figure.legend(
        loc="outside upper left",
        frameon=False,
        fontsize=8.5,
        labelcolor=INK,
        ncols=min(3, len(groups)),
    )
    return figure


def common(runs: Sequence[Run]) -> tuple[Any, Any]:
    """Batches at which all runs have a value [k], and the values [runs, k].

    Raises:
        SystemExit: If there are none.
    """
    steps = sorted(set.intersection(*(set(run.points) for run in runs)))
    if not steps:
        names = ", ".join(str(run.folder) for run in runs)
        raise SystemExit(f"error: {names} have no value at the same batch, so there is no mean")
    return np.array(steps), np.array([[run.points[step] for step in steps] for run in runs])


def print_table(groups: Mapping[str, Sequence[Run]], axis: str) -> None:
    """In Markdown: the means that are drawn, and each seed's last value."""
    print(f"| run | {AXES[axis]} | mean over seeds | each seed at the last |\n|---|---|---|---|")
    for label, runs in groups.items():
        steps, values = common(runs)
        x = ", ".join(str(step) for step in steps * scale(runs[0], axis))
        means = ", ".join(f"{value:+.3f}" for value in values.mean(0))
        last = ", ".join(f"{value:+.3f}" for value in values[:, -1])
        print(f"| {label} | {x} | {means} | {last} |")


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and the logs, print and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="of runs, finished or not")
    parser.add_argument("--tag", default=DEFAULT_TAG, help=f"by default {DEFAULT_TAG}")
    parser.add_argument(
        "--label_by",
        nargs="+",
        default=[],
        metavar="KEY",
        help="settings in config.yaml, such as model.init_args.learning_rate",
    )
    parser.add_argument("--x", choices=AXES, default="clips", help="what the training has seen")
    parser.add_argument("--y_label", help="of the axis; the tag by default")
    parser.add_argument("--out", type=Path, default=Path("learning_curves.png"), help="a .png file")
    args = parser.parse_args(words)
    if args.out.suffix != ".png":
        parser.error(f"--out must end in .png, got {args.out}")
    groups = grouped([read_run(folder, args.tag) for folder in args.folders], args.label_by)
    print_table(groups, args.x)
    picture = Image.open(io.BytesIO(png(draw(groups, args.x, args.y_label or args.tag))))
    # A palette: a third of the size, and lines and bands need no more colours.
    picture.convert("RGB").quantize(256).save(args.out, optimize=True)
    print(f"\nwrote {args.out} ({args.out.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
