"""The file that ``regate predict`` leaves: one line per clip, also from several processes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter

from policy.atomic import atomic_write

PREDICTIONS = "predictions.jsonl"


class WritePredictions(BasePredictionWriter):
    """Writes the records of ``predict_step`` to ``predictions.jsonl`` in the folder of the run.

    Each process writes its clips to a part of its own as they come; at the end the first process
    merges the parts in the order of the clips. A clip that two processes were given, so that
    both have equally many, is written once. A module whose ``predict_step`` returns nothing
    leaves no file.
    """

    def __init__(self) -> None:
        super().__init__(write_interval="batch")
        self._part: TextIO | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open this process's part, over what a run that was killed may have left."""
        path = _part(trainer, trainer.global_rank)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._part = path.open("w")

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,  # noqa: ANN401  (Lightning's signature)
        batch_indices: Sequence[int] | None,
        batch: Any,  # noqa: ANN401
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Append the records of a batch, each with its clip's place in the data."""
        if prediction is None or not batch_indices or self._part is None:
            return
        for index, record in zip(batch_indices, prediction, strict=True):
            self._part.write(json.dumps([index, record]) + "\n")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the parts once all processes have written theirs."""
        assert self._part is not None
        self._part.close()
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return
        records: dict[int, object] = {}
        for rank in range(trainer.world_size):
            part = _part(trainer, rank)
            records |= dict(map(json.loads, part.read_text().splitlines()))
            part.unlink()
        if not records:
            return
        path = Path(trainer.default_root_dir) / PREDICTIONS
        with atomic_write(path) as temporary:
            lines = [json.dumps(records[index]) + "\n" for index in sorted(records)]
            temporary.write_text("".join(lines))
        print(f"wrote {path} ({len(records)} clips)")


def _part(trainer: Trainer, rank: int) -> Path:
    return Path(trainer.default_root_dir) / f".{PREDICTIONS}.{rank}"
