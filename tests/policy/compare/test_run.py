"""``regate compare`` from the command line to its files, on four clips and random weights."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from backbones import load_backbone
from datamodules.errors import RegateWarning
from datamodules.synthetic import SyntheticClips
from policy.budgets.search import calibrate
from policy.budgets.table import Calibration, Fallback, Verdict
from policy.cli import main
from policy.cost import BackboneMacs
from policy.divergence import kl_to_dense
from policy.gate_file import load_gate, save_gate
from policy.gates import ThresholdGate
from policy.policies import HEURISTICS
from policy.session import ReuseSession

BUDGETS = [0.1, 0.2, 0.35, 0.5]
GATE = ("gumbel", "gumbel-paced")
"""One file, at every frame and at its own pace."""
WITHOUT_A_KNOB = {"dense", "always", "hold", "never"}
METRICS = {
    "kl", "agreement", "agreement_top5", "cosine", "cosine_worst5", "cosine_pooled",
    "excess_flips", "accuracy",
}  # fmt: skip


@pytest.fixture(scope="session")
def results(words, gumbel_run, tmp_path_factory):
    """Of all policies, with a trained gate among them."""
    out = tmp_path_factory.mktemp("compare")
    main([*words, "--gates", str(gumbel_run / "gate.safetensors"), "--out", str(out)])
    assert {path.name for path in out.iterdir()} == {
        "results.json", "results.csv", "clips.csv", "drift.csv", "curve.png", "drift.png",
        "tensorboard",
    }  # fmt: skip
    return json.loads((out / "results.json").read_text())


def run(words, out, *more):
    main([*words, "--out", str(out), "--timed_frames=0", *more])
    return json.loads((out / "results.json").read_text())


def test_each_policy_has_a_row_per_budget_or_one_without(results):
    found = [(row["policy"], row["budget"]) for row in results["rows"]]

    policies = ["dense", *HEURISTICS, *GATE]
    expected = [(name, None) for name in policies if name in WITHOUT_A_KNOB]
    for budget in BUDGETS:
        expected += [(name, budget) for name in policies if name not in WITHOUT_A_KNOB]
    assert found == expected


def test_a_row_says_what_was_spent_how_close_it_stays_and_how_long_it_takes(results):
    for row in results["rows"]:
        assert set(row) == METRICS | {
            "policy", "learned", "budget", "knob", "pace", "spent", "spent_with_first", "macs",
            "ms_mean", "ms_p50", "ms_p95", "state_bytes", "interpolated", "fallback", "note",
        }  # fmt: skip
        assert row["learned"] == (row["policy"] in GATE)
        assert row["pace"] == 1 or row["policy"].endswith("-paced")
        assert 0 < row["ms_p50"] <= row["ms_p95"]
        for name in METRICS:
            assert set(row[name]) == {"value", "interval"}
    spent = [r["spent"] for r in results["rows"] if r["policy"] == "threshold"]
    assert spent == sorted(spent)


def test_dense_is_its_own_reference(results, digits):
    row = results["rows"][0]

    assert (row["policy"], row["budget"], row["spent"]) == ("dense", None, 1.0)
    assert row["macs"] == pytest.approx(BackboneMacs.of(digits).dense)
    assert row["kl"]["value"] == pytest.approx(0, abs=1e-5)
    assert (row["agreement"]["value"], row["state_bytes"]) == (1.0, 0)


def test_the_learned_gate_is_paired_with_every_other_policy(results):
    paired = results["paired"]

    for entry in paired:
        assert set(entry) == {
            "policy", "against", "budget", "metric", "difference", "interval", "wins"
        }  # fmt: skip
        assert entry["policy"] in GATE
    others = {name for name in HEURISTICS if name not in WITHOUT_A_KNOB}
    assert {entry["against"] for entry in paired} == others | set(GATE)
    # Each of the two against all heuristics and against the other.
    assert len(paired) == 2 * (len(others) + 1) * len(BUDGETS) * len(METRICS)


def test_drift_is_given_for_each_row_that_has_a_knob_and_agrees_with_its_curve(results):
    found = {(entry["policy"], entry["budget"]): entry for entry in results["drift"]}

    assert list(found) == [(row["policy"], row["budget"]) for row in results["rows"]]
    curves = {curve["policy"]: curve for curve in results["curves"]}
    for row in results["rows"]:
        entry, curve = found[row["policy"], row["budget"]], curves[row["policy"]]
        assert len(entry["kl"]) == len(entry["agreement"]) == 3  # clips of four frames
        # Two settings may spend the same, on other frames.
        same = np.flatnonzero(np.isclose(curve["spent"], row["spent"]))
        for name in ("kl", "agreement"):
            values = np.array(curve["metrics"][name])[same]
            assert np.isclose(values, np.mean(entry[name]), atol=1e-6).any()
    hold = found["hold", None]["kl"]
    assert hold[0] < hold[-1]


def test_the_meta_data_say_how_to_repeat_it(results, digits):
    meta = results["meta"]

    assert meta["split"] == "test"
    assert meta["data"]["name"] == "synthetic"
    assert meta["data"]["clips"]["test"] == 4
    assert meta["no_accuracy"] is None
    assert meta["backbone_fingerprint"] == digits.fingerprint
    drawn = {"random": [0, 1, 2], "random-per-block": [0, 1, 2]}
    assert meta["seeds"] == drawn | {"gumbel": [0], "gumbel-paced": [0]}
    assert [set(gate) for gate in meta["gates"]] == [{"file", "command", "commit"}]
    assert meta["command"].startswith("regate compare --config ")
    assert {"commit", "budgets", "clips", "groups", "interval", "dense_macs"} <= set(meta)
    assert len(meta["calibrations"]["threshold/0"]["knobs"]) >= 7


def test_the_values_are_those_of_sessions_driven_by_hand(results, digits):
    data = SyntheticClips(num_frames=4, calibration_clips=4, test_clips=4)
    calibration, test = ([d[i].frames for i in range(4)] for d in
                         (data.dataset("calibration"), data.dataset("test")))  # fmt: skip
    knob = calibrate(digits, ThresholdGate(), calibration, BUDGETS).knob(0.2)
    spent, kl = [], []
    for clip in test:
        session = ReuseSession(digits, ThresholdGate())
        session.knob = knob
        for index, frame in enumerate(digits.normalize(clip)):
            result = session.step(frame)
            if index:
                spent.append(result.spent.item())
                dense = digits(frame.unsqueeze(0))
                kl.append(kl_to_dense(dense, result.logits).item())

    row = next(r for r in results["rows"] if (r["policy"], r["budget"]) == ("threshold", 0.2))
    (curve,) = (curve for curve in results["curves"] if curve["policy"] == "threshold")
    place = int(np.abs(np.array(curve["knobs"]) - knob).argmin())
    assert row["knob"] == pytest.approx(knob)
    assert row["spent"] == pytest.approx(np.mean(spent))
    assert curve["spent"][place] == pytest.approx(np.mean(spent))
    # Streams side by side are rounded differently, which a divergence this small shows.
    assert curve["metrics"]["kl"][place] == pytest.approx(np.mean(kl), rel=1e-2, abs=1e-7)


@pytest.mark.parametrize(
    ("budgets", "expected"), [("0.2", [0.2]), ("0.35,0.1", [0.1, 0.35]), ("[0.5]", [0.5])]
)
def test_policies_and_budgets_are_lists_or_single_values(budgets, expected, words, tmp_path):
    found = run(words, tmp_path, "--policies", "threshold,top-r", "--budgets", budgets)

    rows = [(row["budget"], row["policy"]) for row in found["rows"]]
    assert rows == [(b, name) for b in expected for name in ("threshold", "top-r")]
    assert found["meta"]["budgets"] == expected
    assert found["rows"][0]["ms_p50"] is None


def test_frames_are_preprocessed_as_asked(words, tmp_path):
    small = ["--preprocessing.image_size=48", "--preprocessing.mean=0.4,0.5,0.6"]

    found = run(words, tmp_path, "--policies=dense", *small)

    assert found["meta"]["preprocessing"]["image_size"] == 48
    assert found["meta"]["preprocessing"]["mean"] == [0.4, 0.5, 0.6]
    backbone = load_backbone("regate_vit_digits", "random", image_size=48)
    assert found["meta"]["dense_macs"] == BackboneMacs.of(backbone).dense


@pytest.fixture
def falling(gumbel_run, digits, tmp_path):
    """The gate file, with evidence for the gate at 0.35 and none at 0.1 and 0.2."""
    gate = load_gate(gumbel_run / "gate.safetensors", digits)
    table = Calibration((0.1, 0.2, 0.35), (1.0, 0.0, -1.0), 0.03)
    verdicts = (
        Verdict(0.1, None, None),
        Verdict(0.2, 0.004, (-0.001, 0.01)),
        Verdict(0.35, -0.2, (-0.3, -0.1)),
    )
    gate.calibration = replace(
        gate.calibration, fallback=Fallback(table, verdicts, clips=24, groups=6)
    )
    path = tmp_path / "falling.safetensors"
    save_gate(path, gate, digits, "regate fit")
    return str(path)


FEW = ["--data.num_frames=3", "--calibration_clips=1", "--data.test_clips=2"]


def test_a_paced_gate_serves_the_threshold_where_its_file_says_so(falling, words, tmp_path, capsys):
    policies = "--policies=threshold-paced,gumbel-paced"
    asked = [policies, "--gates", falling, "--budgets=0.1,0.2,0.35", *FEW]
    told = "falling.safetensors: gumbel serves budgets around 0.35, where"
    with pytest.warns(RegateWarning, match=told):
        found = run(words, tmp_path, *asked)

    rows = {(row["policy"], row["budget"]): row for row in found["rows"]}
    served = [rows["gumbel-paced", budget]["fallback"] for budget in (0.1, 0.2, 0.35)]
    assert served == [1, 1, 0]
    for budget in (0.1, 0.2):
        ours, theirs = rows["gumbel-paced", budget], rows["threshold-paced", budget]
        assert theirs["fallback"] == 0
        same = ("knob", "pace", "spent")
        assert [ours[key] for key in same] == pytest.approx([theirs[key] for key in same])
    assert rows["gumbel-paced", 0.2]["note"].split(";")[0] == (
        "its file serves the threshold at 0.2: KL +0.004 [-0.001, +0.01] beside it over 24 "
        "calibration clips in 6 groups"
    )
    assert "no interval of the difference over 24" in rows["gumbel-paced", 0.1]["note"]
    assert found["meta"]["calibrations"]["gumbel-paced/0"]["fallback"]["clips"] == 24
    printed = capsys.readouterr().out
    assert "gumbel-paced †" in printed
    assert "† the threshold serves there, in all seeds or some, as the gate file" in printed


@pytest.mark.filterwarnings("ignore::datamodules.errors.RegateWarning")
def test_what_a_gate_does_by_itself_can_be_asked_for(falling, words, tmp_path):
    asked = ["--policies=gumbel-paced", "--gates", falling, "--budgets=0.2", "--fallback=false"]
    (row,) = run(words, tmp_path, *asked, *FEW)["rows"]
    assert row["fallback"] == 0
    assert "threshold" not in (row["note"] or "")


def test_under_a_disturbance_dense_is_a_policy_like_the_others(words, tmp_path, capsys):
    noise = ["--data.disturbance=Noise", "--data.disturbance.sigma=40"]

    found = run(words, tmp_path, "--policies=dense,always,hold", "--weights=pretrained", *noise)

    dense, always, hold = found["rows"]
    assert dense["kl"]["value"] > 0.01
    assert dense["agreement"]["value"] < 1
    for name in METRICS:
        assert always[name]["value"] == pytest.approx(dense[name]["value"], abs=1e-4)
    assert hold["kl"]["value"] != pytest.approx(dense["kl"]["value"], abs=1e-3)
    told = "the dense model on the undisturbed frames; every row, dense too, sees disturbed ones"
    assert found["meta"]["reference"] == told
    assert found["meta"]["data"]["disturbance"] == {"kind": "Noise", "sigma": 40.0, "seed": 0}
    assert told in " ".join(capsys.readouterr().out.split())


def test_labels_of_other_classes_give_no_accuracy_and_the_table_says_why(
    words, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(SyntheticClips, "class_names", tuple("abcdefghij"))

    found = run(words, tmp_path, "--policies=dense,hold")

    assert not any("accuracy" in row for row in found["rows"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "Accuracy is left out: the data's classes (a, b, c, …) are not those of" in printed


def test_policies_without_a_knob_can_be_compared_alone(words, tmp_path):
    found = run(words, tmp_path, "--policies", "dense,hold,never")

    assert [row["policy"] for row in found["rows"]] == ["dense", "hold", "never"]
    assert found["paired"] == []


def test_two_gates_of_one_policy_are_its_seeds(words, gumbel, gumbel_run, tmp_path):
    other = tmp_path / "other"
    main(
        [
            "fit",
            *gumbel,
            "--run_dir",
            str(other),
            "--seed_everything",
            "7",
            "--trainer.max_epochs=1",
        ]
    )
    files = [str(folder / "gate.safetensors") for folder in (gumbel_run, other)]

    found = run(words, tmp_path, "--policies=threshold,gumbel", "--gates", ",".join(files))

    learned = [row for row in found["rows"] if row["learned"]]
    assert [row["budget"] for row in learned] == BUDGETS
    assert found["meta"]["seeds"] == {"gumbel": [0, 7]}
    tables = [found["meta"]["calibrations"][f"gumbel/{place}"] for place in (0, 1)]
    knobs = [np.interp(np.log(0.2), np.log(table["spent"]), table["knobs"]) for table in tables]
    assert knobs[0] != knobs[1]
    assert learned[1]["knob"] == pytest.approx(np.mean(knobs))


def test_folds_compare_each_clip_once_at_knobs_of_the_other_folds(words, tmp_path, capsys):
    found = run(words, tmp_path, "--policies=dense,threshold", "--folds=2")

    meta = found["meta"]
    assert (meta["folds"], meta["split"]) == (2, "calibration and test in 2 folds")
    assert meta["clips"] == 8
    with (tmp_path / "clips.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len({line["clip"] for line in lines if line["policy"] == "dense"}) == 8
    tables = [meta["calibrations"][f"threshold/0/{fold}"] for fold in (0, 1)]
    knobs = [np.interp(np.log(0.2), np.log(table["spent"]), table["knobs"]) for table in tables]
    assert knobs[0] != knobs[1]
    (row,) = [row for row in found["rows"] if row["budget"] == 0.2]
    assert row["knob"] == pytest.approx(np.mean(knobs))
    its = [line for line in lines if line["policy"] == "threshold"]
    served = [{line["fold"] for line in its if float(line["knob"]) == knob} for knob in knobs]
    assert served == [{"0"}, {"1"}]
    setting = {line["setting"] for line in its if float(line["knob"]) == knobs[0]}
    spent = [float(line["spent"]) for line in its if line["setting"] in setting]
    assert row["spent"] == pytest.approx(np.mean(spent))
    assert "in 2 folds" in capsys.readouterr().out


def test_the_number_of_torch_threads_is_left_alone(results):
    assert results["meta"]["threads"] == torch.get_num_threads()
