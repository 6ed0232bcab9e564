"""Journal, autosave, recovery and second windows of a session; what fails is told and never raised into the work."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg_rl.editing import Brush
from medseg_rl.errors import InputFileError, MedSegError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.journal import CaseBusyError, find_cases
from medseg_rl.journal.case_folder import report_of
from medseg_rl.journal.lines import decoded_line, encoded_line
from medseg_rl.journal.values import expanded
from medseg_rl.session import PlaceVoxelClicks, SegmentationSession
from medseg_rl.session.replay import replay_recomputed, replay_stored
from medseg_rl.session.safekeeping import Safekeeping
from medseg_rl.session.session_file import describe_session
from medseg_rl.session.stored_state import taken_from
from medseg_rl.volume import Volume
from tests.unit import session_actions as random_user

SHAPE = (20, 18, 16)
MARKED = "Mustermann"


class Painter:
    """Paints a cube round each new click, of a side that the test may change."""

    name = "painter"

    def __init__(self, half=2):
        self.half = half

    def describe(self):
        return {"kind": self.name, "bundle_hash": "ab12"}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        percent = request.percent.copy()
        for click in request.clicks[len(request.clicks) - request.n_new_clicks :]:
            cube = tuple(slice(max(0, i - self.half), i + self.half + 1) for i in click.index)
            percent[cube] = 99 if click.label == ClickLabel.FOREGROUND else 1
        if request.held_voxels is not None:
            np.copyto(percent, request.percent, where=request.held_voxels)
        preview(percent)
        return percent


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_RL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def image(seed=1):
    source = {"path": f"/data/{MARKED}/ct.nii.gz", "PatientName": MARKED, "SeriesInstanceUID": "1.2.826.0.1"}
    return Volume(np.random.default_rng(seed).normal(0, 1, SHAPE).astype(np.float32), np.eye(4), "MR", source)


def begun(**options):
    return Safekeeping.begin(SegmentationSession(image(), Painter()), **options)


def click(session, *index):
    session.click_voxels([Click(index, ClickLabel.FOREGROUND)])


def work(session):
    """Five steps, the last one undone: an accepted mask, an open proposal beside it."""
    click(session, 5, 6, 7)
    session.accept()
    session.activate(session.add_label("Vessel"))
    click(session, 15, 6, 7)
    click(session, 15, 12, 7)
    session.undo()


def left_behind(keeping):
    """As a kill leaves a case: nothing is finished, the lock is free."""
    if keeping._worker is not None:
        keeping._worker.shutdown()
    keeping.case._close_journal()
    keeping.case._lock._handle.close()
    return keeping.case.folder


def everything(session):
    state = taken_from(session)
    arrays = {str(a.key): (a.box, None if a.values is None else a.values.tobytes()) for a in state.arrays}
    names = [entry.name for entry in (*state.done, *state.undone)]
    return arrays, expanded(state.ledger), names, len(state.done), state.active, state.version, state.overwrite


def seen(session):
    """The same but for percent states that somebody only looked at."""
    names = session.history.undo_names, session.history.redo_names
    ledger = expanded(session._ledger.works)
    return random_user.everything(session), ledger, names, session.active_label, session.overwrite, session.version


def test_all_that_was_done_is_there_again_without_any_autosave():
    keeping = begun()
    work(keeping.session)
    keeping.session.overwrite = "overlap"
    keeping.note_view({"slice": 7})
    before = everything(keeping.session)
    folder = left_behind(keeping)
    (report,) = find_cases()
    assert (report.folder, report.unsaved_steps, report.crashed, report.is_open) == (folder, 6, True, False)
    again = Safekeeping.recover(folder, image(), Painter())
    assert everything(again.session) == before
    assert again.view == {"slice": 7}
    assert again.notices == ()
    assert again.unsaved_steps == 6
    again.close()


def test_recovered_work_goes_on_and_is_recovered_again():
    keeping = begun()
    work(keeping.session)
    for round_ in range(3):
        keeping = Safekeeping.recover(left_behind(keeping), image(), Painter())
        keeping.session.redo() if round_ == 0 else click(keeping.session, 15, 4 * round_, 12)
    before = everything(keeping.session)
    again = Safekeeping.recover(left_behind(keeping), image(), Painter())
    assert everything(again.session) == before
    again.close()


@pytest.mark.parametrize("broken", [(), ("base-00000006",), ("base-00000006", "base-00000003"), ("start",)])
def test_a_generation_that_cannot_be_read_is_passed_over(broken):
    keeping = begun()
    work(keeping.session)
    keeping.autosave()
    while keeping._autosaving:
        pass
    click(keeping.session, 3, 3, 3)
    before = everything(keeping.session)
    folder = left_behind(keeping)
    for name in broken:
        path = folder / f"{name}.medseg"
        if path.exists():
            path.write_bytes(path.read_bytes()[:-40])
    again = Safekeeping.recover(folder, image(), Painter())
    assert everything(again.session) == before
    assert bool(again.notices) == (broken in {("base-00000006",), ("base-00000006", "base-00000003")})
    click(again.session, 9, 9, 9)
    before = everything(again.session)
    again = Safekeeping.recover(left_behind(again), image(), Painter())
    assert everything(again.session) == before
    again.close()


def test_every_file_of_a_case_may_be_cut_off_anywhere(tmp_path):
    keeping = begun()
    work(keeping.session)
    keeping.autosave()
    while keeping._autosaving:
        pass
    click(keeping.session, 3, 3, 3)
    folder = left_behind(keeping)
    contents = {path: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}
    rng = np.random.default_rng(0)
    for path, content in contents.items():
        for size in {0, 1, len(content) - 1, *(int(n) for n in rng.integers(0, len(content), 4))}:
            for other, whole in contents.items():
                other.write_bytes(whole)
            path.write_bytes(content[: max(0, size)])
            again = Safekeeping.recover(folder, image(), Painter())
            assert 0 <= again.sequence <= 7
            least = 7 if path.suffix == ".medseg" or path.name == "places.json" else 6
            assert again.sequence >= least  # a generation holds step 6, the journal step 7
            left_behind(again)
            for extra in set(folder.iterdir()) - set(contents):
                if extra.name != "lock":
                    extra.unlink()


def test_nothing_readable_is_told_and_another_image_is_refused():
    keeping = begun()
    work(keeping.session)
    folder = left_behind(keeping)
    with pytest.raises(InputFileError, match="another image"):
        Safekeeping.recover(folder, image(2), Painter())
    (folder / "start.medseg").write_bytes(b"")
    with pytest.raises(InputFileError, match="nothing of case-"):
        Safekeeping.recover(folder, image(), Painter())


def test_an_autosave_is_due_after_a_model_job_and_a_minute_after_an_edit(monkeypatch):
    keeping = begun()
    now = [1000.0]
    monkeypatch.setattr("medseg_rl.session.safekeeping.time.monotonic", lambda: now[0])
    assert not keeping.autosave_is_due
    keeping.session.add_label("Vessel")
    assert not keeping.autosave_is_due
    now[0] += 61
    assert keeping.autosave_is_due
    keeping.tick()
    while keeping._autosaving:
        pass
    assert not keeping.autosave_is_due
    click(keeping.session, 5, 5, 5)
    assert keeping.autosave_is_due
    keeping.close(discard=True)


def test_an_autosave_is_written_off_the_calling_thread_and_three_generations_stay():
    jobs = []
    keeping = begun(submit=jobs.append)
    for k in range(5):
        click(keeping.session, 3 * k, 5, 5)
        keeping.autosave()
        assert not keeping.case.base(keeping.sequence).exists()  # only packed so far
        keeping.session.add_label()  # work goes on meanwhile
        keeping.session.undo()
        worker = threading.Thread(target=jobs.pop())
        worker.start()
        worker.join()
    bases = sorted(path.name for path in keeping.case.folder.glob("base-*"))
    assert bases == ["base-00000007.medseg", "base-00000010.medseg", "base-00000013.medseg"]
    keeping.close(discard=True)


def test_a_failed_autosave_is_told_until_one_works(monkeypatch):
    keeping = begun(submit=lambda job: job())
    click(keeping.session, 5, 5, 5)
    with monkeypatch.context() as full:
        full.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        keeping.autosave()
        assert "autosave failed" in keeping.problem
        click(keeping.session, 9, 5, 5)
        assert "autosave failed" in keeping.problem
    keeping.autosave()
    assert keeping.problem == ""
    keeping.close(discard=True)


def test_steps_that_could_not_be_journalled_are_told_and_written_when_there_is_room(monkeypatch):
    keeping = begun()
    click(keeping.session, 5, 5, 5)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        click(keeping.session, 9, 5, 5)  # raises nothing into the work
        assert "No space left" in keeping.problem
        keeping.session.undo()
    assert keeping.problem != ""
    keeping.tick()
    assert keeping.problem == ""
    before = everything(keeping.session)
    again = Safekeeping.recover(left_behind(keeping), image(), Painter())
    assert everything(again.session) == before
    again.close(discard=True)


@pytest.mark.skipif(os.name != "posix", reason="a slow disk is played by fsync")
def test_a_step_flushed_beside_the_work_is_in_the_file_at_once_and_what_says_saved_waits_for_the_disk(
    tmp_path, monkeypatch
):
    keeping = begun()
    keeping.flushes_beside = True
    disk, true_fsync = threading.Event(), os.fsync

    def slow(handle):
        if threading.current_thread().name == "journal":
            assert disk.wait(30)
        true_fsync(handle)

    monkeypatch.setattr(os, "fsync", slow)
    for name in ("Vessel", "Bone", "Air"):
        keeping.session.add_label(name)  # returns though the disk is busy
        assert keeping.case.text().lines[-1]["action"] == "add_label"  # a kill from here on loses nothing
    saving = threading.Thread(target=keeping.save, args=(tmp_path / "saved.medseg",))
    saving.start()
    saving.join(0.2)
    assert saving.is_alive()
    assert not (tmp_path / "saved.medseg").exists()
    disk.set()
    saving.join(30)
    assert (tmp_path / "saved.medseg").exists()
    assert keeping.provenance()["journal_sha256"] == keeping.case.text().digest
    keeping.close()


def test_what_could_not_be_flushed_beside_the_work_is_told_and_written_again_in_order(monkeypatch):
    keeping = begun()
    keeping.flushes_beside = True
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
        for name in ("One", "Two", "Three"):
            keeping.session.add_label(name)
        keeping.settle()
        assert "Input/output error" in keeping.problem
        assert keeping.case.text().lines[-1]["kind"] == "opened"
    keeping.tick()
    keeping.settle()
    assert keeping.problem == ""
    before = everything(keeping.session)
    again = Safekeeping.recover(left_behind(keeping), image(), Painter())
    assert everything(again.session) == before
    assert again.notices == ()
    again.close(discard=True)


def test_a_second_window_is_refused_and_may_read():
    keeping = begun()
    click(keeping.session, 5, 5, 5)
    second = SegmentationSession(image(), Painter())
    with pytest.raises(CaseBusyError, match=str(os.getpid())) as told:
        Safekeeping.begin(second)
    second.read_only = str(told.value)
    with pytest.raises(MedSegError, match="only be read here"):
        second.accept() or click(second, 5, 5, 5)
    assert find_cases() == ()  # what somebody has open is not offered
    keeping.close(discard=True)


def test_unsaved_work_is_never_overwritten_by_a_new_beginning():
    keeping = begun()
    click(keeping.session, 5, 5, 5)
    left_behind(keeping)
    with pytest.raises(MedSegError, match="recover or discard"):
        begun()
    assert len(find_cases()) == 1


def test_a_closed_case_leaves_nothing_if_saved_or_discarded_and_everything_if_not(tmp_path, home):
    keeping = begun()
    work(keeping.session)
    keeping.close()
    (report,) = find_cases()
    assert not report.crashed
    again = Safekeeping.recover(report.folder, image(), Painter())
    again.save(tmp_path / "a.medseg")
    again.close()
    assert list((home / "cases").iterdir()) == []
    keeping = begun()
    work(keeping.session)
    keeping.close(discard=True)
    assert list((home / "cases").iterdir()) == []


def test_a_saved_session_goes_on_with_its_journal(tmp_path):
    keeping = begun(image_path=tmp_path / "ct.nii.gz")
    work(keeping.session)
    keeping.note_view({"slice": 3})
    keeping.save(tmp_path / "a.medseg")
    before = everything(keeping.session)
    click(keeping.session, 3, 3, 3)
    keeping.close(discard=True)
    again = Safekeeping.open_saved(tmp_path / "a.medseg", image(), Painter())
    assert everything(again.session) == before
    assert again.view == {"slice": 3}
    assert again.unsaved_steps == 0
    again.session.redo()
    before = everything(again.session)
    report = report_of(left_behind(again))
    assert (report.unsaved_steps, report.saved_path) == (1, tmp_path / "a.medseg")
    again = Safekeeping.recover(report.folder, image(), Painter())
    assert everything(again.session) == before
    again.save(tmp_path / "b.medseg")
    again.close()
    assert describe_session(tmp_path / "b.medseg").sequence == 7
    assert replay_stored(tmp_path / "b.medseg").steps == 7
    assert replay_stored(tmp_path / "b.medseg").is_identical


def test_a_session_saved_without_a_journal_begins_one(tmp_path):
    session = SegmentationSession(image(), Painter())
    work(session)
    session.save(tmp_path / "a.medseg")
    with pytest.raises(InputFileError, match="no journal"):
        replay_stored(tmp_path / "a.medseg")
    keeping = Safekeeping.open_saved(tmp_path / "a.medseg", image(), Painter())
    click(keeping.session, 3, 3, 3)
    keeping.save(tmp_path / "b.medseg")
    keeping.close()
    assert replay_stored(tmp_path / "b.medseg").is_identical


def test_a_saved_session_whose_journal_is_damaged_opens_without_it(tmp_path):
    keeping = begun()
    work(keeping.session)
    keeping.save(tmp_path / "a.medseg")
    before = everything(keeping.session)
    keeping.close()
    _rewrite(tmp_path / "a.medseg", lambda lines: [*lines[:2], b"{}\n", *lines[2:]])
    again = Safekeeping.open_saved(tmp_path / "a.medseg", image(), Painter())
    assert everything(again.session) == before
    assert "journal" in again.notices[0]
    click(again.session, 3, 3, 3)
    again.save(tmp_path / "b.medseg")
    again.close()
    assert replay_stored(tmp_path / "b.medseg").is_identical


def test_a_damaged_start_or_lost_change_never_stops_a_save(tmp_path):
    for name in ("start.medseg", "journal.deltas"):
        keeping = begun()
        work(keeping.session)
        keeping.autosave()
        while keeping._autosaving:
            pass
        folder = left_behind(keeping)
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 3] ^= 255
        (folder / name).write_bytes(bytes(content))
        again = Safekeeping.recover(folder, image(), Painter())
        again.save(tmp_path / "a.medseg")
        before = everything(again.session)
        again.close()
        opened = SegmentationSession.open_saved(tmp_path / "a.medseg", image(), Painter())
        assert everything(opened) == before
        if not again.notices:
            assert replay_stored(tmp_path / "a.medseg").is_identical


def _rewrite(path, change):
    """The same session file with other lines in its journal."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    lines = parts["journal/journal.jsonl"].splitlines(keepends=True)
    parts["journal/journal.jsonl"] = b"".join(change(lines))
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part, zipfile.ZIP_DEFLATED if "array" in name else zipfile.ZIP_STORED)


