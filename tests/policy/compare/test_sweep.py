"""One policy over clips at all its knobs."""

import numpy as np
import pytest
import torch

from datamodules.errors import RegateError
from datamodules.records import Clip
from policy.compare.policies import Entry
from policy.compare.sweep import gather, joined, references, sweep
from policy.gates.base import Setting
from policy.policies import build_gate
from policy.quality import dense_clip, kl_to_dense, sweep_clip


def clip(name, frames, labels=None):
    pictures = torch.randint(0, 256, (frames, 3, 64, 64), dtype=torch.uint8)
    labels = torch.zeros(frames, dtype=torch.long) if labels is None else labels
    return Clip(pictures, labels, name, f"scene of {name}")


@pytest.fixture
def clips():
    torch.manual_seed(0)
    return [clip("a", 3), clip("b", 5)]


def test_the_dense_outputs_are_those_of_the_untouched_model(backbone, clips):
    found = list(references(backbone, clips, labelled=False))

    assert [reference.clip.name for reference in found] == ["a", "b"]
    assert found[0].labels is None
    expected = backbone(backbone.normalize(clips[1].frames))
    assert torch.allclose(found[1].dense.logits, expected, atol=1e-5)


def test_the_reference_of_a_disturbed_clip_is_what_the_model_says_of_the_clean_one(backbone, clips):
    clean = clips[0].frames
    disturbed = clips[0]._replace(frames=255 - clean, clean=clean)

    (reference,) = references(backbone, [disturbed], labelled=False)
    dense = Entry("dense", build_gate("always"), seed=0, learned=False)
    kept = sweep(backbone, dense, [Setting(dense.gate, 0.0)], reference)

    expected = backbone(backbone.normalize(clean))
    assert torch.allclose(reference.dense.logits, expected, atol=1e-5)
    logits = backbone(backbone.normalize(255 - clean))
    assert np.array(kept.over_frames["kl"])[:, 0] == pytest.approx(
        kl_to_dense(expected[1:], logits[1:]).numpy(), rel=1e-3
    )
    assert kept.metrics["kl"][0] > 1e-3


def test_folds_of_a_policy_join_into_one_curve(backbone, clips):
    entry = Entry("threshold", build_gate("threshold"), seed=0, learned=False)
    settings = [Setting(entry.gate, 1.0), Setting(entry.gate, 3.0)]
    seen = references(backbone, [*clips, clip("c", 4)], labelled=False)
    swept = [sweep(backbone, entry, settings, reference) for reference in seen]
    whole = gather(backbone, entry, [2.0, 3.0], swept)

    parts = (
        gather(backbone, entry, [1.0, 3.0], swept[:2]),
        gather(backbone, entry, [3.0, 3.0], swept[2:]),
    )
    found = joined(parts)

    assert found.clips == whole.clips and found.groups == whole.groups
    assert found.knobs == pytest.approx([5 / 3, 3.0]), "two clips at 1 and one at 3"
    assert [found.knob_of(clip, 0) for clip in range(3)] == [1.0, 1.0, 3.0]
    assert found.folds == (0, 0, 1)
    assert np.array_equal(found.spent, whole.spent)
    assert np.array_equal(found.metrics["kl"], whole.metrics["kl"])
    # The first later frame is there in all three clips.
    assert found.over_frames["kl"][0] == pytest.approx(whole.over_frames["kl"][0])


def test_folds_of_other_settings_make_no_common_curve(backbone, clips):
    entry = Entry("threshold", build_gate("threshold"), seed=0, learned=False)
    parts = []
    for reference, knobs in zip(
        references(backbone, clips, False), ([1.0], [1.0, 2.0]), strict=True
    ):
        its = [sweep(backbone, entry, [Setting(entry.gate, knob) for knob in knobs], reference)]
        parts.append(gather(backbone, entry, knobs, its))

    with pytest.raises(
        ValueError, match=r"threshold: every fold needs as many settings, got \[1, 2"
    ):
        joined(parts)


def test_the_clips_of_a_fold_go_on_in_the_phases_of_those_before(backbone, clips):
    whole = [reference.phase for reference in references(backbone, clips, labelled=False)]

    (second,) = references(backbone, clips[1:], labelled=False, before=1)

    assert second.phase == whole[1] != whole[0]


