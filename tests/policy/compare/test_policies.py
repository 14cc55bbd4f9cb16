"""From names and gate files to what is compared."""

import pytest
import torch

from datamodules.errors import RegateError
from policy.compare.policies import entries
from policy.gate_file import save_gate
from policy.gates import AlwaysRecompute
from policy.gates.learned import LearnedGate
from policy.policies import build_gate


@pytest.fixture
def gate_file(backbone, tmp_path):
    def save(name, gate, made_by=""):
        save_gate(tmp_path / name, gate, backbone, made_by)
        return str(tmp_path / name)

    return save


def test_the_order_is_that_of_the_names(backbone):
    found = entries(["top-r", "dense", "hold"], [], backbone, [])

    assert [entry.policy for entry in found] == ["top-r", "dense", "hold"]
    assert not any(entry.learned for entry in found)


def test_policies_that_draw_are_drawn_three_times(backbone):
    found = entries(["threshold", "random", "random-per-block"], [], backbone, [])

    assert [(entry.policy, entry.seed) for entry in found] == [
        ("threshold", 0),
        *(("random", seed) for seed in range(3)),
        *(("random-per-block", seed) for seed in range(3)),
    ]


def test_dense_computes_everything(backbone):
    (entry,) = entries(["dense"], [], backbone, [])

    assert isinstance(entry.gate, AlwaysRecompute)


def test_thresholds_per_block_are_given_their_offsets(digits, digit_clips):
    (entry,) = entries(["threshold-per-block"], [], digits, digit_clips)

    assert len(entry.gate.offsets) == 4


def test_two_files_of_one_policy_are_its_seeds(backbone, gate_file):
    files = []
    for seed in range(2):
        torch.manual_seed(seed)
        files.append(gate_file(f"{seed}.safetensors", LearnedGate(48, 3)))

    found = entries(["threshold", "gumbel"], files, backbone, [])

    assert [(entry.policy, entry.seed, entry.learned) for entry in found] == [
        ("threshold", 0, False), ("gumbel", 0, True), ("gumbel", 1, True),
    ]  # fmt: skip
    assert not torch.equal(found[1].gate.meaning.weight, found[2].gate.meaning.weight)


def test_the_seed_of_a_training_is_read_from_its_command(backbone, gate_file):
    commands = [
        "regate fit --config a.yaml --seed_everything 7 && regate fit --ckpt_path last",
        "regate fit --config a.yaml",
        "regate fit --seed_everything=12 --config a.yaml",
        "regate fit --seed_everything true --config a.yaml",
    ]
    files = [
        gate_file(f"{place}.safetensors", LearnedGate(48, 3), made_by)
        for place, made_by in enumerate(commands)
    ]

    found = entries(["gumbel"], files, backbone, [])

    assert [entry.seed for entry in found] == [7, 1, 12, 3]  # its place where it is not named


def test_gates_of_different_make_are_no_seeds_of_one_training(backbone, gate_file):
    one = gate_file("one.safetensors", LearnedGate(48, 3))
    other = gate_file("other.safetensors", LearnedGate(48, 3, rank=4, hidden=8))

    with pytest.raises(RegateError) as error:
        entries(["gumbel"], [one, other], backbone, [])

    assert str(error.value) == (
        f"{other} (rank 4, hidden 8) and {one} (rank 8, hidden {LearnedGate(48, 3).hidden}) are "
        "gates of different make, but files of one policy are averaged as its seeds: compare them "
        "one at a time"
    )


def test_an_unknown_name_lists_the_known(backbone):
    with pytest.raises(RegateError, match=r"^no policy 'treshold': choose from dense, always, "):
        entries(["threshold", "treshold"], [], backbone, [])


def test_a_name_given_twice_is_refused(backbone):
    with pytest.raises(RegateError, match=r"^threshold is named twice in the policies$"):
        entries(["threshold", "hold", "threshold"], [], backbone, [])


def test_a_file_given_twice_is_not_two_seeds(backbone, gate_file):
    path = gate_file("a.safetensors", LearnedGate(48, 3))
    with pytest.raises(RegateError, match=r"a\.safetensors is given twice in --gates: each file"):
        entries(["gumbel"], [path, path], backbone, [])


def test_a_learned_policy_needs_its_file(backbone):
    with pytest.raises(RegateError, match=r"^gumbel is a learned policy: give its files with --g"):
        entries(["gumbel"], [], backbone, [])


@pytest.mark.parametrize("gate", [LearnedGate(48, 3), build_gate("threshold")])
def test_a_file_that_would_be_left_out_is_told(gate, backbone, gate_file):
    file = gate_file("gate.safetensors", gate)

    with pytest.raises(RegateError) as error:
        entries(["threshold", "hold"], [file], backbone, [])

    assert str(error.value) == (
        f"{file} is a gate of the policy {gate.name}, which is not compared: leave it out of "
        "--gates, or compare one of gumbel, ppo, reinforce with it"
    )
