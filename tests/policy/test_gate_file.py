"""Gate files: what goes in comes out, and nothing else is let in."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from backbones import Backbone, Preprocessing
from datamodules.errors import RegateError, RegateWarning
from datamodules.geometry import ResizeCrop
from policy.budgets.table import Calibration, Fallback, Verdict
from policy.gate_file import KEY, calibrated_on, load_gate, read_metadata, save_gate
from policy.gates import CosineGate, Masks, SteeredGate, ThresholdGate
from policy.gates.dictated import DictatedGate
from policy.gates.learned import LearnedGate
from policy.gates.selective import SelectiveGate
from policy.policies import HEURISTICS, build_gate
from policy.provenance import running
from policy.session import ReuseSession

TABLE = Calibration((0.1, 0.4), (2.0, 0.5), floor=0.05, source="4 clips")


@pytest.fixture
def learned(backbone):
    gate = LearnedGate(backbone.dim, backbone.depth, knob_mean=0.3, knob_std=0.8)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)  # what it decides should not hang on the tests before
        for parameter in gate.parameters():
            parameter.normal_(std=0.3)
    gate.calibration = TABLE
    return gate


@pytest.fixture
def file(tmp_path, learned, backbone):
    save_gate(tmp_path / "gate.safetensors", learned, backbone)
    return tmp_path / "gate.safetensors"


def agent_of(actor):
    gate = SelectiveGate(actor)
    gate.name = "ppo"
    return gate


def masks(backbone, gate, frames):
    session = ReuseSession(backbone, gate)
    return torch.stack([session.step(frame).recompute for frame in frames])


def rewrite(file, **changes):
    """Change entries of a gate file's metadata."""
    with safe_open(file, framework="pt") as opened:
        metadata = json.loads(opened.metadata()[KEY])
    save_file(load_file(file), file, metadata={KEY: json.dumps(metadata | changes)})


def test_a_learned_gate_comes_back_deciding_the_same(learned, backbone, make_frames, tmp_path):
    learned.knob = 0.4
    save_gate(tmp_path / "gate.safetensors", learned, backbone)

    loaded = load_gate(tmp_path / "gate.safetensors", backbone)

    frames = make_frames(backbone, 5)
    decided = masks(backbone, learned, frames)
    assert 0.1 < decided[1:].double().mean() < 0.9
    assert torch.equal(masks(backbone, loaded, frames), decided)
    assert loaded.calibration == TABLE
    assert loaded.knob == 0.4
    assert (loaded.knob_mean.item(), loaded.knob_std.item()) == pytest.approx((0.3, 0.8))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        *(
            (
                gate,
                f"a {gate.name} gate could not be loaded from its file again, so none is written: "
                "train an agent with PPOTask or ReinforceTask, or give a gate of your own a name "
                "in policy/policies.py (docs/add_a_gate.md)",
            )
            for gate in (SteeredGate(2, depth=3), SelectiveGate(), DictatedGate(16))
        ),
        (
            agent_of(torch.nn.Identity()),
            "the actor of the ppo gate is Identity, which no file can hold: give it a "
            "policy.rl.actor_critic.Actor",
        ),
    ],
)
def test_what_could_not_be_loaded_again_is_not_written(gate, told, backbone, tmp_path):
    with pytest.raises(RegateError) as refused:
        save_gate(tmp_path / "gate.safetensors", gate, backbone)

    assert str(refused.value) == told
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", HEURISTICS)
def test_a_heuristic_comes_back_deciding_the_same(name, backbone, make_frames, tmp_path):
    gate = build_gate(name)
    if name == "threshold-per-block":
        gate.offsets = [0.0, 0.5, 1.0]

    save_gate(tmp_path / "gate.safetensors", gate, backbone)
    loaded = load_gate(tmp_path / "gate.safetensors", backbone)

    frames = make_frames(backbone, 5)
    assert (loaded.name, loaded.masks, loaded.knob) == (gate.name, gate.masks, gate.knob)
    assert torch.equal(masks(backbone, loaded, frames), masks(backbone, gate, frames))
    assert loaded.calibration is None


def test_a_gate_built_from_its_class_keeps_how_its_masks_relate(backbone, tmp_path):
    """Its name is that of the class, which alone would mean one mask for all blocks."""
    gate = CosineGate(threshold=0.2, masks=Masks.PER_BLOCK, offsets=[0.0, 0.1, 0.2])

    save_gate(tmp_path / "gate.safetensors", gate, backbone)
    loaded = load_gate(tmp_path / "gate.safetensors", backbone)

    assert loaded.masks is Masks.PER_BLOCK
    assert loaded.offsets == [0.0, 0.1, 0.2]
    assert loaded.knob == pytest.approx(math.log(0.2))