def test_a_clip_is_asked_for_when_the_one_before_is_done_with(backbone, clips):
    asked = []
    found = references(backbone, (asked.append(clip.name) or clip for clip in clips), False)

    next(found)

    assert asked == ["a"]


def test_labels_are_kept_where_they_are_the_backbones_classes(backbone, clips):
    found = list(references(backbone, clips, labelled=True))

    assert found[1].labels.tolist() == [0] * 5


def test_no_clips_and_clips_of_one_frame_are_refused(backbone):
    with pytest.raises(RegateError, match=r"^the test split has no clips: give the data module"):
        list(references(backbone, [], labelled=False))
    with pytest.raises(RegateError, match=r"^short has one frame; a comparison reads the later"):
        list(references(backbone, [clip("short", 1)], labelled=False))


def swept(backbone, entry, knobs, clips, labelled=False):
    """A policy over all clips, and what was kept of each."""
    kept = [
        sweep(backbone, entry, [Setting(entry.gate, knob) for knob in knobs], reference)
        for reference in references(backbone, clips, labelled)
    ]
    return gather(backbone, entry, knobs, kept), kept


def test_each_clip_is_a_row_and_each_knob_a_column(backbone, clips):
    entry = Entry("random", build_gate("random"), seed=3, learned=False)

    table, kept = swept(backbone, entry, [0.8, 0.3], clips, labelled=True)

    assert (table.policy, table.seed, table.learned) == ("random", 3, False)
    assert (table.clips, table.groups) == (("a", "b"), ("scene of a", "scene of b"))
    assert kept[0].state_bytes == kept[1].state_bytes > 0
    for row, source in enumerate(clips):
        frames = backbone.normalize(source.frames)
        alone = sweep_clip(
            backbone, entry.gate, frames, dense_clip(backbone, frames),
            torch.tensor([0.8, 0.3]), source.labels, seed=3,
        )  # fmt: skip
        assert table.spent[row].tolist() == pytest.approx(alone.spent[1:].mean(0).tolist())
        assert table.spent_with_first[row].tolist() == pytest.approx(alone.spent.mean(0).tolist())
        for name, values in alone.metrics.items():
            assert table.metrics[name][row] == pytest.approx(values.numpy())


def test_frames_are_averaged_over_the_clips_that_have_them(backbone, clips):
    entry = Entry("hold", build_gate("hold"), seed=0, learned=False)

    table, kept = swept(backbone, entry, [0.0], clips)  # of three and of five frames

    short, long = (np.array(clip.over_frames["kl"]) for clip in kept)
    assert (short.shape, long.shape) == ((2, 1), (4, 1))
    expected = [*(short + long[:2]) / 2, *long[2:]]
    assert table.over_frames["kl"] == pytest.approx(np.array(expected))


def test_spending_is_kept_frame_by_frame(backbone, clips):
    entry = Entry("frame-skip", build_gate("frame-skip"), seed=0, learned=False)

    table, _ = swept(backbone, entry, [0.5], [clips[1]])

    # The first clip begins half-way to its first turn.
    assert table.over_frames["spent"].round(6).tolist() == [[1], [0], [1], [0]]
    assert table.over_frames["spent"].mean() == pytest.approx(table.spent.mean())


def test_nothing_as_large_as_an_output_is_kept_of_a_clip(backbone, clips):
    entry = Entry("top-r", build_gate("top-r"), seed=0, learned=False)
    long = clip("long", 40)

    (kept,) = swept(backbone, entry, [0.8, 0.3], [long])[1]

    for numbers in (kept.spent, kept.spent_with_first, *kept.metrics.values()):
        assert [type(number) for number in numbers] == [float, float]  # one per knob, no array


@pytest.mark.parametrize(("name", "spent"), [("always", 1.0), ("hold", 0.0)])
def test_a_policy_without_a_knob_has_one_column(name, spent, backbone, clips):
    entry = Entry(name, build_gate(name), seed=0, learned=False)

    table, _ = swept(backbone, entry, [0.0], clips)

    assert np.array_equal(table.spent, [[spent], [spent]])
    assert "accuracy" not in table.metrics
    if name == "always":
        assert table.metrics["kl"] == pytest.approx(np.zeros((2, 1)), abs=1e-6)
