"""Reports of a recipe: one program writes at a time, and says so when it cannot."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import pytest

from medseg_rl.errors import OutputError
from medseg_rl.recipes import report
from medseg_rl.recipes.report import Curve, Report, write_report


def a_report(value: int) -> Report:
    line = Curve("panel", f"run {value}", (0, 1), (value, value))
    return Report(title=f"report {value}", table=[{"value": value}], facts={}, curves=[line])


def test_a_second_program_that_finds_another_writing_gives_up_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="locks of this kind are POSIX only")
    monkeypatch.setattr(report, "PATIENCE_SECONDS", 0.0)
    with (tmp_path / ".report.lock").open("a+b") as handle:  # its own opening: a lock of another program
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(OutputError, match="another program is writing in") as refused:
            write_report(tmp_path, a_report(1))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "results.csv").exists()
    write_report(tmp_path, a_report(1))
    assert (tmp_path / "results.csv").exists()


def test_reports_of_two_programs_leave_the_files_of_one_of_them(tmp_path: Path) -> None:
    threads = [threading.Thread(target=write_report, args=(tmp_path, a_report(value))) for value in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with (tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    with (tmp_path / "curves.csv").open(newline="", encoding="utf-8") as file:
        assert {line["label"] for line in csv.DictReader(file)} == {f"run {row['value']}"}
    assert f"report {row['value']}" in (tmp_path / "card.md").read_text(encoding="utf-8")
