"""Keeps beside the checkpoints what they were made with."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback

from policy.atomic import atomic_write
from policy.lightning.run_folder import CONFIG_NAME, resume_config
from policy.provenance import command, commit


class KeepConfig(SaveConfigCallback):
    """Writes ``config.yaml`` at the start of a run and ``config.resume-N.yaml`` at each resume.

    The newest of them is what ``--ckpt_path`` alone goes on with.

    Lightning's own either refuses to resume where a config exists or overwrites it, and with it
    the record of what the first epochs were trained with.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write nothing yet, as Lightning's would: a run that is refused leaves no config."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the config of this ``fit``; the other stages change no checkpoint."""
        if not trainer.is_global_zero or self.already_saved:
            return
        self.already_saved = True
        folder = Path(trainer.default_root_dir)
        path = folder / CONFIG_NAME
        if self.config.get("ckpt_path") is not None and path.exists():
            path = _next_resume(folder)
        config = self.config.clone()
        # The folder may be moved or copied; its config then means the new place.
        config.pop("run_dir", None)
        config.pop("ckpt_path", None)
        header = f"# {command()}\n# commit: {commit() or 'unknown'}\n"
        with atomic_write(path) as temporary:
            temporary.write_text(header + self.parser.dump(config, skip_none=False))


def _next_resume(folder: Path) -> Path:
    number = 1
    while (path := resume_config(folder, number)).exists():
        number += 1
    return path
