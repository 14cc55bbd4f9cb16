"""The fused gating against plain PyTorch: in Triton's interpreter, or on a GPU if there is one."""

import os
import subprocess
import sys

import pytest
import torch

from policy.gates import LearnedGate, Masks, ThresholdGate
from policy.guard import Guard
from policy.reuse.base import FrameGate
from policy.reuse.selection import select
from policy.session import ReuseSession
from policy.state import GateState

triton = pytest.importorskip("triton", reason='needs Triton: pip install "regate[triton]"')
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs a GPU, or TRITON_INTERPRET=1", allow_module_level=True)

NEVER, ALWAYS = 9.0, -9.0  # log thresholds


@pytest.fixture
def chosen_by(make_backbone):
    """Let one frame be selected, plainly or fused; references move away along with the tokens."""

    def run(function, family, dtype, knobs, forced=None):
        backbone = make_backbone(family)
        streams, n = len(knobs), backbone.num_tokens
        patches = n - backbone.num_prefix_tokens
        generator = torch.Generator().manual_seed(0)
        far = 4 * torch.rand(streams, n, 1, generator=generator)
        reference = torch.randn(streams, n, backbone.dim, generator=generator)
        tokens = reference + far * torch.randn(reference.shape, generator=generator)
        tokens, reference = (value.to(DEVICE, dtype) for value in (tokens, reference))
        if forced is None:
            forced = torch.zeros(streams, patches, dtype=torch.bool)
        state = GateState.fresh(torch.arange(streams, device=DEVICE), patches)
        knob = torch.tensor(knobs, device=DEVICE)
        gate = FrameGate(ThresholdGate(), state, knob, forced.to(DEVICE), backbone)
        return function(gate, tokens, reference, tokens), gate.score, reference

    return run


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("family", ["vit_tiny", "siglip", "dinov2_registers"])
def test_the_kernels_select_what_plain_torch_selects(family, dtype, chosen_by):
    from policy.kernels.gating import fused_select

    # The third stream is told what to recompute, the last has nothing to do but its prefix.
    forced = torch.zeros(4, 16, dtype=torch.bool)
    forced[2, 3:6] = True
    case = family, dtype, [2.5, 3.0, ALWAYS, NEVER], forced

    plain, plain_score, plain_reference = chosen_by(select, *case)
    fused, score, reference = chosen_by(fused_select, *case)

    prefix = plain.counts[3]
    assert plain.counts[2] == prefix + 3 and prefix < plain.counts[1] < plain.counts[0]
    assert fused.counts == plain.counts
    for field in ("mask", "rows", "inputs"):
        assert torch.equal(getattr(fused, field), getattr(plain, field))
    assert torch.equal(reference, plain_reference)
    assert score.dtype == plain_score.dtype
    assert (score - plain_score).abs().max() < 1e-6


def test_no_row_at_all_is_selected_from_frames_without_prefix_tokens_that_stand_still(chosen_by):
    from policy.kernels.gating import fused_select

    selection, _, _ = chosen_by(fused_select, "siglip", torch.float32, [NEVER, NEVER])

    assert selection.counts == [0, 0]
    assert selection.rows.shape == (0,) and selection.inputs.shape == (0, 48)
    assert not selection.mask.any()


def run(backbone, gate, frames, execution, guard=None):
    session = ReuseSession(backbone, gate, execution=execution, guard=guard)
    session.knob = torch.tensor([0.0, 0.65], device=DEVICE)
    results = []
    for index, frame in enumerate(frames):
        if index == 3:
            session.reset(1)  # dense beside a stream that is not
        results.append(session.step(frame))
    return results


