"""The snippet of docs/export.md, run as it stands."""

import re

import pytest
import torch

from policy.cli import main


@pytest.fixture
def snippet(root):
    page = (root / "docs" / "export.md").read_text()
    return re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)[0]


def test_the_programs_run_as_the_page_says(snippet, digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--gate", "threshold", "--backbone", "regate_vit_digits", "--weights", "random"]
    main(["export-step", *words, "--patches", "36"])
    capsys.readouterr()
    frames = torch.rand(3, 1, 3, 96, 96)

    names = {"frames": frames}
    exec(compile(snippet, "docs/export.md", "exec"), names)

    printed = capsys.readouterr().out.splitlines()
    assert "'image_size': 96" in printed[0]
    counts = [line.rpartition(" ")[2] for line in printed[1:]]
    assert counts == ["tensor(144)", "tensor(36)", "tensor(36)"]