def test_the_metadata_say_what_it_is_and_where_it_comes_from(learned, backbone, tmp_path):
    with running(["fit", "--config", "my config.yaml"]):
        save_gate(tmp_path / "gate.safetensors", learned, backbone)

    metadata = read_metadata(tmp_path / "gate.safetensors")

    assert metadata["schema"] == 1
    assert metadata["policy"] == "gumbel"
    assert metadata["mechanism"] == "kv"
    assert metadata["masks"] == "nested"
    assert metadata["backbone"] == "vit_tiny_patch16_224"
    assert metadata["identity"] == {
        "depth": 3, "dim": 48, "num_prefix_tokens": 1, "fingerprint": backbone.fingerprint
    }  # fmt: skip
    assert metadata["preprocessing"] == {
        "image_size": 64, "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0,
        "interpolation": "bicubic",
    }  # fmt: skip
    assert metadata["budgets"] == [0.1, 0.4]
    assert metadata["calibration"] == TABLE.to_json()
    assert metadata["command"] == "regate fit --config 'my config.yaml'"
    assert set(metadata) >= {"settings", "knob", "commit"}


def test_a_gate_of_the_largest_size_takes_at_most_100_kilobytes(backbone, tmp_path):
    gate = LearnedGate(dim=768, depth=12)
    gate.calibration = Calibration(tuple(0.05 * i for i in range(1, 13)), (0.5,) * 12, 0.01)

    save_gate(tmp_path / "gate.safetensors", gate, backbone)

    assert (tmp_path / "gate.safetensors").stat().st_size <= 100_000


