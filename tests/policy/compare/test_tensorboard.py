import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from datamodules.errors import RegateError
from policy.compare.tensorboard import write_tensorboard


def read(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def scalars(folder, tag):
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def test_policies_with_a_knob_have_the_same_tags(comparison, tmp_path):
    write_tensorboard(comparison, tmp_path)

    compared = {
        policy: {tag for tag in read(tmp_path / policy).Tags()["scalars"] if "ms" not in tag}
        for policy in ("threshold", "gumbel")
    }
    assert compared["threshold"] == compared["gumbel"] == {
        "compare/kl", "compare/agreement", "compare/accuracy", "compare/spent",
        "hp/kl", "hp/agreement",
    }  # fmt: skip


def test_a_scalar_stands_at_1000_times_its_budget(comparison, tmp_path):
    write_tensorboard(comparison, tmp_path)

    found = scalars(tmp_path / "threshold", "compare/kl")

    assert [step for step, _ in found] == [200, 400]
    assert [value for _, value in found] == pytest.approx([3.75, 2.5])
    assert scalars(tmp_path / "dense", "compare/kl") == [(1000, 0)]
    assert scalars(tmp_path / "hold", "compare/spent") == [(0, 0)]
    # Out of reach at 0.2: no point rather than a nan.
    assert [step for step, _ in scalars(tmp_path / "frame-skip", "compare/kl")] == [400]


def test_the_top_run_holds_the_figures_and_the_custom_scalar_layout(comparison, tmp_path):
    write_tensorboard(comparison, tmp_path)

    tags = read(tmp_path).Tags()

    assert tags["images"] == ["compare/quality_against_compute", "compare/kl_against_frames"]
    assert tags["tensors"] == ["custom_scalars__config__"]


def test_hparams_hold_real_metrics_in_the_policys_own_run(comparison, tmp_path):
    write_tensorboard(comparison, tmp_path)

    events = read(tmp_path / "gumbel")
    start = HParamsPluginData.FromString(
        events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    ).session_start_info

    assert start.hparams["policy"].string_value == "gumbel"
    assert start.hparams["budget"].number_value == 0.4
    assert [event.value for event in events.Scalars("hp/kl")] == pytest.approx([1.25])
    assert not list((tmp_path / "gumbel").glob("*/"))


def test_a_second_comparison_replaces_the_first(comparison, tmp_path):
    (tmp_path / "cosine").mkdir()
    (tmp_path / "cosine" / "events.out.tfevents.1.host").touch()
    (tmp_path / "cosine" / "notes.txt").touch()

    for _ in range(2):
        write_tensorboard(comparison, tmp_path)

    assert len(scalars(tmp_path / "threshold", "compare/kl")) == 2
    assert [path.name for path in (tmp_path / "cosine").iterdir()] == ["notes.txt"]


def test_an_output_that_cannot_be_written_is_one_sentence(comparison, tmp_path):
    (tmp_path / "tensorboard").write_text("")

    with pytest.raises(RegateError, match=r"^cannot write .*tensorboard \(.*\); choose a place"):
        write_tensorboard(comparison, tmp_path / "tensorboard")
