"""Policies by their names."""

import pytest

from datamodules.errors import RegateError
from policy.gates import Gate, Masks
from policy.policies import HEURISTICS, POLICIES, build_gate

WITHOUT_A_KNOB = {"always", "never", "hold"}


def test_every_name_of_the_table_is_known():
    assert {
        "dense", "always", "hold", "never", "random", "periodic", "frame-skip", "threshold",
        "threshold-per-block", "top-r", "cosine", "gumbel", "ppo", "reinforce",
    } <= set(POLICIES)  # fmt: skip
    assert len(POLICIES) == len(set(POLICIES))


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_gate_knows_the_name_it_was_built_by(name):
    gate = build_gate(name)

    assert isinstance(gate, Gate)
    assert gate.name == name
    assert gate.masks is (Masks.PER_BLOCK if name.endswith("-per-block") else Masks.SHARED)
    assert (gate.knob_range is None) == (name in WITHOUT_A_KNOB)
    assert not list(gate.parameters())


def test_a_name_is_the_gates_own():
    assert (build_gate("random-per-block").name, build_gate("random").name) == (
        "random-per-block",
        "random",
    )


def test_the_knob_can_be_given():
    assert build_gate("top-r", 0.4).knob == 0.4
    assert build_gate("threshold", 0.0).knob == 0.0
    assert build_gate("threshold").knob == 0.0  # log of 1


@pytest.mark.parametrize("name", ["treshold", ""])
def test_an_unknown_name_lists_the_heuristics(name):
    with pytest.raises(RegateError) as error:
        build_gate(name)

    assert str(error.value) == f"no policy {name!r}: choose one of {', '.join(HEURISTICS)}"
    assert "dense" not in str(error.value)


def test_dense_is_no_gate():
    with pytest.raises(RegateError, match=r"^dense is the untouched model and has no gate: always"):
        build_gate("dense")


def test_a_learned_policy_comes_from_a_file():
    with pytest.raises(RegateError, match=r"^gumbel is a learned policy: give its gate file"):
        build_gate("gumbel")
