import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from policy.compare.writing import write_clips, write_csv, write_drift, write_json


def refuse_constant(name):
    raise AssertionError(f"{name} is not JSON")


def test_json_is_strict_and_has_the_promised_keys(comparison, tmp_path):
    write_json(comparison, tmp_path / "results.json")

    read = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse_constant)

    assert list(read) == ["rows", "paired", "area", "curves", "drift", "meta"]
    threshold = next(r for r in read["rows"] if (r["policy"], r["budget"]) == ("threshold", 0.2))
    assert threshold["spent"] == 0.2
    assert threshold["macs"] == 0.2e9
    assert threshold["kl"]["value"] == pytest.approx(3.75)
    low, high = threshold["kl"]["interval"]
    assert low < 3.75 < high
    assert (threshold["ms_p50"], threshold["state_bytes"]) == (4.0, 3_500_000)
    out_of_reach = next(r for r in read["rows"] if r["policy"] == "frame-skip")
    assert out_of_reach["kl"] == {"value": None, "interval": None}
    assert set(read["paired"][0]) == {
        "policy", "against", "budget", "metric", "difference", "interval", "wins",
    }  # fmt: skip
    assert read["meta"]["command"] == "regate compare"
    assert read["meta"]["clips"] == 4


def test_meta_of_numpy_and_paths_becomes_plain_json(comparison, tmp_path):
    meta = {"root": Path("videos"), "seeds": np.arange(3), "loss": np.float32("nan"), "two": (1, 2)}
    write_json(replace(comparison, meta=meta), tmp_path / "results.json")

    read = json.loads((tmp_path / "results.json").read_text())

    assert read["meta"] == {"root": "videos", "seeds": [0, 1, 2], "loss": None, "two": [1, 2]}


def test_what_has_no_place_in_json_is_refused(comparison, tmp_path):
    with pytest.raises(TypeError, match=r"object has no place in results\.json"):
        write_json(replace(comparison, meta={"gate": object()}), tmp_path / "results.json")

    assert list(tmp_path.iterdir()) == []


def test_csv_reads_back_to_the_same_numbers(comparison, tmp_path):
    write_csv(comparison, tmp_path / "results.csv")

    with (tmp_path / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))

    assert len(lines) == len(comparison.rows)
    for line, row in zip(lines, comparison.rows, strict=True):
        assert line["policy"] == row.policy
        assert line["budget"] == ("" if row.budget is None else str(row.budget))
        for metric, estimate in row.metrics.items():
            low, high = estimate.interval or (None, None)
            cells = [line[metric], line[f"{metric}_low"], line[f"{metric}_high"]]
            assert [float(c) if c else None for c in cells] == [estimate.value, low, high]


def test_csv_columns_stand_in_reading_order(comparison, tmp_path):
    write_csv(comparison, tmp_path / "results.csv")

    header = (tmp_path / "results.csv").read_text().splitlines()[0]

    assert header == (
        "policy,learned,budget,knob,pace,spent,spent_with_first,macs,kl,kl_low,kl_high,"
        "agreement,agreement_low,agreement_high,accuracy,accuracy_low,accuracy_high,"
        "ms_mean,ms_p50,ms_p95,state_bytes,interpolated,fallback,note"
    )


def test_drift_has_a_line_per_policy_budget_and_frame(comparison, tmp_path):
    write_drift(comparison, tmp_path / "drift.csv")

    with (tmp_path / "drift.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))

    assert len(lines) == 3 * len(comparison.drift)
    gumbel = [line for line in lines if line["policy"] == "gumbel"]
    assert [line["frame"] for line in gumbel] == ["1", "2", "3"]
    assert gumbel[1] == {
        "policy": "gumbel", "learned": "True", "budget": "0.2", "spent": "0.21", "frame": "2",
        "kl": "2.0", "agreement": "0.5", "spent_by_frame": "0.2",
    }  # fmt: skip
    assert lines[0]["budget"] == ""  # dense has none


def test_a_table_of_clips_has_a_line_per_setting_and_clip(make_sweep, tmp_path):
    sweep = make_sweep(
        "threshold", (0.1, 0.4), ("a", "b", "b"), kl=[0.2, 0.1], accuracy=[np.nan, 1]
    )

    write_clips(
        [sweep, make_sweep("gumbel", (0.2, 0.3), ("a", "b", "b"), kl=[0.1, 0.1])],
        tmp_path / "clips.csv",
    )

    with (tmp_path / "clips.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 2 * 3
    assert lines[4] == {
        "policy": "threshold", "seed": "0", "setting": "1", "clip": "clip1", "group": "b",
            "fold": "0", "knob": "1.0",
        "spent": "0.4", "spent_with_first": str(0.9 * 0.4 + 0.1), "kl": "0.1", "accuracy": "1.0",
    }  # fmt: skip
    assert lines[0]["accuracy"] == lines[-1]["accuracy"] == ""
