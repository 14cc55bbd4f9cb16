"""Agents' trainings that leave behind what each process learned from."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.records import ClipBatch
from policy.rl.ppo import PPO, Experience
from policy.rl.reinforce import Reinforce
from policy.rl.rollout import Rollout
from policy.tasks.agent import AgentTask
from policy.tasks.ppo import PPOTask
from policy.tasks.reinforce import ReinforceTask

SEEN: list[Experience] = []


class WatchedPPO(PPO):
    def experience(self, *args: Any) -> Experience:
        SEEN.append(super().experience(*args))
        return SEEN[-1]


class WatchedReinforce(Reinforce):
    def experience(self, *args: Any) -> Experience:
        SEEN.append(super().experience(*args))
        return SEEN[-1]


def keep(task: AgentTask) -> None:
    """Write ``process-K.pt`` into the folder of the run."""
    kept = {
        "advantages": [experience.advantages for experience in SEEN],
        "returns": [experience.returns for experience in SEEN],
        "norm": task.value_norm.state_dict(),
        "weights": task.gate.state_dict(),
    }
    torch.save(kept, Path(task.trainer.default_root_dir) / f"process-{task.global_rank}.pt")


class WatchedPPOTask(PPOTask):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ppo = WatchedPPO(**vars(self.ppo))

    def on_train_end(self) -> None:
        keep(self)


class WatchedReinforceTask(ReinforceTask):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reinforce = WatchedReinforce(**vars(self.reinforce))

    def on_train_end(self) -> None:
        keep(self)


class BrokenReinforceTask(ReinforceTask):
    """In the second of two processes, a reward of the second rollout is no number."""

    def _rollout(self, batch: ClipBatch, bins: Tensor) -> Rollout:
        rollout = super()._rollout(batch, bins)
        if (self.global_step, self.global_rank) == (1, 1):
            rollout.rewards[0, 0] = torch.nan
        return rollout
