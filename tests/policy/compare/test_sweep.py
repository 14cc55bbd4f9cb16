"""One policy over clips at all its knobs."""

import numpy as np
import pytest
import torch

from datamodules.errors import RegateError
from datamodules.records import Clip
from policy.compare.policies import Entry
from policy.compare.sweep import references, sweep
from policy.policies import build_gate
from policy.quality import dense_clip, sweep_clip


def clip(name, frames, labels=None):
    pictures = torch.randint(0, 256, (frames, 3, 64, 64), dtype=torch.uint8)
    labels = torch.zeros(frames, dtype=torch.long) if labels is None else labels
    return Clip(pictures, labels, name, f"scene of {name}")


@pytest.fixture
def clips():
    torch.manual_seed(0)
    return [clip("a", 3), clip("b", 5)]


def test_the_dense_outputs_are_those_of_the_untouched_model(backbone, clips):
    told = []

    found = references(backbone, clips, labelled=False, advance=lambda: told.append(1))

    assert len(told) == len(found) == 2
    assert found[0].labels is None
    expected = backbone(backbone.normalize(clips[1].frames))
    assert torch.allclose(found[1].dense.logits, expected, atol=1e-5)


def test_labels_are_kept_where_they_are_the_backbones_classes(backbone, clips):
    found = references(backbone, clips, labelled=True, advance=lambda: None)

    assert found[1].labels.tolist() == [0] * 5


def test_no_clips_and_clips_of_one_frame_are_refused(backbone):
    with pytest.raises(RegateError, match=r"^the test split has no clips: give the data module"):
        references(backbone, [], labelled=False, advance=lambda: None)
    with pytest.raises(RegateError, match=r"^short has one frame; a comparison reads the later"):
        references(backbone, [clip("short", 1)], labelled=False, advance=lambda: None)


def test_each_clip_is_a_row_and_each_knob_a_column(backbone, clips):
    entry = Entry("random", build_gate("random"), seed=3, learned=False)
    found = references(backbone, clips, labelled=True, advance=lambda: None)
    told = []

    table, state = sweep(backbone, entry, [0.8, 0.3], found, lambda: told.append(1))

    assert (table.policy, table.seed, table.learned) == ("random", 3, False)
    assert (table.clips, table.groups) == (("a", "b"), ("scene of a", "scene of b"))
    assert len(told) == 2 and state > 0
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


@pytest.mark.parametrize(("name", "spent"), [("always", 1.0), ("hold", 0.0)])
def test_a_policy_without_a_knob_has_one_column(name, spent, backbone, clips):
    entry = Entry(name, build_gate(name), seed=0, learned=False)
    found = references(backbone, clips, labelled=False, advance=lambda: None)

    table, _ = sweep(backbone, entry, [0.0], found, lambda: None)

    assert np.array_equal(table.spent, [[spent], [spent]])
    assert "accuracy" not in table.metrics
    if name == "always":
        assert table.metrics["kl"] == pytest.approx(np.zeros((2, 1)), abs=1e-6)
