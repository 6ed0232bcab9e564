"""An output is whole or not there at all, and the one before it survives every failure."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from medseg_rl.errors import OutputError
from medseg_rl.imageio.atomic import atomic_path, check_output_path

posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and limits")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(path: Path, text: str = "new") -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def test_the_file_appears_with_its_content_and_nothing_is_left_beside_it(tmp_path):
    write(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@posix_only
def test_a_reader_of_the_old_file_never_sees_half_of_the_new_one(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with (tmp_path / "a.txt").open() as reader:
        write(tmp_path / "a.txt")
        assert reader.read() == "old"
    assert (tmp_path / "a.txt").read_text() == "new"


def test_the_temporary_file_keeps_the_ending_so_that_writers_know_the_format(tmp_path):
    with atomic_path(tmp_path / "case.1.nii.gz") as temporary:
        assert temporary.name.endswith("case.1.nii.gz")
        assert temporary.parent == tmp_path
        temporary.write_text("x")


def test_a_failure_keeps_the_old_file_and_removes_the_new(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def interrupted() -> None:
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_two_writers_of_one_file_cannot_meet(tmp_path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("first")
        with pytest.raises(OutputError, match="another process is writing it"):
            write(tmp_path / "a.txt", "second")
    assert (tmp_path / "a.txt").read_text() == "first"
    write(tmp_path / "a.txt", "third")  # the lock is free again
    assert (tmp_path / "a.txt").read_text() == "third"


def test_another_process_cannot_write_what_this_one_writes(tmp_path):
    program = (
        "from medseg_rl.imageio.atomic import atomic_path\n"
        f"with atomic_path({str(tmp_path / 'a.txt')!r}) as temporary:\n    temporary.write_text('other')"
    )
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("mine")
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "OutputError" in other.stderr
    assert "another process is writing it" in other.stderr
    assert (tmp_path / "a.txt").read_text() == "mine"


@posix_only
def test_what_a_killed_process_left_behind_is_cleared_and_its_lock_is_free(tmp_path):
    program = (
        "import os, sys\nfrom medseg_rl.imageio.atomic import atomic_path\n"
        f"with atomic_path({str(tmp_path / 'a.txt')!r}) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -9
    assert len(names(tmp_path)) == 2  # the half file and the lock
    write(tmp_path / "a.txt")
    assert names(tmp_path) == ["a.txt"]


@posix_only
def test_a_file_too_large_for_the_disk_gives_one_line_and_keeps_the_old_file(tmp_path):
    (tmp_path / "a.bin").write_text("old")
    program = (
        "import resource\nfrom medseg_rl.errors import OutputError\nfrom medseg_rl.imageio.atomic import atomic_path\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        f"try:\n    with atomic_path({str(tmp_path / 'a.bin')!r}) as temporary:\n"
        "        temporary.write_bytes(bytes(100_000))\n"
        "except OutputError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "larger than a file may be here" in result.stdout
    assert result.stdout.count("\n") == 1
    assert (tmp_path / "a.bin").read_text() == "old"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EFBIG, "larger than"), (errno.EIO, "Input/output error")],
)
def test_what_the_system_reports_becomes_one_line(tmp_path, number, said):
    def failing() -> None:
        with atomic_path(tmp_path / "a.txt"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=said) as caught:
        failing()
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_an_error_of_ours_is_not_taken_for_a_full_disk(tmp_path):
    def failing() -> None:
        with atomic_path(tmp_path / "a.txt"):
            raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        failing()


def test_a_compiled_writer_that_fails_on_a_full_disk_gives_the_same_line(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))

    def failing() -> None:
        with atomic_path(tmp_path / "a.txt"):
            raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(OutputError, match="full"):
        failing()


@pytest.mark.parametrize(("name", "said"), [("missing/a.txt", "there is no folder"), ("folder", "it is a folder")])
def test_a_place_that_cannot_hold_the_file_is_named(tmp_path, name, said):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=said):
        check_output_path(tmp_path / name)


@posix_only
def test_a_read_only_file_is_not_replaced(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "a.txt").chmod(0o444)
    with pytest.raises(OutputError, match="read-only"):
        write(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"


@posix_only
def test_a_read_only_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as a user who may do anything
    with pytest.raises(OutputError, match="read-only"):
        write(tmp_path / "a.txt")


@posix_only
def test_a_link_is_written_through_and_permissions_stay(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "real.txt").chmod(0o640)
    (tmp_path / "link.txt").symlink_to("real.txt")
    write(tmp_path / "link.txt")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    assert (tmp_path / "real.txt").stat().st_mode & 0o777 == 0o640


def test_a_very_long_name_can_be_written(tmp_path):
    name = "x" * 240 + ".txt"
    write(tmp_path / name)
    assert names(tmp_path) == [name]
