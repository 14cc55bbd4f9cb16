"""Runs of the command line on a task of three weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

TINY = Path(__file__).parent / "tiny"


@pytest.fixture
def tiny(tmp_path, monkeypatch, root):
    """A folder to work in, with a fit config for a task that trains in a second."""
    monkeypatch.syspath_prepend(str(TINY))
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{TINY}")
    monkeypatch.chdir(tmp_path)
    config = {
        "model": {"class_path": "tiny_run.TinyTask", "init_args": {"target": 2.0}},
        "data": {"class_path": "tiny_run.TinyData"},
        "trainer": {
            "max_epochs": 2,
            "accelerator": "cpu",
            "devices": 1,
            "enable_progress_bar": False,
        },
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


@pytest.fixture
def regate(tiny):
    """Call the command line in a process of its own, as a user does."""

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "policy", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tiny,
        )

    return call