def _with_edits(tmp_path):
    keeping = begun()
    work(keeping.session)
    keeping.session.accept()
    keeping.session.edit(Brush(((9.0, 9.0, 9.0), (9.0, 12.0, 9.0)), 3.0))
    keeping.session.undo()
    click(keeping.session, 3, 3, 3)
    keeping.save(tmp_path / "a.medseg")
    keeping.close()
    return tmp_path / "a.medseg"


def test_the_same_model_recomputes_every_step_to_the_same_voxels(tmp_path):
    path = _with_edits(tmp_path)
    replay = replay_recomputed(path, image(), Painter())
    assert replay.is_identical
    assert [step.action for step in replay.recomputed] == ["click", "click", "click", "edit", "click"]


def test_another_model_is_found_out_step_by_step(tmp_path):
    replay = replay_recomputed(_with_edits(tmp_path), image(), Painter(half=1))
    assert replay.differences == ()  # the stored steps still lead to the saved session
    assert not replay.is_identical
    first = replay.recomputed[0]
    assert (first.mask_voxels, first.largest_difference) == (5**3 - 3**3, 98)
    edit = replay.recomputed[3]
    assert (edit.action, edit.percent_voxels, edit.error) == ("edit", 0, "")


def test_a_journal_that_does_not_lead_to_what_was_saved_is_found_out(tmp_path):
    path = _with_edits(tmp_path)
    _rewrite(path, lambda lines: lines[:4])
    replay = replay_stored(path)
    assert not replay.is_identical
    assert any("voxels differ" in line for line in replay.differences)


