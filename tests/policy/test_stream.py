import json
import os
import signal
from dataclasses import replace

import av
import numpy as np
import pytest
import torch

from backbones import load_backbone
from datamodules.errors import RegateWarning
from datamodules.video import read_frames
from datamodules.video_writer import VideoWriter
from policy.budgets.risk import BudgetTest, Risk, RiskLimit
from policy.budgets.table import Calibration, Fallback, Verdict
from policy.cli import main
from policy.gate_file import save_gate
from policy.gates import ThresholdGate, TopRGate
from policy.gates.learned import LearnedGate
from policy.guard import Guard
from policy.session import ReuseSession
from policy.stream import stream

DIGITS = {"backbone": "regate_vit_digits", "weights": "random"}


def by_hand(gate, *videos):
    """Results of a plain session, and the dense logits, frame by frame."""
    backbone = load_backbone(DIGITS["backbone"], DIGITS["weights"])
    session = ReuseSession(backbone, gate, guard=Guard())
    results, dense = [], []
    for video in videos:
        session.reset()
        for frame in read_frames(video):
            tensor = backbone.preprocess(frame.image)
            results.append(session.step(tensor))
            dense.append(backbone(tensor.unsqueeze(0)))
    return results, dense, session


def test_its_numbers_are_those_of_a_session_driven_by_hand(video, tmp_path):
    out = tmp_path / "out.json"
    stream(video, gate="top-r", knob=0.3, json=str(out), **DIGITS)

    written = json.loads(out.read_text())
    rows, summary = written["rows"], written["summary"]
    results, dense, session = by_hand(TopRGate(0.3), video)
    assert [row["top1"] for row in rows] == [int(r.logits.argmax()) for r in results]
    assert [row["dense_top1"] for row in rows] == [int(logits.argmax()) for logits in dense]
    assert [row["label"] for row in rows] == [str(row["top1"]) for row in rows]  # digits
    assert [row["spent"] for row in rows] == pytest.approx([float(r.spent) for r in results])
    assert [row["macs"] for row in rows] == pytest.approx([float(r.macs) for r in results])
    kl = [
        torch.nn.functional.kl_div(
            r.logits.log_softmax(-1), d.log_softmax(-1), log_target=True, reduction="sum"
        )
        for r, d in zip(results, dense, strict=True)
    ]
    assert [row["kl"] for row in rows] == pytest.approx(list(map(float, kl)), abs=1e-6)

    later = [float(r.spent) for r in results[1:]]
    assert summary["spent"] == pytest.approx(np.mean(later))
    assert summary["spent_with_first"] == pytest.approx((sum(later) + 1) / 6)
    assert summary["macs"] == pytest.approx(np.mean(later) * session.macs.dense)
    assert summary["dense_macs"] == session.macs.dense
    agree = [int(r.logits.argmax()) == int(d.argmax()) for r, d in zip(results, dense, strict=True)]
    assert summary["agreement"] == pytest.approx(np.mean(agree[1:]))
    assert summary["kl"] == pytest.approx(np.mean(kl[1:]), abs=1e-6)
    assert summary["state_bytes"] == session.state_bytes
    assert (summary["frames"], summary["later"], summary["ended"]) == (6, 5, "source")
    assert 0 < summary["ms"]["p50"] <= summary["ms"]["p95"]
    assert 0 < summary["dense_ms"]["p50"] <= summary["dense_ms"]["p95"]
    assert written["meta"]["backbone"] == "regate_vit_digits"
    assert written["meta"]["policy"] == "top-r"


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_caches_in_half_precision_take_less_and_say_almost_the_same(video, tmp_path, name):
    def streamed(to, **changes):
        stream(video, gate="top-r", knob=0.3, json=str(tmp_path / to), **DIGITS, **changes)
        return json.loads((tmp_path / to).read_text())

    whole, half = streamed("whole.json"), streamed("half.json", cache_dtype=name)

    assert (whole["meta"]["cache_dtype"], half["meta"]["cache_dtype"]) == (None, name)
    assert half["summary"]["state_bytes"] < 0.75 * whole["summary"]["state_bytes"]
    pairs = list(zip(half["rows"], whole["rows"], strict=True))
    assert [a["kl"] for a, _ in pairs] == pytest.approx([b["kl"] for _, b in pairs], abs=1e-3)
    assert any(a["kl"] != b["kl"] for a, b in pairs)


