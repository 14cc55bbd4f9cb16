"""Files are whole or absent, whatever happens in between."""

import errno
import os
import subprocess
import sys

import pytest

from datamodules.errors import RegateError
from policy.atomic import atomic_write, check_writable


def test_the_new_file_replaces_the_old_one_only_at_the_end(tmp_path):
    path = tmp_path / "new" / "table.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"

    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["table.txt"]


def test_a_path_without_a_name_is_refused():
    with pytest.raises(RegateError, match="cannot write '', which names no file"):
        with atomic_write(""):
            raise AssertionError("nothing is to be written")


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("old")

    with pytest.raises(KeyError, match="mine"), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise KeyError("mine")

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.txt"]


def test_a_kill_in_mid_write_leaves_the_old_file_and_the_next_write_clears_up(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("old")
    code = (
        "import os, sys\nfrom policy.atomic import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), 9)\n"
    )

    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9

    assert path.read_text() == "old"
    assert len(os.listdir(tmp_path)) == 2
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert os.listdir(tmp_path) == ["table.txt"]
    assert path.read_text() == "new"


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    target = tmp_path / "file" / "table.txt"

    with pytest.raises(RegateError, match=r"cannot write .*table.txt \(.*\); choose a place"):
        with atomic_write(target):
            pytest.fail("the block must not run")


def test_a_full_disk_is_told_in_a_sentence(tmp_path):
    with pytest.raises(RegateError, match="No space left on device"):
        with atomic_write(tmp_path / "table.txt"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert os.listdir(tmp_path) == []


def test_an_error_about_another_file_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "table.txt"):
        (tmp_path / "absent").read_text()


def test_a_file_can_be_read_by_whoever_the_umask_allows(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    with atomic_write(tmp_path / "written") as temporary:
        temporary.write_text("x")
        temporary.chmod(0o600)
    assert (tmp_path / "written").stat().st_mode == ordinary.stat().st_mode


def test_a_folder_is_made_or_told_to_be_out_of_reach(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    check_writable(tmp_path / "new" / "run")

    assert (tmp_path / "new" / "run").is_dir()
    with pytest.raises(RegateError, match=r"^cannot write .*file/run \(Not a directory\); choose"):
        check_writable(tmp_path / "file" / "run")
    monkeypatch.setattr(os, "access", lambda *_: False)  # the superuser may write anywhere
    with pytest.raises(RegateError, match=r"^cannot write .* \(Permission denied\); choose a"):
        check_writable(tmp_path)
