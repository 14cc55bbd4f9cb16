"""A steered threshold whose agent also says which patches are preferred, not only how many."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from policy.gates.base import BlockView, Decision
from policy.gates.observation import FAR, SPAN, Field
from policy.gates.steered import REFRESH, SteeredGate
from policy.signals import neighbourhood
from policy.state import GateState

COHERENCE = 1.0
"""Share of a patch's score that a full action takes from its 3 × 3 neighbourhood."""
AGE = 0.5
"""Log drift that a full action adds for an age larger by the factor e."""
PREFERENCES = (
    Field("action_coherence", -1, 1, "coherence on the frame before"),
    Field("action_age", -1, 1, "preference for old patches on the frame before"),
)
ACTIONS = ("offset", "coherence", "age", "refresh")
"""Numbers of an action, in order."""
SELECTION = 14.0
"""Elementwise operations per patch that preferences take: a 3 × 3 mean, two differences, sums."""


class SelectiveGate(SteeredGate):
    """The steered threshold with two preferences per frame, one mask for all blocks.

    ``score = log drift + 2 · offset + coherence · (mean over the 3 × 3 patches around −
    own) + 0.5 · age · (log age − mean over the frame) > knob``, the parts in brackets relative to
    the knob and clamped. Actions are offset, coherence, age and refresh, in this order; 0 is the
    threshold heuristic.

    An offset alone decides how much a frame spends, and about that the threshold is nearly right
    already. Patches that move alone are noise more often than motion: coherence is what a few
    numbers per frame can say about that.

    Args:
        actor: From observations [s, o] to actions [s, 4]; None always answers 0.
        knob_mean: As of ``SteeredGate``.
        knob_std: Likewise.
    """

    name = "selective"

    def __init__(
        self, actor: nn.Module | None = None, knob_mean: float = 0.0, knob_std: float = 1.0
    ) -> None:
        super().__init__(actor=actor, knob_mean=knob_mean, knob_std=knob_std)
        self.action_size = len(ACTIONS)
        self.observation_fields += PREFERENCES
        self.observation_size = len(self.observation_fields)
        self.memo_size += len(PREFERENCES)

    def observation(self, view: BlockView) -> Tensor:
        """What the steered gate is told, and the preferences of the frame before, [s, o]."""
        preferences = view.state.memo[:, : len(PREFERENCES)].float()
        return torch.cat([super().observation(_steered(view)), preferences], dim=1)

    def decide(self, view: BlockView) -> Decision:
        """The patches beyond the steered threshold, by the score that is preferred."""
        action = self._action(view).to(view.state.memo)
        offset, coherence, age, refresh = action.unbind(1)
        relative = self._relative(view)
        near, _ = neighbourhood(relative.clamp(-FAR, FAR), view.grid)
        ages = view.state.age.to(relative).log1p()
        score = (
            self.score(view)
            + SPAN * offset[:, None]
            + COHERENCE * coherence[:, None] * (near - relative.clamp(-FAR, FAR))
            + AGE * age[:, None] * (ages - ages.mean(1, keepdim=True))
        )
        recompute = (score > view.knob.unsqueeze(1)) | (refresh[:, None] > REFRESH)
        steered = view.state.memo[:, len(PREFERENCES) :].clone()
        steered[:, :2] = action[:, [0, 3]]
        return Decision(recompute, score, memo=torch.cat([action[:, 1:3], steered], dim=1))

    def remember(self, state: GateState, spent: Tensor) -> Tensor:
        """As the steered gate does; preferences are written down as they are decided."""
        kept = state.memo[:, : len(PREFERENCES)]
        noted = super().remember(replace(state, memo=state.memo[:, len(PREFERENCES) :]), spent)
        return torch.cat([kept, noted], dim=1)

    def macs(self, block: int, dim: int) -> float:
        """Those of the steered gate, and with an actor of the preferences."""
        return super().macs(block, dim) + (SELECTION if self.actor is not None else 0.0)


def _steered(view: BlockView) -> BlockView:
    """With the part of the memo that the steered gate knows."""
    return replace(view, state=replace(view.state, memo=view.state.memo[:, len(PREFERENCES) :]))