def test_nothing_in_it_can_run_code(file):
    """A safetensors file is a length, that many bytes of JSON, and numbers; no pickle."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])

    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} == {"F32"}
    assert len(content) == 8 + length + max(
        entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"
    )


def test_a_failed_write_leaves_the_old_file(file, learned, backbone, monkeypatch):
    before = file.read_bytes()

    def full(tensors, path, metadata):
        path.write_bytes(b"half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("policy.gate_file.save_file", full)

    with pytest.raises(RegateError, match=r"cannot write .*No space left on device"):
        save_gate(file, learned, backbone)

    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_cannot_be_written_is_told(tmp_path, learned, backbone):
    (tmp_path / "taken").touch()

    with pytest.raises(RegateError, match=r"^cannot write .*taken/gate.safetensors \("):
        save_gate(tmp_path / "taken" / "gate.safetensors", learned, backbone)


def refused(path, backbone):
    with pytest.raises(RegateError) as error:
        load_gate(path, backbone)
    return str(error.value).replace(str(path), "FILE")


def test_a_missing_file_is_told(tmp_path, backbone):
    assert refused(tmp_path / "gate.safetensors", backbone) == (
        "no gate file FILE: train one with `regate fit`, or see checkpoints/"
    )


@pytest.mark.parametrize("keep", [0, 5, 500, -1])
def test_a_cut_file_is_told(keep, file, backbone):
    file.write_bytes(file.read_bytes()[:keep])

    assert refused(file, backbone).startswith("FILE is no readable .safetensors file (")


def test_a_text_file_is_told(tmp_path, backbone):
    (tmp_path / "gate.safetensors").write_text("threshold: 0.5\n" * 100)

    assert refused(tmp_path / "gate.safetensors", backbone).startswith(
        "FILE is no readable .safetensors file ("
    )


def test_weights_of_a_model_are_no_gate(tmp_path, backbone):
    save_file({"head.weight": torch.zeros(2)}, tmp_path / "vit.safetensors")

    assert refused(tmp_path / "vit.safetensors", backbone) == (
        "FILE is a .safetensors file but no gate: `regate export` writes them"
    )


def test_a_newer_schema_is_told(file, backbone):
    rewrite(file, schema=2)

    assert refused(file, backbone) == (
        "FILE has gate schema 2, this version reads up to 1: update regate"
    )


def test_another_mechanism_is_told(file, backbone):
    rewrite(file, mechanism="eventful")

    with pytest.raises(RegateError, match="for the 'eventful' mechanism, this version serves 'kv'"):
        load_gate(file, backbone)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": "new"}'])
def test_metadata_of_another_make_are_told(text, file, backbone):
    save_file(load_file(file), file, metadata={KEY: text})

    assert refused(file, backbone).startswith("FILE has metadata that cannot be read (")


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": {"of": "tomorrow"}},
        {"settings": None},
        {"calibration": {"spent": [0.1]}},
        {"knob": "high"},
        {"identity": {}},
        {"preprocessing": {"image_size": "big"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_cannot_be_made_of_its_metadata_is_told(changes, file, backbone):
    rewrite(file, **changes)

    assert refused(file, backbone).startswith("FILE ")


def test_another_backbone_is_refused_with_both_named(file, backbone, make_backbone):
    other = make_backbone("deit_distilled")

    assert refused(file, other) == (
        "FILE belongs to vit_tiny_patch16_224 (depth 3, width 48, 1 prefix tokens, weights "
        f"{backbone.fingerprint}), but the backbone is deit_tiny_distilled_patch16_224 (depth 3, "
        f"width 48, 2 prefix tokens, weights {other.fingerprint}): load that backbone with those "
        "weights, or train a gate for this one"
    )


def test_other_weights_are_another_backbone(file, make_backbone):
    other = make_backbone(num_classes=8)

    assert f"weights {other.fingerprint}): load that backbone" in refused(file, other)


def test_other_frames_than_it_was_calibrated_on_are_warned_of_and_served(file, backbone):
    other = Backbone(
        backbone.vit, backbone.name, ResizeCrop((64, 64), 0.875), (0.25, 0.5, 0.5), (0.5,) * 3
    )

    with pytest.warns(RegateWarning) as warned:
        gate = load_gate(file, other)

    assert [str(warning.message).replace(str(file), "FILE") for warning in warned] == [
        "FILE was calibrated with mean 0.5,0.5,0.5 and crop_pct 1.0, but the backbone has mean "
        "0.25,0.5,0.5 and crop_pct 0.875: what it spends at a budget was measured with the "
        "former, so calibrate it anew by `regate export --ckpt FILE --preprocessing.mean "
        "0.25,0.5,0.5 --preprocessing.crop_pct 0.875`"
    ]
    assert gate.calibration == TABLE


def test_a_file_that_falls_back_says_so_in_one_line_when_it_is_read(learned, backbone, tmp_path):
    path = tmp_path / "gate.safetensors"
    verdicts = (Verdict(0.1, 0.1, (-0.1, 0.2)), Verdict(0.4, -0.1, (-0.2, -0.1)))
    learned.calibration = replace(TABLE, fallback=Fallback(TABLE, verdicts, clips=24, groups=6))
    save_gate(path, learned, backbone)

    with pytest.warns(RegateWarning) as warned:
        gate = load_gate(path, backbone)

    assert [str(warning.message) for warning in warned] == [
        f"{path}: gumbel serves budgets around 0.4, where over 24 calibration clips in 6 groups "
        "it is closer to dense than the threshold, which serves the others"
    ]
    assert gate.calibration == learned.calibration


def test_a_file_of_a_gate_that_is_better_everywhere_says_nothing(
    learned, backbone, tmp_path, recwarn
):
    verdicts = tuple(Verdict(budget, -0.1, (-0.2, -0.1)) for budget in TABLE.spent)
    learned.calibration = replace(TABLE, fallback=Fallback(TABLE, verdicts, clips=24, groups=6))
    save_gate(tmp_path / "gate.safetensors", learned, backbone)
    assert load_gate(tmp_path / "gate.safetensors", backbone).calibration == learned.calibration
    assert [str(warning.message) for warning in recwarn] == []


def test_the_same_frames_are_served_without_a_word_and_so_is_an_older_file(file, backbone, recwarn):
    load_gate(file, backbone)
    rewrite(file, preprocessing=None)
    load_gate(file, backbone)

    assert [str(warning.message) for warning in recwarn] == []
    assert calibrated_on(read_metadata(file)) == Preprocessing()


@pytest.mark.parametrize("name", ["regate_vit_digits", "vit_tiny_patch16_224"])
def test_the_shipped_files_say_what_they_are(name, root):
    metadata = read_metadata(root / "checkpoints" / "gates" / f"{name}.safetensors")

    assert (metadata["backbone"], metadata["policy"]) == (name, "gumbel")
    assert calibrated_on(metadata).image_size in (None, 96, 224)


def test_an_unknown_policy_is_told(file, backbone):
    rewrite(file, policy="oracle")

    assert refused(file, backbone) == (
        "FILE holds a 'oracle' gate, which this version does not know"
    )


def test_weights_of_another_shape_are_told(file, backbone):
    rewrite(file, settings={"dim": 48, "depth": 3, "rank": 4, "hidden": 16})

    assert refused(file, backbone).startswith("FILE is damaged (")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_neither_read_nor_written(
    value, file, learned, backbone, tmp_path
):
    with torch.no_grad():
        learned.meaning.weight[2, 3] = value
    with pytest.raises(RegateError) as error:
        save_gate(tmp_path / "other.safetensors", learned, backbone)
    assert str(error.value) == (
        "the gate to be saved has NaN or infinite values in 'meaning.weight': "
        "train or export it again"
    )
    assert not (tmp_path / "other.safetensors").exists()

    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    save_file(learned.state_dict(), file, metadata=metadata)
    assert refused(file, backbone) == (
        "FILE has NaN or infinite values in 'meaning.weight': train or export it again"
    )


def test_a_threshold_of_infinity_is_kept_out_of_strict_json(backbone, tmp_path):
    gate = ThresholdGate()
    gate.knob = math.inf

    save_gate(tmp_path / "gate.safetensors", gate, backbone)

    assert read_metadata(tmp_path / "gate.safetensors")["knob"] is None
