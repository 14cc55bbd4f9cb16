"""The docs against the code: every tag is explained, every word listed, every example runs."""

import ast
import importlib.util
import inspect
import re
import subprocess
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
METRICS_PAGE = (ROOT / "docs" / "metrics.md").read_text()
TAG = re.compile(r"(train|val|test|hp|compare)/[\w<>/]+")


def python_blocks(page):
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)


def logged_tags():
    """Every TensorBoard tag written in the code; a value put into one reads ``<>``."""
    for path in sorted((ROOT / "policy").rglob("*.py")):
        tree = ast.parse(path.read_text())
        joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
        parts = {id(value) for node in joined for value in node.values}
        found = [
            "".join(v.value if isinstance(v, ast.Constant) else "<>" for v in node.values)
            for node in joined
        ]
        found += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in parts
        ]
        yield from (text for text in found if TAG.fullmatch(text))


def explained(tag):
    """Whether ``docs/metrics.md`` has a tag, with a name for each value put into it."""
    wanted = re.escape(tag).replace("<>", r"(<[a-z_]+>|[a-z_0-9]+)")
    return re.search(rf"`{wanted}`", METRICS_PAGE) is not None


def test_the_tags_are_found():
    found = set(logged_tags())
    assert {"train/loss", "val/overlay", "val/kl_at_<>", "hp/spent", "compare/<>"} <= found


@pytest.mark.parametrize("tag", sorted(set(logged_tags())))
def test_every_logged_tag_is_explained(tag):
    assert explained(tag), f"docs/metrics.md does not explain {tag}"


def test_every_metric_column_and_field_is_explained():
    from policy.bench.floors import Floors
    from policy.bench.rows import BenchRow
    from policy.compare.records import METRICS
    from policy.compare.results import Area, Drift, Paired, PlotCurve, Results, Row
    from policy.serving.rows import FrameRow
    from policy.serving.totals import Summary

    names = set(METRICS)
    told = (Row, Paired, Area, PlotCurve, Drift, Results, FrameRow, Summary, BenchRow, Floors)
    for record in told:
        names |= {field.name for field in fields(record)} - {"metrics", "metric", "rows"}
    missing = [name for name in sorted(names) if f"`{name}`" not in METRICS_PAGE]
    assert missing == []


def test_every_column_of_the_printed_table_is_explained():
    from policy.compare.table import _columns

    table = METRICS_PAGE.split("## The table of")[1].split("##")[0]
    assert [column.header for column in _columns() if column.header not in table] == []


def test_every_column_and_variant_of_the_benchmark_is_explained():
    from backbones import load_backbone
    from policy.bench.table import COLUMNS
    from policy.bench.variants import variants

    section = METRICS_PAGE.split("## The rows of `regate bench`")[1].split("##")[0]
    assert [column.header for column in COLUMNS if column.header not in section] == []
    backbone = load_backbone("regate_vit_digits", weights="random")
    first = torch.zeros(1, backbone.in_chans, *backbone.image_size)
    names = {its.name for its in variants(backbone, [0.5], first)}
    assert sorted(name for name in names if f"| `{name}` |" not in section) == []


def test_every_policy_is_named_in_the_readme():
    from policy.policies import POLICIES

    readme = (ROOT / "README.md").read_text()
    names = {policy.removesuffix("-per-block").removesuffix("-paced") for policy in POLICIES}
    assert sorted(name for name in names if f"`{name}`" not in readme) == []
    assert {name for name in names if f"{name}-per-block" in POLICIES} == {
        *("random", "periodic", "threshold", "top-r", "cosine")
    }
    assert {name for name in names if f"{name}-paced" in POLICIES} == {
        *("threshold", "gumbel", "ppo", "reinforce")
    }


def test_the_glossary_is_sorted_and_defines_each_word_once():
    page = (ROOT / "docs" / "glossary.md").read_text()
    words = re.findall(r"^\| ([^|]+?) \| ", page, re.M)[1:]
    assert words == sorted(words, key=str.lower)
    assert len(words) == len(set(words))
    assert {"recompute", "drift", "gate", "budget", "spent", "session"} <= set(words)


def test_the_gate_of_the_docs_can_be_written_run_named_kept_and_tested(
    tmp_path, monkeypatch, capsys
):
    from policy.policies import HEURISTICS

    snippets = python_blocks("docs/add_a_gate.md")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(HEURISTICS, "neighbour", None)  # so that it is gone afterwards
    names = {"__name__": "add_a_gate"}
    for snippet in snippets:
        loading = 'load_backbone("regate_vit_digits")'
        snippet = snippet.replace(loading, 'load_backbone("regate_vit_digits", weights="random")')
        exec(compile(snippet, "docs/add_a_gate.md", "exec"), names)

    printed = [float(word) for word in capsys.readouterr().out.split()]
    assert len(printed) == 8 and printed[0] == 1.0
    assert names["gate"].calibration.lowest < 0.25
    assert names["session"].gate.calibration == names["gate"].calibration
    tests = [name for name in names if name.startswith("test_")]
    assert tests == ["test_a_still_patch_is_recomputed_beside_one_that_moved"]
    names[tests[0]](view_by_hand())