def test_a_fallback_and_a_promise_of_the_gate_file_are_told(video, tmp_path, capsys, recwarn):
    backbone = load_backbone(DIGITS["backbone"], DIGITS["weights"])
    gate = LearnedGate(backbone.dim, backbone.depth)
    theirs = Calibration((0.2, 0.5), (1.0, 0.0), floor=0.05)
    verdicts = (Verdict(0.2, None, None), Verdict(0.5, -0.1, (-0.2, -0.1)))
    risk = Risk(RiskLimit(0.1, 0.9), 0.5, 30, (BudgetTest(0.5, 0, 0.04),))
    fallback = Fallback(theirs, verdicts, clips=30, groups=30)
    gate.calibration = replace(theirs, fallback=fallback, risk=risk)
    path, out = str(tmp_path / "gate.safetensors"), tmp_path / "out.json"
    save_gate(path, gate, backbone)

    for budget in (0.2, 0.5):
        stream(video, gate=path, budget=budget, weights="random", json=str(out))
        printed = capsys.readouterr().out
        assert risk.told() in printed.splitlines()
        lower = budget < 0.5
        assert "a hard budget" not in printed
        assert ("risk: budget 0.2 did not pass the test, or was not tested" in printed) is lower
        assert ("of 0.5 it is" in printed) is lower
        assert ("gumbel, served by threshold, on regate_vit_digits" in printed) is lower
        served_by = json.loads(out.read_text())["meta"]["served_by"]
        assert served_by == ("threshold" if lower else "gumbel")
    said = [str(warning.message) for warning in recwarn if warning.category is RegateWarning]
    stream(video, gate=path, budget=0.5, weights="random", hard=True)
    promised = "risk: a hard budget cuts what was promised for, so nothing is promised of it"
    assert promised in capsys.readouterr().out.splitlines()
    for untested, told in (
        ({"budget": 0.4}, "risk: budget 0.4 did not pass"),  # between two points
        ({"knob": 0.3}, "risk: what a knob spends was not tested"),
        ({"budget": 0.5, "cache_dtype": "float16"}, "risk: caches were tested in full"),
    ):
        stream(video, gate=path, weights="random", **untested)
        assert told in capsys.readouterr().out
    assert [message.split(":")[0] for message in said] == [path, path]  # once per run


def test_recomputing_everything_agrees_with_dense_everywhere(video):
    summary = stream(video, gate="always", **DIGITS)

    assert summary.agreement == 1.0
    assert summary.kl == pytest.approx(0, abs=1e-5)
    assert summary.spent == pytest.approx(1.0, abs=1e-3)  # and the guard's look at each frame


def test_the_overlay_has_every_frame_and_marks_the_patches_that_were_recomputed(video, tmp_path):
    out = tmp_path / "overlay.mp4"
    knob = 1.0
    stream(video, gate="threshold", knob=knob, overlay=str(out), **DIGITS)

    gate = ThresholdGate()
    gate.knob = knob
    results, _, _ = by_hand(gate, video)
    with av.open(str(out)) as container:
        assert float(container.streams.video[0].average_rate) == 10
        pictures = [p.to_ndarray(format="rgb24") for p in container.decode(video=0)]
    assert len(pictures) == 6
    # 12 x 12 patches over 480 x 480 pixels: 96 enlarged five times. Amber has little blue, and a
    # reused patch of this grey video has as much blue as red.
    patches = pictures[3][:480].reshape(12, 40, 12, 40, 3).astype(float).mean((1, 3))
    marked = patches[..., 0] - patches[..., 2] > 10
    recomputed = results[3].recompute[0, 0].view(12, 12).numpy()
    assert 0 < recomputed.sum() < 144
    assert (marked == recomputed).all()


def test_a_folder_is_one_run_whose_session_begins_afresh_at_each_file(
    tmp_path, capsys, write_video
):
    first = write_video(tmp_path / "a.mp4", frames=3)
    second = write_video(tmp_path / "b.mp4", frames=3, start=1)

    summary = stream(str(tmp_path), gate="top-r", knob=0.2, **DIGITS)

    assert (summary.frames, summary.later, summary.sources) == (6, 4, 2)
    results, _, _ = by_hand(TopRGate(0.2), first, second)
    later = [float(results[i].spent) for i in (1, 2, 4, 5)]
    assert summary.spent == pytest.approx(np.mean(later))
    said = capsys.readouterr().out
    assert f"-- {second} begins: a new stream, its first frame is dense\n" in said


