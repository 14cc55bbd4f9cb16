"""Every shipped config: its header can be typed, and its keys are known to the command."""

import re
import shlex
from pathlib import Path

import pytest

from policy.cli import main

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "configs").rglob("*.yaml"))]


def header(config):
    """The comment lines at the top of a config, joined where a backslash ends one."""
    lines = []
    for line in (ROOT / config).read_text().splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#"))
    return "\n".join(lines).replace("\\\n", " ")


def commands(config):
    """The ``regate`` command lines in a config's header, as words."""
    return [shlex.split(line) for line in re.findall(r"^ +regate (.+)$", header(config), re.M)]


def test_there_are_configs():
    assert CONFIGS


@pytest.mark.parametrize("config", CONFIGS)
def test_header_says_what_it_is_how_to_run_it_and_what_to_expect(config):
    text = header(config)
    assert text.strip(), "no header"
    assert f"--config {config}" in text, "no command that runs it"
    assert "Expect:" in text
    assert len((ROOT / config).read_text().splitlines()) <= 40


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, id=" ".join(words)) for c in CONFIGS for words in commands(c)],
)
def test_every_command_in_a_header_is_understood(words, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)

    with pytest.raises(SystemExit) as stopped:
        main([*words, "--print_config"])

    printed = capsys.readouterr()
    assert stopped.value.code == 0, printed.err
    assert printed.out