def view_by_hand():
    """The fixture that the page names, called without pytest."""
    path = ROOT / "tests" / "policy" / "gates" / "conftest.py"
    spec = importlib.util.spec_from_file_location("gates_conftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return inspect.unwrap(module.view)()


def test_the_metadata_that_the_checkpoints_page_prints_are_written():
    source = (ROOT / "policy" / "gate_file.py").read_text()
    snippet = python_blocks("checkpoints/README.md")[0]
    printed = re.findall(r'"(\w+)"', snippet.split("for key in")[1].split(":")[0])
    assert printed
    assert [key for key in printed if f'"{key}":' not in source] == []


def test_differences_are_shares_of_the_other_policys_kl(capsys, docs_script):
    rows = [
        {"policy": policy, "budget": 0.2, "kl": {"value": kl}}
        for policy, kl in (("gumbel", 0.15), ("threshold", 0.2), ("hold", 0.1), ("top-r", None))
    ]

    def pair(against, difference, interval, wins=False):
        about = {"policy": "gumbel", "against": against, "budget": 0.2, "metric": "kl"}
        return about | {"difference": difference, "interval": interval, "wins": wins}

    docs_script("tables").print_pairs(
        rows,
        [
            pair("threshold", -0.05, (-0.08, -0.02), wins=True),
            pair("hold", 0.05, (0.01, 0.09)),
            pair("top-r", None, None),
        ],
    )

    assert capsys.readouterr().out.splitlines()[3:] == [
        "| gumbel | threshold | **-25 % [-40, -10]** |",
        "| gumbel | hold | *+50 % [+10, +90]* |",
        "| gumbel | top-r | – |",
    ]


def test_the_tables_of_a_comparison_name_its_disturbance(capsys, docs_script):
    meta = {
        "command": "regate compare", "commit": "0123456789", "machine": "two cores", "gates": [],
        "split": "test", "clips": 4, "groups": 2, "dense_macs": 1e9, "reference": "the clean ones",
        "data": {"disturbance": None},
    }  # fmt: skip

    docs_script("tables").print_run(meta)
    assert "the clean ones" not in capsys.readouterr().out

    meta["data"]["disturbance"] = {"kind": "Noise", "sigma": 1.5, "seed": 0}
    docs_script("tables").print_run(meta)
    told = "Noise (sigma 1.5, seed 0). KL, agreement and cosine are to the clean ones."
    assert told in capsys.readouterr().out.splitlines()


def test_screenshots_without_a_browser_say_what_to_install(monkeypatch, docs_script):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        SystemExit, match=r"^error: no chromium .* \(Debian: apt install chromium\)"
    ):
        docs_script("screenshots").find_chromium()


def test_screenshots_of_an_empty_folder_say_what_to_run_first(tmp_path, docs_script):
    with pytest.raises(SystemExit, match=r"no TensorBoard logs in .*: run `make demo` first"):
        docs_script("screenshots").check_events(tmp_path)


def test_screenshots_find_the_address_of_a_server_with_logs(tmp_path, docs_script):
    from urllib.request import urlopen

    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path / "runs") as writer:
        writer.add_scalar("compare/kl", 0.5, 100)
    with docs_script("screenshots").tensorboard(tmp_path) as url:
        runs = urlopen(f"{url}data/runs").read()

    assert runs.strip() == b'["runs"]'


def test_a_strip_puts_the_chosen_frames_side_by_side(tmp_path, docs_script):
    from datamodules.video_writer import VideoWriter

    video = tmp_path / "video.mp4"
    with VideoWriter(video, fps=10) as writer:
        for grey in (10, 90, 170, 250):
            writer.write(np.full((32, 48, 3), grey, dtype=np.uint8))

    picture = np.asarray(docs_script("strip").strip(video, [1, 3], width=100))

    assert picture.shape == (32, 100, 3)  # two frames of 48 pixels and a gap of 4
    left, gap, right = picture[16, 24, 0], picture[16, 50, 0], picture[16, 76, 0]
    assert abs(int(left) - 90) < 8 and gap == 255 and abs(int(right) - 250) < 8
    with pytest.raises(SystemExit, match="has no frame 4: choose smaller numbers"):
        docs_script("strip").strip(video, [0, 4], width=100)


HASH = re.compile(r"(?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])\b[0-9a-f]{7,8}\b")


def test_every_commit_that_is_named_exists():
    """A number whose commit cannot be looked up cannot be reproduced."""
    pages = [*ROOT.glob("docs/*.md"), ROOT / "README.md"]
    named = {name for page in pages for name in HASH.findall(page.read_text())}
    log = subprocess.run(
        ["git", "log", "--format=%H"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if log.returncode or (ROOT / ".git" / "shallow").exists():
        pytest.skip("without the history of the repository commits cannot be looked up")
    known = log.stdout.split()

    assert named, "no page names a commit any more"
    assert not {name for name in named if not any(full.startswith(name) for full in known)}
