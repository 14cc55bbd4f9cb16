"""A step as a function of tensors equals the session's, before and after ``torch.export``."""

import pytest
import torch

from policy.exporting.programs import programs
from policy.exporting.step import FirstFrame, LaterFrame
from policy.gates import LearnedGate, ThresholdGate
from policy.gates.top_k import TopK
from policy.session import ReuseSession

DTYPES = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=["f64", "f32"]
)


def third(backbone):
    """A third of the patches."""
    rows, columns = backbone.grid
    return rows * columns // 3


@pytest.fixture
def make_gate():
    """A gate whose every part moves the score: as made, a learned one is the threshold."""

    def make(kind, backbone):
        if kind == "threshold":
            return ThresholdGate()
        gate = LearnedGate(backbone.dim, backbone.depth, knob_mean=1.0, releases=False)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in gate.parameters():
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
        return gate.requires_grad_(False).to(backbone.mean)

    return make


def compare(first, later, session, frames, tolerance):
    """Go through a clip with both and hold every output against the session's."""
    state, masks = None, []
    for frame in frames:
        expected = session.step(frame)
        with torch.no_grad():
            output = first(frame) if state is None else later(frame, state)
        state = output["state"]
        assert torch.equal(output["recompute"], expected.recompute[:, 0])
        for field in ("logits", "features", "patches"):
            reference = getattr(expected, field)
            scale = max(1.0, float(reference.abs().max()))
            assert (output[field] - reference).abs().max() < tolerance * scale
        masks.append(output["recompute"])
    return torch.stack(masks)  # [t, s, n]


@DTYPES
@pytest.mark.parametrize("kind", ["threshold", "learned"])
def test_a_step_without_state_of_its_own_equals_the_session(
    family, kind, dtype, tolerance, make_backbone, make_frames, make_gate
):
    backbone = make_backbone(family).to(dtype)
    gate = TopK(make_gate(kind, backbone), third(backbone))
    frames = make_frames(backbone, 5, streams=2)

    session = ReuseSession(backbone, gate)
    masks = compare(FirstFrame(backbone), LaterFrame(backbone, gate), session, frames, tolerance)

    assert (masks[1:].sum(2) == backbone.num_prefix_tokens + third(backbone)).all()
    assert (masks[2:] != masks[1]).any(), "masks must move, or the test shows little"


@DTYPES
@pytest.mark.parametrize("kind", ["threshold", "learned"])
def test_the_exported_programs_equal_the_session(
    kind, dtype, tolerance, backbone, make_frames, make_gate
):
    backbone = backbone.to(dtype)
    gate = make_gate(kind, backbone)
    exported = programs(backbone, gate, patches=5, streams=2)

    compare(
        exported.first.module(),
        exported.step.module(),
        ReuseSession(backbone, TopK(gate, 5)),
        make_frames(backbone, 6, streams=2),
        tolerance,
    )


def test_a_learned_gate_that_was_trained_ranks_otherwise_than_the_threshold(
    backbone, make_frames, make_gate
):
    masks = []
    for kind in ("threshold", "learned"):
        session = ReuseSession(backbone, TopK(make_gate(kind, backbone), 5))
        masks.append(torch.stack([session.step(f).recompute for f in make_frames(backbone, 4)]))
    assert not torch.equal(*masks)


def test_a_state_is_left_as_it_was(backbone, make_frames):
    first, second = make_frames(backbone, 2)
    state = FirstFrame(backbone)(first)["state"]
    before = {name: value.clone() for name, value in state.items()}

    after = LaterFrame(backbone, TopK(ThresholdGate(), 5))(second, state)["state"]

    assert list(after) == list(state)
    assert all(torch.equal(state[name], before[name]) for name in state)
    assert all(value.dtype == before[name].dtype for name, value in after.items())
    assert state["frame"].tolist() == [1] and after["frame"].tolist() == [2]
    assert (after["keys.1"] != state["keys.1"]).flatten(2).any(2).sum() == 6


@pytest.mark.slow
def test_every_family_exports(family, make_backbone, make_frames):
    backbone = make_backbone(family)
    exported = programs(backbone, ThresholdGate(), patches=third(backbone))

    session = ReuseSession(backbone, TopK(ThresholdGate(), third(backbone)))
    frames = make_frames(backbone, 3)
    compare(exported.first.module(), exported.step.module(), session, frames, 1e-5)
