import io

import pytest
from rich.console import Console

from datamodules.errors import RegateError
from policy.compare.report import write_report


def test_a_report_is_seven_paths_and_a_printed_table(comparison, tmp_path):
    printed = io.StringIO()

    paths = write_report(comparison, [], tmp_path / "out", Console(file=printed, width=200))

    assert [path.name for path in paths] == [
        "results.json",
        "results.csv",
        "clips.csv",
        "drift.csv",
        "curve.png",
        "drift.png",
        "tensorboard",
    ]
    assert all(path.exists() for path in paths)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in paths
    )
    assert "1 MAC = 2 FLOPs" in printed.getvalue()


def test_an_output_that_cannot_be_made_fails_before_anything_is_printed(comparison, tmp_path):
    (tmp_path / "out").write_text("")
    printed = io.StringIO()

    with pytest.raises(RegateError, match=r"cannot write .*choose a place that is writable"):
        write_report(comparison, [], tmp_path / "out", Console(file=printed))

    assert printed.getvalue() == ""
