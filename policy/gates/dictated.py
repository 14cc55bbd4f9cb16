"""Masks that come from outside, token by token: the fine-grained agent's gate."""

import torch
from torch import Tensor

from policy.gates.base import BlockView, Decision
from policy.gates.observation import FAR, Field
from policy.gates.steered import SteeredGate


class DictatedGate(SteeredGate):
    """Recompute the patches that ``steer`` was told, one mask for all blocks.

    One decision per patch, as BlockDrop takes one per block (https://arxiv.org/abs/1711.08393):
    what coarse actions are to be compared with, for small backbones. The observation adds each
    patch's relative drift and age.

    Args:
        patches: Per frame, p.
    """

    name = "dictated"

    def __init__(self, patches: int) -> None:
        super().__init__()
        self.action_size = patches
        self.observation_fields += tuple(
            Field(f"{name}_of_patch_{patch}", low, 1, f"{meaning} of patch {patch}")
            for name, low, meaning in (("drift", -1, "relative log drift / 4"), ("age", 0, "age"))
            for patch in range(patches)
        )
        self.observation_size = len(self.observation_fields)

    def observation(self, view: BlockView) -> Tensor:
        """The frame's statistics, then relative drift and age of each patch, [s, o]."""
        drift = self._relative(view).float() / FAR
        age = view.state.age.float().log1p() / FAR
        return torch.cat([super().observation(view), drift, age], dim=1).clamp(-1, 1)

    def decide(self, view: BlockView) -> Decision:
        """The patches that were told, bool or 0 and 1 [s, p]; none before ``steer``."""
        score = self.score(view)
        if self._steering is None:
            return Decision(torch.zeros_like(score, dtype=torch.bool), score)
        return Decision(self._steering > 0.5, score)
