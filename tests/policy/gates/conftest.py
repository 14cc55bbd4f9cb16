"""What a gate sees, made by hand."""

import pytest
import torch

from policy.gates import BlockView
from policy.state import GateState


@pytest.fixture
def view():
    """A view of patches that have drifted by given distances since they were last computed.

    One row of distances per stream; patches have width 4, and drift along the first channel.
    """

    def make(distances, knob, frame=1, seed=0, block=0, grid=None, relaxation=None, **state):
        distances = torch.as_tensor(distances, dtype=torch.float32)
        streams, patches = distances.shape
        reference = torch.ones(streams, patches, 4)
        tokens = reference.clone()
        tokens[..., 0] += distances
        numbers = torch.arange(streams)
        gate_state = GateState(
            frame=torch.full_like(numbers, frame),
            seed=numbers + seed,
            age=state.get("age", torch.zeros(streams, patches)),
            last=state.get("last", torch.zeros(streams, patches, dtype=torch.bool)),
            memo=state.get("memo", torch.zeros(streams, 0)),
        )
        return BlockView(
            block=block,
            tokens=tokens,
            reference=reference,
            memory=torch.zeros_like(tokens),
            state=gate_state,
            knob=torch.as_tensor(knob, dtype=torch.float32).expand(streams),
            grid=grid or (1, patches),
            relaxation=relaxation,
        )

    return make