def test_strokes_into_a_running_refinement_are_stored_and_recomputed(tmp_path):
    keeping = begun()
    session = keeping.session
    job, taken = session.prepare(PlaceVoxelClicks((Click((8, 8, 8), ClickLabel.FOREGROUND),))), []
    stroke = Brush(((9.0, 8.0, 8.0),), 0.8, erase=True)
    session.apply(job.run(progress=lambda _: taken.append(taken or session.intervene(job, stroke))))
    assert taken[0] is True
    assert session.mask[8, 8, 8]
    assert not session.mask[9, 8, 8]
    before = everything(session)
    keeping = Safekeeping.recover(left_behind(keeping), image(), Painter())
    assert everything(keeping.session) == before
    keeping.save(tmp_path / "a.medseg")
    keeping.close()
    assert replay_recomputed(tmp_path / "a.medseg", image(), Painter()).is_identical


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from(random_user.KINDS), st.integers(0, 2**32 - 1)), max_size=16), st.integers(0, 3)
)
def test_whatever_was_done_is_recovered_saved_and_replayed_both_ways(tmp_path_factory, actions, variant):
    folder = tmp_path_factory.mktemp("case")
    keeping = Safekeeping.begin(random_user.started(variant=variant), root=folder, submit=lambda job: job())
    for number, (kind, seed) in enumerate(actions):
        random_user.settle(keeping.session, kind, seed)
        random_user.act(keeping.session, kind, seed)
        if number == 9:
            keeping.autosave()
    keeping.note_view({})
    before = seen(keeping.session)
    case = left_behind(keeping)
    again = Safekeeping.recover(case, random_user.image(), random_user.Leaning(), submit=lambda job: job())
    assert seen(again.session) == before
    again.save(folder / "a.medseg")
    again.close()
    assert replay_stored(folder / "a.medseg").is_identical
    anew = replay_recomputed(folder / "a.medseg", random_user.image(), random_user.Leaning())
    assert anew.is_identical, anew.recomputed
    opened = SegmentationSession.open_saved(folder / "a.medseg", random_user.image(), random_user.Leaning())
    assert seen(opened) == before


