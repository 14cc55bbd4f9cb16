"""The commands that a Lightning Trainer runs: fit, validate, test, predict."""

import argparse
import logging
from pathlib import Path
from typing import Any

from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from datamodules.errors import RegateError
from datamodules.folder import VideoFolder  # noqa: F401  (known to the help and by its short name)
from datamodules.synthetic import SyntheticClips  # noqa: F401  (likewise)
from policy.arguments import OneSentenceErrors, configs_first, with_lists_in_brackets
from policy.atomic import check_writable
from policy.lightning.best import KeepBest, keeps_best
from policy.lightning.checkpoint_io import AtomicCheckpointIO
from policy.lightning.keep_config import KeepConfig
from policy.lightning.last import keep_last, keeps_last
from policy.lightning.nan_guard import NanGuard
from policy.lightning.predictions import WritePredictions
from policy.lightning.resume_loader import ResumeLoader
from policy.lightning.run_folder import (
    CONFIG_NAME,
    check_unused,
    last_checkpoint,
    newest_config,
    run_of,
)
from policy.lightning.step_seed import SeedEachStep
from policy.tasks.backbone import BackboneTask  # noqa: F401  (likewise)
from policy.tasks.gumbel import GumbelTask
from policy.tasks.ppo import PPOTask  # noqa: F401  (likewise)
from policy.tasks.reinforce import ReinforceTask  # noqa: F401  (likewise)
from policy.tasks.visuals import RecomputeVisuals

HIGHEST_SEED = 2**32 - 1
"""That numpy takes."""
DESCRIPTIONS = {
    "fit": "Train a gate on a frozen backbone, calibrate it, and write gate.safetensors.",
    "validate": "Measure the gate of a checkpoint against the threshold on the calibration clips.",
    "test": "Measure the gate of a checkpoint on the test clips, at its budget.",
    "predict": "Write predictions.jsonl: what the gate of a checkpoint makes of every clip.",
}
"""Of the commands, which Lightning's own help describes as "the full routine"."""


class TrainerArgumentParser(OneSentenceErrors, LightningArgumentParser):
    """Lightning's parser, with our one-line errors."""


class RegateCLI(LightningCLI):
    """LightningCLI with one folder per run and a command line that wins over checkpoints.

    ``--run_dir`` sets where checkpoints, logs and configs lie. Without it the folder is
    ``runs/<data.name>/<model.run_name>/seed<k>``, where a task's ``run_name`` is
    ``<backbone>/<policy>``. Always there: atomic checkpoint files, ``last.ckpt``, the NaN guard,
    noise seeded by step, the kept config, for a module that says what it is ``ranked_by`` also
    ``best.ckpt``, and for one with a gate its decisions drawn at each validation of a fit.
    ``predict`` writes ``predictions.jsonl`` into the folder.
    """

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's, without the switch that would let a checkpoint run code."""
        return {name: skip | {"weights_only"} for name, skip in LightningCLI.subcommands().items()}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what all four commands share."""
        parser.add_argument(
            "--run_dir",
            type=str | None,
            default=None,
            help="Folder of the run: checkpoints, logs, config. "
            "Default: runs/<data>/<backbone>/<policy>/seed<k>.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and refuse a seed that numpy would only refuse with a traceback."""
        super().parse_arguments(parser, args)
        command = self.config["subcommand"]
        seed = self.config[command]["seed_everything"]
        if not 0 <= seed <= HIGHEST_SEED:
            raise RegateError(f"--seed_everything must be 0 to {HIGHEST_SEED}, got {seed}")

    def _parse_ckpt_path(self) -> None:
        """Do nothing: Lightning would merge the checkpoint's values over the command line."""

    def instantiate_classes(self) -> None:
        """Make model and data, and let the data deliver frames in the model's geometry."""
        super().instantiate_classes()
        geometry = getattr(self.model, "resize_crop", None)
        if geometry is not None:
            self.datamodule.resize_crop = geometry

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:  # noqa: ANN401
        """Make the Trainer of this run's folder."""
        config = self._get(self.config_init, "trainer")
        self.run_dir = self._find_run_dir(config["default_root_dir"])
        checkpoint = self._find_checkpoint()
        if self.subcommand == "fit" and not config["fast_dev_run"]:
            if checkpoint is None:
                check_unused(self.run_dir)
            check_writable(self.run_dir)
            _tell(self.run_dir, checkpoint)
        logger = config["logger"]
        if logger is None or logger is True:
            logger = self._logs(checkpoint) and TensorBoardLogger(
                self.run_dir,
                name="",
                # Logged at step 0, a later measurement would bend the curves of the training.
                version="" if self.subcommand == "fit" else self.subcommand,
                default_hp_metric=False,
            )
        plugins = _as_list(config["plugins"])
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(AtomicCheckpointIO())
        return super().instantiate_trainer(
            default_root_dir=self.run_dir,
            logger=logger,
            plugins=plugins,
            callbacks=[*_as_list(config["callbacks"]), *self._own_callbacks(config)],
            **kwargs,
        )

    def _logs(self, checkpoint: Path | None) -> bool:
        """Whether there is a log: in the run that the checkpoint belongs to, if it does."""
        measures = self.subcommand in ("validate", "test") and checkpoint is not None
        return self.subcommand == "fit" or measures

    def _own_callbacks(self, config: dict[str, Any]) -> list[Any]:
        callbacks: list[Any] = [NanGuard(), ResumeLoader()]
        seed = self._get(self.config, "seed_everything")
        if seed is not False:
            callbacks.append(SeedEachStep(seed))
        given = _as_list(config["callbacks"])
        saves = config["enable_checkpointing"] is not False
        if saves and not any(map(keeps_last, given)):
            callbacks += keep_last()
        ranked_by = getattr(self.model, "ranked_by", None)
        if saves and ranked_by and not any(map(keeps_best, given)):
            callbacks.append(KeepBest(ranked_by))
        drawn = self.subcommand == "fit" and hasattr(self.model, "val_example")
        if drawn and not any(isinstance(callback, RecomputeVisuals) for callback in given):
            callbacks.append(RecomputeVisuals())
        if self.subcommand == "predict":
            callbacks.append(WritePredictions())
        return callbacks

    def _find_run_dir(self, root_dir: str | None) -> Path:
        run_dir = self._get(self.config, "run_dir") or root_dir
        if run_dir is not None:
            return Path(run_dir)
        data = getattr(self.datamodule, "name", "") or type(self.datamodule).__name__
        task = getattr(self.model, "run_name", "") or type(self.model).__name__
        return Path("runs", data, task, f"seed{self._get(self.config, 'seed_everything')}")

    def _find_checkpoint(self) -> Path | None:
        """Turn ``--ckpt_path`` into a file that exists, and hand that on to the Trainer."""
        asked = self._get(self.config, "ckpt_path")
        if asked is None:
            return None
        path = last_checkpoint(self.run_dir) if asked == "last" else Path(asked)
        if not path.is_file():
            raise RegateError(f"there is no checkpoint at {path}; --ckpt_path takes a file or last")
        self.config_init[self.subcommand]["ckpt_path"] = str(path)
        return path


