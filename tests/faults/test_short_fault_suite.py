"""Short forms of the fault suite, and that each of its judges does find what it looks for."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

if not hasattr(os, "fork"):
    pytest.skip("needs a system with fork", allow_module_level=True)

from benchmarks.faults import disk, inputs, kills, mutations, power, reading, sequences
from benchmarks.faults.__main__ import report
from medseg_rl.errors import InputFileError
from medseg_rl.imageio import atomic
from tests.unit import session_actions

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(autouse=True)
def own_home(monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSEG_RL_HOME", str(tmp_path))


def test_bad_inputs_of_every_kind_are_read_or_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(mutations, "BOMB_BYTES", 1 << 24)
    outcome = inputs.run(320, seed=1)
    assert outcome.defects == []
    assert outcome.inputs == 320
    assert len(outcome.kinds) == 11
    assert outcome.verdicts[reading.REFUSED] > 100
    assert len(outcome.mutations) >= len(mutations.MUTATIONS) - 2


def test_the_reading_program_is_started_again_after_a_crash_and_a_hang(tmp_path, monkeypatch):
    place = tmp_path / "good" / "dicom"
    place.mkdir(parents=True)
    inputs.specimens(tmp_path / "made")
    (tmp_path / "made" / "dicom" / "plain series").rename(place / "plain series")
    child = inputs.Child(tmp_path)
    child._process.kill()
    child._process.wait()
    assert child.ask("clicks", tmp_path / "none")["verdicts"]["?"][0] == "crash"
    monkeypatch.setattr(inputs, "LONGEST_SECONDS", 1.0)
    os.mkfifo(tmp_path / "pipe")  # a file that never gives anything
    assert child.ask("table", tmp_path / "pipe")["verdicts"]["?"][0] == "hang"
    monkeypatch.setattr(inputs, "LONGEST_SECONDS", 60.0)
    assert child.ask("clicks", tmp_path / "none")["verdicts"]["read_clicks"][0] == reading.REFUSED
    child.close()


def _raising(error):
    def reader(path):
        raise error

    return reader


def test_a_verdict_tells_a_refusal_from_a_defect(tmp_path):
    wrapped = InputFileError("needs more memory")
    wrapped.__cause__ = MemoryError()
    for error, said in (
        (InputFileError("one line"), reading.REFUSED),
        (InputFileError("two\nlines"), "not one line"),
        (KeyError("x"), "bare KeyError"),
        (MemoryError(), "MemoryError"),
        (wrapped, reading.AT_THE_CAP),
    ):
        assert reading.verdict(_raising(error), tmp_path)[0] == said
    assert reading.verdict(lambda path: None, tmp_path)[0] == "read"


def test_a_full_disk_and_a_read_only_folder_leave_what_was_there():
    for outcome in (disk.full_disk(24, seed=2), disk.full_disk_while_working(6, seed=2), disk.read_only_folder()):
        assert outcome.lost == []
        assert any("refused" in said or "told" in said for _, _, said, _ in outcome.rows)


def test_a_writer_that_is_not_atomic_is_found(monkeypatch):
    monkeypatch.setattr(disk, "WRITERS", {"careless": lambda folder: (folder / "a").write_bytes(bytes(5000))})
    assert any("File too large" in line for line in disk.full_disk(4, seed=3).lost)

    def careless(folder):
        with atomic._one_line(folder / "a"):
            (folder / "a").write_bytes(bytes(5000))

    monkeypatch.setattr(disk, "WRITERS", {"careless": careless})
    assert any("old file was changed" in line for line in disk.full_disk(4, seed=3).lost)


def test_a_power_cut_anywhere_leaves_a_state_that_was():
    for outcome in (power.power_cuts(60, seed=4), power.feedback_cuts(10, seed=4)):
        assert outcome.lost == []
        assert sum(times for _, times, _, _ in outcome.rows) >= 10


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")
def test_a_power_cut_after_any_step_leaves_it_although_only_what_was_flushed_is_there():
    assert power.cuts_of_what_was_not_flushed(12, seed=4).lost == []


def test_a_recovery_to_a_state_that_never_was_is_found(monkeypatch):
    true_work = power._long_work

    def long_work(root, rng):
        return {step: f"{found} or so" for step, found in true_work(root, rng).items()}

    monkeypatch.setattr(power, "_long_work", long_work)
    assert any("never was" in line for line in power.power_cuts(20, seed=5).lost)


def test_nothing_that_was_acknowledged_is_lost_by_kills():
    outcome = kills.kill(12, seed=11)
    assert outcome.kills == 12
    assert outcome.exported > 0
    assert outcome.steps > 5
    assert outcome.lost == []


def test_a_journal_that_forgets_is_found(monkeypatch):
    monkeypatch.setattr(kills.Safekeeping, "_flush", lambda keeping: keeping._pending.clear())
    assert kills.kill(6, seed=12).lost != []


def test_an_export_that_is_lost_now_and_then_is_found(monkeypatch):
    true_export = kills.SegmentationSession.export

    def export(session, path, **options):
        if np.random.default_rng().random() < 0.7:
            true_export(session, path, **options)

    monkeypatch.setattr(kills.SegmentationSession, "export", export)
    assert any("exported" in line for line in kills.kill(8, seed=14).lost)


def test_memory_that_a_small_file_cannot_fill_is_found(monkeypatch):
    def ask(child, kind, path):
        return {"verdicts": {"read_volume": (reading.AT_THE_CAP, "")}, "peak": 0}

    monkeypatch.setattr(inputs.Child, "ask", ask)
    assert {defect["verdict"] for defect in inputs.run(4, seed=1, only=".nii").defects} == {inputs.GREEDY}


@pytest.mark.slow
def test_nothing_is_lost_by_two_hundred_kills():
    outcome = kills.kill(200, seed=13)
    assert outcome.kills == 200
    assert outcome.lost == []


def test_random_users_come_back_by_undo_and_never_write_into_a_locked_label():
    outcome = sequences.run(60, seed=6)
    assert outcome.broken == []
    assert outcome.sequences == 60
    assert len(outcome.kinds) > 15


def test_a_session_whose_undo_forgets_is_found(monkeypatch):
    def act(session, kind, seed):
        session._arrays.layers[0][0, 0, 0] = np.uint8(seed % 200)

    monkeypatch.setattr(session_actions, "act", act)
    monkeypatch.setattr(session_actions, "check", lambda session: None)
    assert any("AssertionError" in line for line in sequences.run(5, seed=7).broken)


def test_the_report_has_a_row_for_each_thing_that_was_tried():
    text = report([("kills", 3, "fine", 0)], ["Left out: a tmpfs."], 5, "abc", 1.0)
    assert "| kills | 3 | fine | 0 |" in text
    assert "Commit abc, seed 5" in text
    assert "Left out: a tmpfs." in text
