"""Gate trainings that die in the middle of their fourth batch."""

import os
from typing import Any

from torch import Tensor

from datamodules.records import ClipBatch
from policy.tasks.gumbel import GumbelTask
from policy.tasks.ppo import PPOTask
from policy.tasks.reinforce import ReinforceTask


class KilledAtStep3(GumbelTask):
    """GumbelTask until then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def training_step(self, batch: ClipBatch, batch_index: int) -> Tensor:
        if self.global_step == 3:
            os.kill(os.getpid(), 9)
        return super().training_step(batch, batch_index)


class KilledPPOTask(PPOTask):
    """PPOTask until its fourth rollout."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def training_step(self, batch: ClipBatch, batch_index: int) -> None:
        if self.global_step == 3 * self.steps_per_rollout:
            os.kill(os.getpid(), 9)
        super().training_step(batch, batch_index)


class KilledReinforceTask(ReinforceTask):
    """ReinforceTask until its fourth rollout."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def training_step(self, batch: ClipBatch, batch_index: int) -> None:
        if self.global_step == 3:
            os.kill(os.getpid(), 9)
        super().training_step(batch, batch_index)
