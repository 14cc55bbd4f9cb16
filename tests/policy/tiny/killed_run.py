"""A gate training that dies in the middle of its fourth step."""

import os
from typing import Any

from torch import Tensor

from datamodules.records import ClipBatch
from policy.tasks.gumbel import GumbelTask


class KilledAtStep3(GumbelTask):
    """GumbelTask until then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def training_step(self, batch: ClipBatch, batch_index: int) -> Tensor:
        if self.global_step == 3:
            os.kill(os.getpid(), 9)
        return super().training_step(batch, batch_index)
