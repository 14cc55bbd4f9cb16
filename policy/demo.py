"""``regate demo``: the whole job on the embedded data, through the commands people use."""

import shutil
import time
from pathlib import Path

from datamodules.errors import RegateError
from datamodules.synthetic import SyntheticClips
from datamodules.video_writer import VideoWriter
from policy.atomic import cannot_write
from policy.compare.report import FILES
from policy.compare.run import compare
from policy.lightning.run_folder import CONFIG_NAME
from policy.lightning.trainer_cli import run_trainer
from policy.stream import stream
from policy.tasks.base import GATE_FILE

BACKBONE = "regate_vit_digits"
BUDGETS = [0.1, 0.2, 0.35, 0.5]
FILMED = 64
"""Frames of the overlay video."""
FILMED_CLIP = 5
"""Of the test split: one with noise, distractors and a digit that changes."""
OWN = ("train", *FILES)
"""What an earlier demo left in its folder, and this one replaces."""


def demo(
    *,
    out: str = "runs/demo",
    train_clips: int = 512,
    epochs: int = 4,
    test_clips: int = 48,
    num_frames: int = 16,
    seed: int = 0,
) -> None:
    """Train a gate, compare it with the heuristics at matched compute, and film it at work.

    Everything runs on the tiny ViT and the synthetic video that ship with this project: a few
    minutes on two CPU cores, no network, no data to fetch.

    Args:
        out: Folder for everything that comes out of it.
        train_clips: Clips per epoch.
        epochs: Of training.
        test_clips: Clips compared.
        num_frames: Frames of each.
        seed: Of training.

    Raises:
        RegateError: If the folder cannot be written.
    """
    start = time.monotonic()
    folder = Path(out)
    _make_room(folder)
    run = folder / "train"
    _say(1, "training a gate on a frozen ViT", start)
    run_trainer(_fit_words(run, train_clips, epochs, seed))
    gate = run / GATE_FILE
    _say(2, "comparing it with the heuristics at matched compute", start)
    compare(
        data=SyntheticClips(num_frames=num_frames, test_clips=test_clips, seed=seed),
        backbone=BACKBONE,
        gates=[str(gate)],
        budgets=BUDGETS,
        out=str(folder),
        calibration_clips=24,
    )
    _say(3, "filming what it recomputes", start)
    film = folder / "clip.mp4"
    _write_clip(film, seed)
    overlay = folder / "overlay.mp4"
    stream(
        str(film),
        gate=str(gate),
        budget=0.2,
        overlay=str(overlay),
        json=str(folder / "stream.json"),
    )
    print(_ending(folder, time.monotonic() - start))


def _fit_words(run: Path, train_clips: int, epochs: int, seed: int) -> list[str]:
    """The command that this step is, which works as well when typed."""
    return [
        "fit",
        f"--run_dir={run}",
        f"--seed_everything={seed}",
        "--model=policy.tasks.gumbel.GumbelTask",
        f"--model.backbone={BACKBONE}",
        "--model.calibration_clips=12",
        "--model.cosine_weight=0.1",
        "--data=datamodules.synthetic.SyntheticClips",
        "--data.num_frames=8",
        f"--data.train_clips={train_clips}",
        "--data.calibration_clips=12",
        "--data.batch_size=8",
        "--trainer.accelerator=cpu",
        f"--trainer.max_epochs={epochs}",
        "--trainer.log_every_n_steps=5",
        "--trainer.gradient_clip_val=1.0",
    ]


def _make_room(folder: Path) -> None:
    """Remove what an earlier demo left, and nothing else.

    Raises:
        RegateError: If ``train`` is no run, such as a folder of videos, or cannot be removed.
    """
    run = folder / "train"
    if run.is_dir() and any(run.iterdir()) and not (run / CONFIG_NAME).is_file():
        raise RegateError(
            f"{run} is not of an earlier demo, which would replace it: give --out another folder"
        )
    try:
        for name in OWN:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _write_clip(path: Path, seed: int) -> None:
    clip = SyntheticClips(num_frames=FILMED, seed=seed).dataset("test")[FILMED_CLIP]
    with VideoWriter(path, fps=10) as writer:
        for frame in clip.frames:
            writer.write(frame.permute(1, 2, 0).contiguous().numpy())


def _say(step: int, what: str, start: float) -> None:
    print(f"\n[{step}/3] {what} ({time.monotonic() - start:.0f} s so far)")


def _ending(folder: Path, seconds: float) -> str:
    return "\n".join(
        [
            f"\nDone in {seconds / 60:.1f} minutes. Look at:",
            f"  {folder}/curve.png      quality against compute, one line per policy",
            f"  {folder}/drift.png      how far each strays, frame by frame after the dense one",
            f"  {folder}/overlay.mp4    a clip with the recomputed patches marked",
            f"  {folder}/results.json   all numbers of the table, with intervals (also .csv)",
            f"  {folder}/train/{GATE_FILE}   the trained gate; `regate stream` serves it",
            f"  tensorboard --logdir {folder}   training curves, masks and the comparison",
        ]
    )