@pytest.mark.parametrize("guard", [None, Guard(max_age=2, cap=0.7)], ids=["alone", "guarded"])
@pytest.mark.parametrize("kind", ["threshold", "learned"])
def test_a_fused_session_equals_a_compact_one(kind, guard, make_backbone, make_frames):
    backbone = make_backbone().to(DEVICE)
    gate = ThresholdGate()
    if kind == "learned":  # is not the kernel's, and goes the plain way
        gate = LearnedGate(backbone.dim, backbone.depth, releases=False).to(DEVICE)
    frames = make_frames(backbone, 5, streams=2)

    fused = run(backbone, gate, frames, "fused", guard)
    compact = run(backbone, gate, frames, "compact", guard)

    shares = [float(result.recompute[..., 1:].float().mean()) for result in compact[1:]]
    assert 0.1 < min(shares) < 0.9
    for ours, theirs in zip(fused, compact, strict=True):
        assert torch.equal(ours.recompute, theirs.recompute)
        assert torch.equal(ours.spent, theirs.spent)
        assert (ours.logits - theirs.logits).abs().max() < 1e-5
        assert (ours.patches - theirs.patches).abs().max() < 1e-5
        assert (ours.score is None) == (theirs.score is None)
        if ours.score is not None:
            assert (ours.score - theirs.score).abs().max() < 1e-5


def test_a_hard_budget_binds_the_fused_session_too(make_backbone, make_frames):
    backbone = make_backbone().to(DEVICE)
    session = ReuseSession(backbone, ThresholdGate(0.0), 0.4, execution="fused", hard=True)

    spent = [session.step(frame).spent for frame in make_frames(backbone, 4, streams=2)]

    assert 0.3 < torch.stack(spent[1:]).max() <= 0.4


def test_on_a_cpu_the_kernels_are_refused(backbone, make_frames, monkeypatch):
    from policy.kernels import gating

    monkeypatch.setattr(gating, "INTERPRETED", False)
    session = ReuseSession(backbone, ThresholdGate(), execution="fused")
    with pytest.raises(ValueError) as refused:
        session.step(make_frames(backbone, 1)[0])

    assert str(refused.value) == (
        'execution="fused" runs on a GPU, and the backbone is on cpu: move it there, or take '
        'execution="compact"'
    )


def test_without_triton_the_cure_is_told(backbone, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "policy.kernels.gating", raising=False)
    with pytest.raises(ValueError) as refused:
        ReuseSession(backbone, ThresholdGate(), execution="fused")

    told = str(refused.value)
    assert told.startswith('execution="fused" needs Triton (')
    assert told.endswith('): pip install "regate[triton]", or take execution="compact"')


def test_masks_that_differ_from_block_to_block_are_refused(backbone):
    with pytest.raises(ValueError, match="only a shared mask is decided in one kernel, not a per"):
        ReuseSession(backbone, ThresholdGate(masks=Masks.PER_BLOCK), execution="fused")


def test_nothing_else_imports_triton(root):
    files = [path for package in ("policy", "backbones") for path in (root / package).rglob("*.py")]
    named = [path.name for path in files if "import triton" in path.read_text()]
    assert named == ["gating.py"]


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from policy.kernels.gating import rows_kernel, score_kernel

def built(kernel, types, **constants):
    names = dict(zip(kernel.arg_names, types.split() + ["constexpr"] * len(constants)))
    source = ASTSource(kernel, names, constexprs=constants)
    return len(compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"])

for tokens, score in (("fp32", "fp32"), ("bf16", "fp32"), ("fp64", "fp64")):
    types = f"*{tokens} *{tokens} *fp32 *i1 *i1 *{score} *i1 i32 i32"
    assert built(score_kernel, types, PREFIX=1, FLOOR=1e-6, BLOCK=1024)
assert built(rows_kernel, "*i1 *i64 *i64 i32 i32", BLOCK=256)
print("compiled")
"""


@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu_that_is_not_here(root, tmp_path):
    """The interpreter takes more than the compiler does."""
    kept = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment = kept | {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(root)}
    words = [sys.executable, "-c", COMPILE]
    made = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200)

    assert made.stdout == "compiled\n", made.stderr
