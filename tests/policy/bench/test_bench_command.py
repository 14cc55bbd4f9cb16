"""The command: what it writes, prints and refuses."""

import json
from functools import partial

import pytest
import torch
from PIL import Image

from datamodules.errors import RegateError
from policy.bench.figure import draw_bench
from policy.bench.run import bench
from policy.cli import main

VARIANTS = ["dense", "dense packed", "everything", "shared", "per block", "ragged", "one by one"]
VARIANTS += ["gate alone", "learned"]


def test_rows_meta_table_and_figure(tmp_path, capfd):
    out = tmp_path / "new" / "bench.json"
    words = ["--model=regate_vit_digits", "--weights=random", "--fractions=0.25", "--streams=2"]
    words += ["--threads=1", "--rounds=1", "--frames=1", "--clock=processor", f"--json={out}"]
    before = torch.get_num_threads()
    main(["bench", *words])

    assert torch.get_num_threads() == before
    told = json.loads(out.read_text())
    rows = {row["variant"]: row for row in told["rows"]}
    assert list(rows) == VARIANTS
    assert all(row["streams"] == 2 and row["ms_p50"] > 0 for row in rows.values())
    for name in VARIANTS[3:]:
        assert rows[name]["fraction"] == 0.25
    for name in ("shared", "per block", "ragged", "one by one", "learned"):
        row = rows[name]
        assert 0.25 <= row["macs_ratio"] < 0.3
        assert row["efficiency"] == pytest.approx(row["macs_ratio"] / row["time_ratio"])
        assert row["peak_bytes"] > 0 and row["time_over_floor"] > 0
    sizes = [rows[name]["state_bytes"] for name in ("dense", "shared", "learned", "per block")]
    assert sizes == sorted(sizes) and sizes[0] == 0 < sizes[1]
    meta = told["meta"]
    assert (meta["model"], meta["tokens"], meta["threads"]) == ("regate_vit_digits", 144, 1)
    assert meta["command"].startswith("regate bench --model") and meta["machine"]
    assert set(meta["floors"]) == {"macs_per_s", "bytes_per_s", "weight_bytes"}
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.width > 600
    printed = capfd.readouterr()
    assert all(name in printed.out for name in VARIANTS)
    assert "Floors: " in printed.out and "bench.png" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"clock": "processor", "cache_dtype": "bfloat16"}, ", bfloat16 caches · processor time"),
        ({}, ""),
    ],
)
def test_the_title_tells_the_clock_and_the_caches(asked, told, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    drawn = []

    def draw(rows, floors, title):
        drawn.append(title)
        return draw_bench(rows, floors, title)

    monkeypatch.setattr("policy.bench.run.draw_bench", draw)
    options = {"fractions": [0.1], "rounds": 1, "frames": 1, "threads": 1}
    options |= {"json": str(tmp_path / "bench.json")}
    bench(model="regate_vit_digits", weights="random", **options, **asked)

    assert drawn[0].endswith("1 thread, float32" + told)
    assert drawn[0] in capsys.readouterr().out


def test_compiled_programs_are_timed_beside_what_they_are_made_of(monkeypatch, capsys):
    """In half precision, without the compiler, which takes a minute."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    options = {"fractions": [0.1], "rounds": 1, "frames": 1, "threads": 1}
    rows = bench(
        model="regate_vit_digits", weights="random", dtype="bfloat16", compiled=True, **options
    )

    found = {row.variant: row for row in rows}
    assert found["dense compiled"].macs_ratio == 1
    compiled, shared = found["shared compiled"], found["shared"]
    assert (compiled.macs_ratio, compiled.fraction) == (shared.macs_ratio, 0.1)
    assert compiled.state_bytes == shared.state_bytes
    assert "1 thread, bfloat16" in capsys.readouterr().out


def test_a_narrow_terminal_gets_the_columns_that_matter(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    bench(
        model="regate_vit_digits", weights="random", fractions=[0.1], rounds=1, frames=1, threads=1
    )
    printed = capsys.readouterr().out
    assert "efficiency" in printed and "peak" not in printed
    assert "more columns in a wider terminal, and all in --json." in printed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fractions": []}, "no fractions: give at least one, such as --fractions 0.5,0.1"),
        (
            {"fractions": [0.5, 0.0]},
            "fractions must be in (0, 1], got 0: each is the share of the patches that is computed",
        ),
        (
            {"fractions": [1.5]},
            "fractions must be in (0, 1], got 1.5: each is the share of the patches that is "
            "computed",
        ),
        ({"streams": 0}, "streams must be at least 1, got 0"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"frames": -1}, "frames must be at least 1, got -1"),
        (
            {"json": "bench.txt"},
            "the file of --json must end in .json, got 'bench.txt': the figure goes to the .png "
            "beside it",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(given, message):
    with pytest.raises(RegateError) as refused:
        bench(model="regate_vit_digits", weights="random", **given)
    assert str(refused.value) == message


def test_a_model_has_to_be_named(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["bench"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "model" in error and "regate bench --help" in error