def test_a_guard_flushes_at_a_cut_and_tells_of_it(tmp_path, capsys):
    video, out = tmp_path / "cut.mp4", tmp_path / "out.json"
    scenes = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), np.uint8)
    with VideoWriter(video, fps=10) as writer:
        for scene in scenes.repeat(8, axis=1).repeat(8, axis=2):
            for _ in range(4):
                writer.write(scene)
    words = ["stream", str(video), "--gate", "never", "--json", str(out)]
    words += ["--backbone", "regate_vit_digits", "--weights", "random"]
    main([*words, "--guard.max_age", "4", "--guard.check_every", "6"])

    written = json.loads(out.read_text())
    assert [row["flush"] for row in written["rows"]] == ["", "", "", "", "cut", "", "", ""]
    assert [row["checked"] is None for row in written["rows"]] == 6 * [True] + [False, True]
    assert written["rows"][4]["kl"] == pytest.approx(0, abs=1e-6)
    assert (written["summary"]["flushes"], written["summary"]["checks"]) == (1, 1)
    assert written["summary"]["checked"] == written["rows"][6]["checked"]
    assert written["meta"]["guard"]["max_age"] == 4 and written["meta"]["guard"]["cuts"]
    said = capsys.readouterr().out
    assert "-- frame 4: a scene cut, all patches are computed again\n" in said
    assert "-- frame 6: spot check, " in said and "flushes, at cuts and for age" in said

    main([*words, "--guard.cuts", "false", "--guard.max_age", "6"])
    flushes = [row["flush"] for row in json.loads(out.read_text())["rows"]]
    assert flushes == ["", "", "", "", "", "", "age", ""]
    main([*words, "--guard.cuts=false", "--guard.max_age=null"])
    assert json.loads(out.read_text())["summary"]["flushes"] == 0


def test_a_hard_budget_is_kept_on_every_later_frame(video, tmp_path, capsys):
    out = tmp_path / "out.json"
    words = ["stream", video, "--gate", "threshold", "--knob", "-3", "--json", str(out)]
    words += ["--backbone", "regate_vit_digits", "--weights", "random"]
    main([*words, "--hard", "true", "--budget", "0.06"])

    written = json.loads(out.read_text())
    later = [row["spent"] for row in written["rows"][1:]]
    assert max(later) == written["summary"]["spent_max"] <= 0.06
    assert min(later) > 0.05, "it wants more than fits"
    assert written["summary"]["hard"] and {row["budget"] for row in written["rows"]} == {0.06}
    table = capsys.readouterr().out
    assert "spent, fraction of dense (hard 0.06)" in table and "largest on a frame" in table

    main(words)
    summary = json.loads(out.read_text())["summary"]
    assert not summary["hard"] and summary["spent_max"] > 0.06


def test_a_latency_sets_the_budget_of_each_frame(tmp_path, capsys, write_video):
    """Time enough, and too little: the machine of the test decides of the rest."""
    video, out = write_video(tmp_path / "long.mp4", frames=40), tmp_path / "out.json"
    words = ["stream", video, "--gate", "threshold", "--knob", "-3", "--json", str(out)]
    words += ["--backbone", "regate_vit_digits", "--weights", "random", "--compare-dense", "false"]
    main([*words, "--latency-ms", "10000", "--budget", "0.4"])

    written = json.loads(out.read_text())
    summary, rows = written["summary"], written["rows"]
    assert rows[-1]["budget"] == summary["budget"] == summary["budget_high"] == 0.4
    assert all(row["spent"] <= row["budget"] for row in rows[1:])
    assert (summary["target_ms"], summary["over_target"]) == (10000, 0)
    said = capsys.readouterr().out
    assert said.splitlines()[0].split()[:7] == "frame time top-1 spent gated ms budget".split()

    told = "0.001 ms per frame cannot be kept: at the lowest budget"
    with pytest.warns(RegateWarning, match=told) as caught:
        main([*words, "--latency-ms", "0.001"])
    written = json.loads(out.read_text())
    budgets = {row["budget"] for row in written["rows"][2:]}
    assert len(budgets) == 1 and budgets.pop() < 0.1
    said = capsys.readouterr().out
    assert len(caught) == 1
    assert "frames over 0.001 ms" in said and "100.0%" in said


