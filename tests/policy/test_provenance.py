"""What made a file."""

import re

from policy import provenance


def test_the_command_can_be_typed_again_while_it_runs():
    with provenance.running(["fit", "--data.root", "my videos"]):
        assert provenance.command() == "regate fit --data.root 'my videos'"

    assert provenance.command() == ""


def test_the_commit_is_a_hash_or_absent():
    assert re.fullmatch(r"([0-9a-f]{40,64}\+?)?", provenance.commit())


def test_there_is_no_commit_outside_of_git(monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))

    assert provenance.commit() == ""


def test_there_is_no_commit_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")

    assert provenance.commit() == ""
