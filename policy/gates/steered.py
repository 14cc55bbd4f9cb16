"""A threshold that an agent steers: a few numbers per stream and frame, not one per token."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.errors import RegateError
from policy.budgets.table import Calibration
from policy.gates.base import BlockView, Decision, Gate, Masks
from policy.gates.heuristic import ThresholdGate
from policy.gates.observation import FAR, SPAN, Memo, fields, observe
from policy.state import GateState

REFRESH = 0.75
"""A refresh action above this recomputes every patch of the frame."""
HORIZON = 16
"""Later frames that the running mean of spent reaches back over."""
TABLE = 9
"""Points of the table from knobs to the budgets that they were found for."""
STATISTICS = 16.0
"""Elementwise operations per patch that an observation takes, beside the drift itself."""


class SteeredGate(ThresholdGate):
    """The threshold heuristic, moved frame by frame by an action in [-1, 1] per block group.

    ``score = log drift + 2 · action[group] > knob``, and a last number that recomputes the whole
    frame where it is above 0.75. Action 0 *is* the threshold heuristic at the knob, so an agent
    whose mean action starts at 0 starts from what it has to beat.

    The action comes from ``actor``, which sees one observation per stream and frame
    (``policy.gates.observation``), or from outside through ``steer``, as in training. What is
    remembered from frame to frame is in ``GateState.memo``.

    Args:
        groups: Block groups with an offset of their own. One has a single mask for all blocks,
            which is the cheapest to serve; more decide anew at each block.
        depth: Blocks of the backbone; only more than one group needs it.
        actor: From observations [s, o] to actions [s, k]; None always answers 0.
        knob_mean: Centre of the knobs it is used at.
        knob_std: Their spread; both scale the knob as it is observed.

    Raises:
        RegateError: If there are fewer than one group or more groups than blocks.
    """

    name = "steered"
    knob_mean: Tensor
    knob_std: Tensor
    target_knobs: Tensor
    target_spent: Tensor

    def __init__(
        self,
        groups: int = 1,
        depth: int = 1,
        actor: nn.Module | None = None,
        knob_mean: float = 0.0,
        knob_std: float = 1.0,
    ) -> None:
        if not 1 <= groups <= depth:
            raise RegateError(
                f"a steered gate takes 1 to {depth} block groups for {depth} blocks, got {groups}"
            )
        super().__init__(masks=Masks.SHARED if groups == 1 else Masks.PER_BLOCK)
        self.groups = groups
        self.depth = depth
        self.actor = actor
        self.knob = knob_mean
        self.action_size = groups + 1
        self.observation_fields = fields(groups)
        self.observation_size = len(self.observation_fields)
        self.memo_size = Memo.size(groups)
        self.register_buffer("knob_mean", torch.tensor(knob_mean))
        self.register_buffer("knob_std", torch.tensor(knob_std))
        # Log spent by ascending knob; until ``aim`` is told better, a line over the whole range.
        self.register_buffer("target_knobs", torch.linspace(*self.knob_range, TABLE))
        self.register_buffer("target_spent", torch.linspace(0.0, -3.2, TABLE))
        self._steering: Tensor | None = None

    @cached_property
    def heuristic(self) -> Gate:
        """The threshold that is steered, left alone."""
        return ThresholdGate(masks=self.masks, offsets=self.offsets)

    def aim(self, calibration: Calibration) -> None:
        """Learn from the threshold's calibration which knob stands for which budget."""
        spent = np.log(calibration.spent)
        points = np.linspace(spent[-1], spent[0], TABLE)  # knobs rise as spent falls
        knobs = np.interp(points, spent, calibration.knobs)
        self.target_knobs.copy_(torch.from_numpy(knobs))
        self.target_spent.copy_(torch.from_numpy(points))
        self.knob_mean.fill_(float(np.mean(calibration.knobs)))
        self.knob_std.fill_(max(float(np.std(calibration.knobs)), 0.1))

    def steer(self, actions: Tensor | None) -> None:
        """Take these actions on every frame from now on instead of the actor's.

        Args:
            actions: One row per stream, [s, k], clamped to [-1, 1]; None asks the actor again.
        """
        self._steering = actions

    def observation(self, view: BlockView) -> Tensor:
        """What the actor is told before the frame, from its first block's view, [s, o]."""
        knob = view.knob.float()
        return observe(
            self._relative(view),
            view.state.age,
            view.state.frame,
            (knob - self.knob_mean) / self.knob_std,
            self._target(knob),
            Memo.unpack(view.state.memo, self.groups),
        )

    def decide(self, view: BlockView) -> Decision:
        """The patches beyond the steered threshold."""
        group = view.block * self.groups // self.depth
        memo = Memo.unpack(view.state.memo, self.groups)
        written = None
        if view.block == 0:
            memo = memo._replace(action=self._action(view).to(memo.action))
            written = memo.pack()
        elif group != (view.block - 1) * self.groups // self.depth:
            written = memo._replace(later=self._seen(view, group, memo.later)).pack()
        score = self.score(view) + SPAN * memo.action[:, group, None]
        recompute = (score > view.knob.unsqueeze(1)) | (memo.action[:, -1:] > REFRESH)
        return Decision(recompute, score, memo=written)

    def remember(self, state: GateState, spent: Tensor) -> Tensor:
        """Spent on the frame, and its running mean over the frames after the first."""
        memo = Memo.unpack(state.memo, self.groups)
        spent = spent.unsqueeze(1)
        reach = state.frame.unsqueeze(1).clamp(1, HORIZON)
        mean = memo.mean_spent + (spent - memo.mean_spent) / reach
        mean = torch.where(state.frame.unsqueeze(1) > 0, mean, 0.0)
        return memo._replace(spent=spent, mean_spent=mean).pack()

    def macs(self, block: int, dim: int) -> float:
        """The drift's norm, d per patch, and with an actor the statistics that it is told."""
        return float(dim) + (STATISTICS if self.actor is not None and block == 0 else 0.0)

    @property
    def frame_macs(self) -> float:
        """Those of the actor's linear layers."""
        if self.actor is None:
            return 0.0
        layers = (layer for layer in self.actor.modules() if isinstance(layer, nn.Linear))
        return float(sum(layer.weight.numel() for layer in layers))

    def _action(self, view: BlockView) -> Tensor:
        """Of this frame, [s, k]."""
        if self._steering is not None:
            return self._steering.clamp(-1, 1)
        if self.actor is None:
            return view.knob.new_zeros(len(view.knob), self.action_size)
        actions: Tensor = self.actor(self.observation(view))
        return actions.clamp(-1, 1)

    def _relative(self, view: BlockView) -> Tensor:
        """Log drift minus the threshold before it is steered, [s, p]."""
        return self.score(view) - view.knob.unsqueeze(1)

    def _seen(self, view: BlockView, group: int, later: Tensor) -> Tensor:
        """The later groups' drift statistics with those of one group renewed."""
        relative = self._relative(view)
        mean = relative.clamp(-FAR, FAR).mean(1) / FAR
        share = (relative > 0).to(mean).mean(1)
        renewed = later.clone()
        renewed[:, 2 * (group - 1) : 2 * group] = torch.stack([mean, share], dim=1).to(later)
        return renewed

    def _target(self, knob: Tensor) -> Tensor:
        """Log budget that a knob was found for, linear between the table's points, [s]."""
        knobs, spent = self.target_knobs, self.target_spent
        above = torch.searchsorted(knobs, knob.contiguous()).clamp(1, TABLE - 1)
        width = (knobs[above] - knobs[above - 1]).clamp_min(1e-6)
        share = ((knob - knobs[above - 1]) / width).clamp(0, 1)
        return spent[above - 1] + share * (spent[above] - spent[above - 1])