def run_trainer(words: list[str]) -> None:
    """Run ``fit``, ``validate``, ``test`` or ``predict``.

    Args:
        words: The words after ``regate``.
    """
    # At level INFO they report the hardware that is absent and advertise other products.
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    RegateCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_callback=KeepConfig,
        seed_everything_default=0,
        # Validation sweeps whole curves: a sanity pass would cost as much as many steps.
        trainer_defaults={"enable_model_summary": False, "num_sanity_val_steps": 0},
        parser_class=TrainerArgumentParser,
        parser_kwargs={"prog": "regate", **{name: _help(name) for name in DESCRIPTIONS}},
        auto_configure_optimizers=False,
        args=[words[0], *configs_first(_with_lists(with_config_of_run(words)[1:]))],
    )


def _with_lists(words: list[str]) -> list[str]:
    # Of the tasks the one with the most arguments; what is no list in it is none in another.
    return with_lists_in_brackets(GumbelTask.__init__, words, "--model.")


def _help(name: str) -> dict[str, str]:
    """What stands above the list of options, of which the Trainer alone has fifty."""
    start = "--config FILE" if name == "fit" else "--ckpt_path FILE"
    return {
        "usage": f"regate {name} {start} [--data.root FOLDER] [--run_dir FOLDER]\n"
        "       [--model.KEY VALUE] [--data.KEY VALUE] [--trainer.KEY VALUE]",
        "description": f"{DESCRIPTIONS[name]} Shipped configs lie in configs/; what is on the "
        f"command line wins over them. `regate {name} --model.help GumbelTask` lists the keys of "
        "a task, --data.help VideoFolder those of a data module, and what follows here those of "
        "the Trainer.",
    }


def with_config_of_run(words: list[str]) -> list[str]:
    """Let ``--ckpt_path X`` stand alone: read the newest config kept in the run that X lies in.

    Whatever else is on the command line wins over that config. A ``--config`` there replaces it.

    Raises:
        RegateError: If no config is given and none lies above the checkpoint.
    """
    if len(words) == 1:
        cure = "--config FILE, such as configs/gumbel/synthetic.yaml"
        if words != ["fit"]:
            cure = "--ckpt_path FILE, a checkpoint in the folder of its run"
        raise RegateError(f"{words[0]} needs to know of what: give {cure}")
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flags in (["--config", "-c"], ["--ckpt_path"], ["--run_dir"]):
        parser.add_argument(*flags)
    known, _ = parser.parse_known_args(words)
    if known.ckpt_path is None or {"-h", "--help"} & set(words):
        return words
    run_dir = Path(known.run_dir) if known.run_dir else None
    if run_dir is None and known.ckpt_path != "last":
        run_dir = run_of(Path(known.ckpt_path))
    extra = [] if run_dir is None else ["--run_dir", str(run_dir)]
    if known.config is None:
        extra = ["--config", str(_config_of(run_dir, known.ckpt_path)), *extra]
    return [words[0], *extra, *words[1:]]


def _config_of(run_dir: Path | None, asked: str) -> Path:
    if run_dir is None and asked == "last":
        raise RegateError("--ckpt_path last needs to know of which run; name it with --run_dir")
    if run_dir is None or not (run_dir / CONFIG_NAME).is_file():
        place = run_dir or f"the folders above {asked}"
        raise RegateError(f"there is no {CONFIG_NAME} in {place}; name one with --config")
    return newest_config(run_dir)


@rank_zero_only
def _tell(run_dir: Path, checkpoint: Path | None) -> None:
    print(f"run folder: {run_dir} (to watch: tensorboard --logdir {run_dir})")
    if checkpoint is not None:
        print(f"going on from {checkpoint}")


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401  (one plugin, several, or none)
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
