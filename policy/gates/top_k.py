"""A fixed count of patches, whatever moves: what programs with static shapes can run."""

from datamodules.errors import RegateError
from policy.gates.base import BlockView, Decision, Gate, Masks
from policy.hard import scored_policies
from policy.policies import HEURISTICS
from policy.signals import ranks


class TopK(Gate):
    """Recompute the patches that another gate scores highest, the same number on each frame.

    The other gate's knob stays what it is: a learned gate's score depends on it, the order by
    drift does not. A tie goes to the patch that comes first.

    Args:
        gate: Scores the patches; with one mask for all blocks.
        count: Patches per stream and frame, at least 1.

    Raises:
        RegateError: If the count is under 1, or the gate is of a kind whose decisions are not one
            score per patch and frame.
    """

    name = "top-k"
    gives_score = True

    def __init__(self, gate: Gate, count: int) -> None:
        if count < 1:
            raise RegateError(f"a fixed count of patches must be 1 or more, got {count}")
        reason = _why_not(gate)
        if reason:
            raise RegateError(
                f"the {gate.name} gate cannot pick a fixed count of patches: {reason}. What can "
                f"are gates with one mask and a score: {', '.join(_heuristics())}, and learned "
                "ones that release nothing"
            )
        super().__init__(Masks.SHARED, gate.knob)
        self.gate = gate
        self.count = count
        self.reads_memory = gate.reads_memory

    def decide(self, view: BlockView) -> Decision:
        """The patches of the highest scores.

        Raises:
            RegateError: If there are fewer patches than asked for.
        """
        patches = view.tokens.shape[1]
        if self.count > patches:
            raise RegateError(f"a frame has {patches} patches, {self.count} cannot be recomputed")
        score = self.gate.decide(view).score
        assert score is not None, "gives_score says that there is one"
        return Decision(ranks(score) < self.count, score)

    def macs(self, block: int, dim: int) -> float:
        """Those of the scores."""
        return self.gate.macs(block, dim)


def _why_not(gate: Gate) -> str:
    if not gate.decides_per_token:
        return "it holds whole frames"
    if gate.masks is Masks.PER_BLOCK:
        return "it decides anew at each block"
    if gate.masks is Masks.NESTED:
        return "it releases patches at later blocks (train one with --model.releases false)"
    if gate.memo_size:
        return "it steers how many patches are recomputed, which a fixed count leaves nothing of"
    if not gate.gives_score:
        return "it gives no score to rank patches by"
    return ""


def _heuristics() -> list[str]:
    """Names of those that can, each once."""
    scored = (HEURISTICS[name]() for name in scored_policies() if name in HEURISTICS)
    return list(dict.fromkeys(gate.name for gate in scored if not _why_not(gate)))
