"""The learned gate: the threshold heuristic plus what a small network adds to its score."""

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policy.gates.base import BlockView, Carry, Decision, Gate, Masks
from policy.gates.heuristic import KeptThreshold, ThresholdGate
from policy.relax import Relaxation
from policy.signals import DRIFT_FLOOR, log_drift, neighbourhood

# Scalars per patch at admission; see ``_scalars``.
NUM_SCALARS = 11
# Relative log drifts beyond this are all "far" or all "near".
CLAMP = 4.0


class LearnedGate(Gate):
    """One running score per patch and frame, started by drift and moved by small networks.

    At the first block ``score = log drift − knob + admit(features)``, and patches above 0 are
    admitted. With ``releases``, a network of its own adds at each later block to the score of the
    patches still computed, and those that fall to 0 are released; without, one mask is shared by
    all blocks. The last layers start at zero, so that an untrained gate *is* the threshold
    heuristic with one shared mask. One noise sample per patch and frame is shared by all blocks:
    independent noise per block would make a patch's fate a lottery that no single block's
    gradient can see.

    Features are causal and cost little: drift absolute, relative and against its neighbourhood
    and frame, age, the last decision, the knob, and two projections of rank ``rank``, shared by
    all blocks: of what the patch meant when it was last computed (``memory``), and of the
    direction in which it has moved since.

    Args:
        dim: Token width d.
        depth: Number of blocks l.
        rank: Of each content projection.
        hidden: Width of the networks' one hidden layer.
        knob_mean: Centre of the log thresholds it is trained for.
        knob_std: Their spread; both scale the knob as a feature.
        releases: Whether later blocks may release patches.
    """

    name = "gumbel"
    knob_range = (-9.0, 9.0)
    reads_memory = True
    gives_score = True
    knob_mean: Tensor
    knob_std: Tensor

    def __init__(
        self,
        dim: int,
        depth: int,
        rank: int = 8,
        hidden: int = 16,
        knob_mean: float = 0.0,
        knob_std: float = 1.0,
        releases: bool = True,
    ) -> None:
        super().__init__(Masks.NESTED if releases else Masks.SHARED, knob=knob_mean)
        self.dim, self.depth, self.rank, self.hidden = dim, depth, rank, hidden
        self.register_buffer("knob_mean", torch.tensor(knob_mean))
        self.register_buffer("knob_std", torch.tensor(knob_std))
        self.meaning = nn.Linear(dim, rank, bias=False)
        self.movement = nn.Linear(dim, rank, bias=False)
        self.admit = _network(NUM_SCALARS + 2 * rank, hidden)
        self.releases = nn.ModuleList(
            _network(1 + 2 * rank, hidden) for _ in range((depth - 1) * releases)
        )

    @cached_property
    def heuristic(self) -> Gate:
        """The threshold, with whose score this one begins."""
        return KeptThreshold() if self.releases else ThresholdGate()

    def decide(self, view: BlockView) -> Decision:
        """Admit patches at the first block."""
        drift = log_drift(view.tokens, view.reference)
        content = self._content(view)
        features = torch.cat([self._scalars(view, drift), content], dim=-1)
        offset: Tensor = self.admit(features).squeeze(-1)
        score = drift - view.knob.unsqueeze(1).to(drift.dtype) + offset
        relaxation = view.relaxation
        noise = relaxation.noise(score) if relaxation else torch.zeros_like(score)
        decision = relaxation(score + noise) if relaxation else score > 0
        return Decision(decision, drift + offset, Carry(score, content, noise, decision))

    def release(
        self, block: int, tokens: Tensor, carry: Carry, relaxation: Relaxation | None
    ) -> Decision:
        """Release patches whose score falls to 0 at a later block."""
        relative = carry.score.clamp(-CLAMP, CLAMP).unsqueeze(-1) / CLAMP
        offset = self.releases[block - 1](torch.cat([relative, carry.content], dim=-1))
        score = carry.score + offset.squeeze(-1)
        if relaxation:
            # A probe stays one: half a patch through all the blocks that it was drawn for.
            kept = relaxation(score + carry.noise, share=1 / len(self.releases))
            decision = torch.where(carry.decision == 1, kept, carry.decision)
        else:
            decision = carry.decision & (score > 0)
        return Decision(decision, score, Carry(score, carry.content, carry.noise, decision))

    def macs(self, block: int, dim: int) -> float:
        """Matrix MACs of the networks, and d each for the drift, its norm and the cosine's two."""
        if block and not self.releases:
            return 0.0
        if block:
            return float((1 + 2 * self.rank) * self.hidden + self.hidden)
        network = (NUM_SCALARS + 2 * self.rank) * self.hidden + self.hidden
        return float(2 * self.rank * dim + network + 4 * dim)

    def _content(self, view: BlockView) -> Tensor:
        """Projections of what the patch was and of where it moved, [s, p, 2 · rank]."""
        meaning = F.layer_norm(view.memory, (self.dim,))
        moved = view.tokens - view.reference
        direction = moved / moved.pow(2).mean(-1, keepdim=True).sqrt().clamp_min(DRIFT_FLOOR)
        return torch.cat([self.meaning(meaning), self.movement(direction)], dim=-1)

    def _scalars(self, view: BlockView, drift: Tensor) -> Tensor:
        """Causal scalars of each patch, roughly in [-1, 1], [s, p, NUM_SCALARS]."""
        knob = view.knob.unsqueeze(1).to(drift.dtype)
        relative = (drift - knob).clamp(-CLAMP, CLAMP)
        near_mean, near_peak = neighbourhood(relative, view.grid)
        norm = torch.linalg.vector_norm(view.tokens, dim=-1).clamp_min(DRIFT_FLOOR).log()
        cosine = F.cosine_similarity(view.tokens, view.reference, dim=-1)
        over = (relative > 0).to(drift.dtype).mean(1, keepdim=True)
        features = [
            relative / CLAMP,
            near_mean / CLAMP,
            near_peak / CLAMP,
            relative.mean(1, keepdim=True) / CLAMP,
            relative.amax(1, keepdim=True) / CLAMP,
            (drift - norm).clamp(-2 * CLAMP, CLAMP) / CLAMP,
            (1 - cosine).clamp(0, 1).sqrt(),
            view.state.age.to(drift.dtype).log1p() / CLAMP,
            view.state.last.to(drift.dtype),
            (knob - self.knob_mean) / self.knob_std,
            over,
        ]
        return torch.stack([feature.expand_as(drift) for feature in features], dim=-1)


def _network(inputs: int, hidden: int) -> nn.Sequential:
    """One hidden layer; the output starts at exactly zero."""
    last = nn.Linear(hidden, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), last)