def test_a_line_per_frame_and_a_summary_are_printed(video, capsys):
    stream(video, gate="always", **DIGITS)

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == "frame time top-1 spent gated ms dense ms dense top-1".split()
    assert [int(line.split()[0]) for line in lines[1:7]] == [0, 1, 2, 3, 4, 5]
    assert all(line.endswith("=") for line in lines[1:7])  # agrees with dense
    table = "\n".join(lines[7:])
    assert "always on regate_vit_digits" in table
    for word in ("spent", "MACs per frame", "ms per frame, p50", "agreement", "KL", "state kept"):
        assert word in table


def test_without_dense_only_what_needs_it_is_missing(video, tmp_path):
    out = tmp_path / "out.json"

    summary = stream(video, gate="top-r", knob=0.5, compare_dense=False, json=str(out), **DIGITS)

    assert (summary.agreement, summary.kl, summary.dense_ms) == (None, None, None)
    assert summary.ms is not None
    assert json.loads(out.read_text())["rows"][3]["dense_top1"] is None


def test_max_frames_ends_the_run(video):
    summary = stream(video, gate="always", max_frames=2, **DIGITS)

    assert (summary.frames, summary.ended) == (2, "max_frames")


def test_one_frame_has_no_later_ones_to_sum_up(tmp_path, capsys, write_video):
    summary = stream(write_video(tmp_path / "one.mp4", frames=1), gate="always", **DIGITS)

    assert (summary.frames, summary.spent, summary.spent_with_first) == (1, None, 1.0)
    assert "1 frames" in capsys.readouterr().out


def test_fps_thins_out_the_source(video):
    assert stream(video, gate="always", fps=5, **DIGITS).frames == 3


def test_a_damaged_file_is_warned_of_and_served_as_far_as_it_goes(tmp_path, write_video):
    cut = tmp_path / "cut.mp4"
    write_video(cut, frames=12)
    os.truncate(cut, cut.stat().st_size * 97 // 100)

    with pytest.warns(RegateWarning, match=r"cut.mp4: only \d+ of 12 frames could be decoded"):
        summary = stream(str(cut), gate="always", **DIGITS)

    assert 1 <= summary.frames < 12


def test_ctrl_c_finishes_the_files_and_sums_up_what_was_seen(video, tmp_path, monkeypatch):
    seen = []
    step = ReuseSession.step

    def interrupted(self, frame):
        seen.append(frame)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, frame)

    monkeypatch.setattr(ReuseSession, "step", interrupted)
    overlay, out = tmp_path / "overlay.mp4", tmp_path / "out.json"
    summary = stream(video, gate="always", overlay=str(overlay), json=str(out), **DIGITS)

    assert (summary.frames, summary.ended) == (3, "interrupt")
    assert len(json.loads(out.read_text())["rows"]) == 3
    with av.open(str(overlay)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3


def test_standard_input_is_a_source(video):
    keyboard = os.dup(0)
    try:
        with open(video, "rb") as file:
            os.dup2(file.fileno(), 0)
            summary = stream("-", gate="always", **DIGITS)
    finally:
        os.dup2(keyboard, 0)
        os.close(keyboard)

    assert summary.frames == 6


def test_the_command_line_gives_the_same(video, tmp_path, capsys):
    out = tmp_path / "out.json"
    words = ["stream", video, "--gate", "top-r", "--knob", "0.3", "--json", str(out)]
    words += ["--backbone", "regate_vit_digits", "--weights", "random"]
    main(words)

    written = json.loads(out.read_text())
    assert written["meta"]["command"] == f"regate {' '.join(words)}"
    results, _, _ = by_hand(TopRGate(0.3), video)
    assert [row["spent"] for row in written["rows"]] == [float(r.spent) for r in results]
    assert capsys.readouterr().out.endswith(f"wrote {out}\n")


def test_the_command_line_changes_what_happens_to_an_image_and_the_numbers_say_so(video, tmp_path):
    out = tmp_path / "out.json"
    words = ["stream", video, "--gate", "always", "--json", str(out), "--max_frames", "1"]
    words += ["--backbone", "regate_vit_digits", "--weights", "random"]
    words += ["--preprocessing.image_size=48", "--preprocessing.mean", "0.25,0.25,0.25"]
    main([*words, "--preprocessing.std=[0.5,0.5,0.25]", "--preprocessing.crop_pct", "0.5"])

    assert json.loads(out.read_text())["meta"]["preprocessing"] == {
        "image_size": 48,
        "mean": [0.25, 0.25, 0.25],
        "std": [0.5, 0.5, 0.25],
        "crop_pct": 0.5,
        "interpolation": "bicubic",
    }
