"""State as a value: tensors per stream, copied, split and joined."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from policy.state import GateState, Streams


@dataclass(frozen=True)
class Nested(Streams):
    single: Tensor
    several: tuple[Tensor, ...]
    inner: GateState


@pytest.fixture
def state():
    """Three streams of two patches, told apart by their first numbers."""
    number = torch.arange(3.0)
    return Nested(
        single=number[:, None].clone(),
        several=(number + 10, number + 20),
        inner=GateState.fresh(torch.arange(3) + 30, patches=2, memo=1),
    )


def test_tensors_come_in_the_order_of_the_fields(state):
    firsts = [tensor[0].flatten()[0].item() for tensor in state.tensors()]
    assert firsts == [0, 10, 20, 0, 30, 0, 1, 0]  # single, several, frame, seed, age, last, memo


def test_a_clone_shares_no_memory(state):
    clone = state.clone()
    for tensor in clone.tensors():
        tensor.zero_()
    assert state.several[1].tolist() == [20, 21, 22]
    assert state.inner.seed.tolist() == [30, 31, 32]


def test_select_takes_streams_and_put_gives_them_back(state):
    part = state.select(torch.tensor([2, 0]))
    assert part.several[0].tolist() == [12, 10] and part.inner.seed.tolist() == [32, 30]

    doubled = part.map(lambda tensor: tensor + tensor)
    joined = state.put(torch.tensor([2, 0]), doubled)
    assert joined.several[0].tolist() == [20, 11, 24]
    assert joined.inner.seed.tolist() == [60, 31, 64]
    assert state.several[0].tolist() == [10, 11, 12], "put must not write into the original"


def test_select_takes_a_mask_too(state):
    assert state.select(torch.tensor([False, True, True])).single.tolist() == [[1], [2]]


def test_detach_cuts_the_graph(state):
    weight = torch.ones((), requires_grad=True)
    grown = state.map(lambda tensor: tensor * weight)
    assert all(tensor.requires_grad for tensor in grown.tensors())
    assert not any(tensor.requires_grad for tensor in grown.detach().tensors())


def test_bytes_are_those_of_all_tensors(state):
    floats, gate = 3 * 3 * 4, 3 * (8 + 8 + 2 * 4 + 2 + 4)
    assert state.nbytes == floats + gate


def test_gate_state_ages_what_was_not_recomputed():
    state = GateState.fresh(torch.tensor([7]), patches=3)
    assert state.frame.tolist() == [0] and state.age.tolist() == [[0, 0, 0]]

    state = state.after(torch.tensor([[True, True, True]]))
    state = state.after(torch.tensor([[False, True, False]]))
    state = state.after(torch.tensor([[False, False, True]]))
    assert state.frame.tolist() == [3] and state.seed.tolist() == [7]
    assert state.age.tolist() == [[2, 1, 0]]
    assert state.last.tolist() == [[False, False, True]]
