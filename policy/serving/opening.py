"""From the words of a command line to a session that is ready for frames."""

from pathlib import Path

import torch

from backbones.loading import load_backbone
from backbones.preprocessing import Preprocessing
from backbones.vit import Backbone
from datamodules.errors import RegateError
from policy.device import open_device
from policy.gate_file import calibrated_on, load_gate, read_metadata
from policy.gates.base import Gate
from policy.gates.heuristic import ThresholdGate
from policy.guard import Guard
from policy.policies import PACED, build_gate, family
from policy.reuse.executions import CacheDtype, named_dtype
from policy.session import ReuseSession

DEFAULT_BUDGET = 0.25


def open_session(
    gate: str,
    backbone: str = "",
    weights: str = "pretrained",
    budget: float | None = None,
    knob: float | None = None,
    preprocessing: Preprocessing = Preprocessing(),  # noqa: B008  # frozen
    device: str = "cpu",
    seed: int = 0,
    guard: Guard | None = None,
    hard: bool = False,
    cache_dtype: CacheDtype | None = None,
) -> ReuseSession:
    """Load a gate and its backbone.

    Args:
        gate: A gate file, or the name of a policy that needs none.
        backbone: timm's name; a gate file's own if empty.
        weights: "pretrained", a local file, or "random".
        budget: Fraction of the dense frame's MACs, in the mean; 0.25 for a calibrated gate if
            neither this nor ``knob`` is given.
        knob: The gate's own setting instead of a budget. Beside a hard one it is what a gate
            without calibration decides by.
        preprocessing: What happens to an image first; by default what the gate file was
            calibrated with, or the model's own.
        device: As torch names it.
        seed: Of random policies.
        guard: Of the session.
        hard: Whether each later frame keeps to the budget, which is 0.25 if not given.
        cache_dtype: Of cached keys and values; the weights' by default.

    Raises:
        RegateError: If anything does not exist or does not fit.
    """
    if budget is not None and knob is not None and not hard:
        raise RegateError(
            f"--budget {budget:g} and --knob {knob:g} both set how much is spent: give one of them"
        )
    model, built = open_gate(gate, backbone, weights, preprocessing, device)
    from_file = Path(gate).is_file()
    if hard and knob is not None and built.calibration is not None:
        raise RegateError(
            f"{gate} is calibrated, so that a hard budget picks its knob: leave --knob {knob:g} out"
        )
    if budget is None and (hard or (knob is None and built.calibration is not None)):
        budget = DEFAULT_BUDGET
    # A file without calibration brings its knob; what keeps no hard budget the session refuses.
    brings = (from_file and (hard or budget is None)) or (hard and not built.gives_score)
    if knob is None and built.calibration is None and not brings:
        _check_needs_no_knob(built, budget)
    session = ReuseSession(
        model,
        built,
        budget,
        seed=seed,
        cache_dtype=named_dtype(cache_dtype),
        guard=guard,
        hard=hard,
    )
    if knob is not None:
        session.knob = _checked_knob(built, knob)
    return session


def open_gate(
    gate: str, backbone: str, weights: str, preprocessing: Preprocessing, device: str
) -> tuple[Backbone, Gate]:
    """Load the backbone that a gate belongs to, and the gate; as in ``open_session``."""
    on = open_device(device)
    from_file = Path(gate).is_file()
    if not from_file and (Path(gate).suffix or "/" in gate):
        raise RegateError(
            f"there is no gate file {gate}: give one that `regate fit` or `regate export` wrote, "
            "or the name of a policy such as threshold"
        )
    if from_file:
        metadata = read_metadata(gate)
        backbone = backbone or str(metadata["backbone"])
        preprocessing = preprocessing.over(calibrated_on(metadata))
    elif not backbone:
        raise RegateError(
            f"the policy {gate} fits any backbone: say which with --backbone, for example "
            "--backbone vit_tiny_patch16_224"
        )
    if gate.endswith(PACED):
        raise RegateError(
            f"{gate} has a pace for each budget, which only a calibration gives: give "
            f"{family(gate)}, or a gate file, which brings its own"
        )
    model = load_backbone(backbone, weights, preprocessing=preprocessing).to(on)
    built = load_gate(gate, model) if from_file else build_gate(gate)
    built.to(on)
    return model, built


def describe(backbone: Backbone, gate: Gate) -> dict[str, object]:
    """What the numbers of a run depend on besides the frames, for its JSON file."""
    return {
        "backbone": backbone.name,
        "fingerprint": backbone.fingerprint,
        "preprocessing": backbone.preprocessing.to_json(),
        "policy": gate.name,
        "masks": str(gate.masks),
        "device": str(backbone.mean.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "fused_attention": all(block.attn.fused_attn for block in backbone.blocks),
    }


def _check_needs_no_knob(gate: Gate, budget: float | None) -> None:
    if gate.knob_range is not None:
        first, last = gate.knob_range
        raise RegateError(
            f"the policy {gate.name} has a knob and no calibration that turns a budget into it: "
            f"give --knob, from {first:g} (spends most) to {last:g}, or a calibrated gate file"
        )
    if budget is not None:
        raise RegateError(f"the policy {gate.name} has no knob: leave --budget {budget:g} out")


def _checked_knob(gate: Gate, knob: float) -> float:
    if gate.knob_range is None:
        raise RegateError(f"the policy {gate.name} has no knob: leave --knob {knob:g} out")
    low, high = sorted(gate.knob_range)
    if not low <= knob <= high:
        raise RegateError(
            f"the knob of {gate.name} must be in [{low:g}, {high:g}], got {knob:g}"
            + (": it is the threshold's logarithm" if isinstance(gate, ThresholdGate) else "")
        )
    return knob