def test_a_forged_journal_is_replayed_and_opened_or_told_in_one_line(tmp_path, monkeypatch):
    path, rng = _with_edits(tmp_path), random.Random(5)
    with zipfile.ZipFile(path) as archive:
        lines = [decoded_line(raw) for raw in archive.read("journal/journal.jsonl").splitlines(keepends=True)]
    told = 0
    for number in range(60):
        forged = json.loads(json.dumps(lines))
        _spoil(forged, rng)
        _rewrite(path, lambda _, forged=forged: [encoded_line(line) for line in forged if isinstance(line, dict)])
        monkeypatch.setenv("MEDSEG_RL_HOME", str(tmp_path / f"home-{number}"))
        for use in (replay_stored, lambda p: replay_recomputed(p, image(), Painter()), _opened_and_recovered):
            try:
                use(path)
            except InputFileError as error:
                told += 1
                assert "\n" not in str(error)  # noqa: PT017  (an error is one of two right outcomes)
    assert told > 10


def _spoil(content, rng):
    """Puts a wrong value somewhere into nested lists and tables."""
    while True:
        key = rng.choice(sorted(content) if isinstance(content, dict) else range(len(content)))
        inner = content[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.15:
            content[key] = rng.choice([-1, 0, 1, 7, 2**40, None, "x", [], [[]], {}, True, 0.5, 1e300, -(2**70), [1, 2]])
            return
        content = inner


def _opened_and_recovered(path):
    keeping = Safekeeping.open_saved(path, image(), Painter())
    while keeping.session.undo():
        pass
    Safekeeping.recover(left_behind(keeping), image(), Painter()).close(discard=True)


def test_a_journal_line_holds_what_the_specification_asks_for(tmp_path):
    keeping = begun()
    click(keeping.session, 5, 6, 7)
    line = json.loads(keeping.case.lines.read_text().splitlines()[-1])
    given = line["parameters"]["clicks"][0]
    assert (line["sequence"], line["action"], line["label"], line["base_version"]) == (1, "click", 1, 0)
    assert (given["mm"], given["voxel"], given["label"]) == ([5.0, 6.0, 7.0], [5, 6, 7], 1)
    assert line["model"] == {"name": "painter", "kind": "painter", "bundle_hash": "ab12"}
    assert (line["entered"], line["left"], line["dice_to_previous"]) == (125, 0, 0.0)
    assert {"time", "seed", "device", "changed_voxels"} <= set(line)
    assert len(line["deltas"][0][1]) == 64  # SHA-256
    click(keeping.session, 8, 6, 7)
    line = json.loads(keeping.case.lines.read_text().splitlines()[-1])
    assert line["dice_to_previous"] == pytest.approx(2 * 125 / (125 + 125 + line["entered"]), abs=1e-6)
    keeping.close(discard=True)


def test_no_name_uid_or_path_of_the_image_is_in_journal_generations_or_portable_files(tmp_path, home, caplog):
    caplog.set_level(logging.DEBUG)
    keeping = begun(image_path=Path(f"/data/{MARKED}/ct.nii.gz"), submit=lambda job: job())
    work(keeping.session)
    keeping.autosave()
    keeping.save(tmp_path / "portable.medseg", portable=True)
    keeping.save(tmp_path / "own.medseg")
    assert MARKED not in json.dumps(keeping.provenance())
    for path in (*keeping.case.folder.iterdir(), tmp_path / "portable.medseg"):
        if path.name != "places.json":
            content = path.read_bytes()
            assert MARKED.encode() not in content
            assert b"1.2.826" not in content
        assert MARKED not in path.name
    assert describe_session(tmp_path / "portable.medseg").image_path is None
    assert describe_session(tmp_path / "own.medseg").image_path == Path(f"/data/{MARKED}/ct.nii.gz")
    assert MARKED not in caplog.text
    keeping.close()


def test_provenance_names_program_model_case_and_journal():
    keeping = begun()
    work(keeping.session)
    found = keeping.provenance()
    assert found["models"] == [{"name": "painter", "version": "", "bundle_hash": "ab12"}]
    assert found["case"].startswith("case-")
    assert len(found["journal_sha256"]) == 64
    assert found["written"] == {"model": 125}
    assert found["written_by_label"] == {"1": {"model": 125}}
    keeping.close(discard=True)
    assert keeping.session.provenance()["journal_sha256"] is None
