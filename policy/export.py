"""``regate export``: the gate file of a checkpoint, also of a run that is not over."""

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # PyYAML ships no annotations
from pytorch_lightning import LightningDataModule, LightningModule

from backbones.preprocessing import Preprocessing
from datamodules.base import ClipDataModule
from datamodules.errors import RegateError
from policy.arguments import OneSentenceErrors
from policy.atomic import check_writable_file
from policy.lightning.checkpoint_io import AtomicCheckpointIO
from policy.lightning.run_folder import CONFIG_NAME, newest_config, run_of
from policy.tasks.base import GATE_FILE, ReuseTask


def export(
    *,
    ckpt: str,
    out: str | None = None,
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
) -> Path:
    """Write the gate file of a checkpoint, calibrated on the run's calibration clips.

    Args:
        ckpt: A checkpoint that lies in the folder of its run, whose newest config says what it is.
        out: The gate file to write; by default gate.safetensors in the folder of the run.
        preprocessing: What happens to an image first; by default as in the training.

    Returns:
        Where the gate file is.

    Raises:
        RegateError: If there is no such checkpoint or no config, if it holds no gate or that of
            another backbone, or if the file cannot be written.
    """
    checkpoint = Path(ckpt)
    if not checkpoint.is_file():
        raise RegateError(f"there is no checkpoint at {ckpt}; --ckpt takes a .ckpt file of a run")
    run = run_of(checkpoint)
    if run is None:
        raise RegateError(
            f"there is no {CONFIG_NAME} in the folders above {ckpt}; "
            "leave the checkpoint in the folder of its run"
        )
    path = run / GATE_FILE if out is None else Path(out)
    check_writable_file(path)
    task, data = task_and_data(newest_config(run), preprocessing)
    if not isinstance(task, ReuseTask) or not isinstance(data, ClipDataModule):
        raise RegateError(f"{ckpt} holds no gate, it was made by a {type(task).__name__}")
    # Read in full before anything is computed: a cut file is told at once.
    loaded = AtomicCheckpointIO().load_checkpoint(checkpoint)
    task.on_load_checkpoint(loaded, ckpt)
    task.load_state_dict(loaded["state_dict"], strict=task.strict_loading)
    data.resize_crop = task.resize_crop
    task.export(path, data)
    return path


def task_and_data(
    config: Path, preprocessing: Preprocessing
) -> tuple[LightningModule, LightningDataModule]:
    """Make what a run's config describes, without its Trainer.

    The machine that exports needs none of the accelerators that trained.

    Args:
        config: Of the run.
        preprocessing: Wins over that of the config.
    """
    parser = OneSentenceErrors(prog="regate export")
    parser.add_subclass_arguments(LightningModule, "model", required=True)
    parser.add_subclass_arguments(LightningDataModule, "data", required=True)
    written: dict[str, Any] = yaml.safe_load(config.read_text())
    if preprocessing.given():
        settings = written["model"].setdefault("init_args", {})
        trained = Preprocessing.from_json(settings.get("preprocessing") or {})
        settings["preprocessing"] = preprocessing.over(trained).to_json()
    parsed = parser.parse_object({key: written[key] for key in ("model", "data")})
    made = parser.instantiate_classes(parsed)
    return made.model, made.data
