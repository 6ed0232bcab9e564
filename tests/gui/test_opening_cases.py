"""Sessions saved and opened, work recovered after a crash, a case open twice, the list of cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QWidget

from medseg_rl.hints.clicks import ClickLabel
from medseg_rl.imageio import write_volume
from medseg_rl.journal import find_cases
from medseg_rl_gui.dialogs import FileQuestion, Question, ScriptedDialogs
from medseg_rl_gui.opening.case_list import CaseList, Status
from medseg_rl_gui.opening.case_list_dialog import CaseListDialog
from medseg_rl_gui.opening.recovery import RecoveryDialog
from medseg_rl_gui.opening.times import ago, ago_utc
from tests.gui.dicom_files import PATIENT, write_series
from tests.gui.opened_cases import Desk, ball, ct


@pytest.fixture
def desk(dialogs: ScriptedDialogs, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(dialogs)
    write_volume(tmp_path / "ct.nii.gz", ct())
    assert made.flow.open([tmp_path / "ct.nii.gz"])
    yield made
    made.close()


def work(desk: Desk) -> None:
    """One accepted click, and one that is open."""
    session = desk.case.session
    session.click(session.image.index_to_world((8, 7, 5)))
    session.accept()
    session.click(session.image.index_to_world((8, 7, 6)), ClickLabel.BACKGROUND)


def crash(desk: Desk) -> None:
    """As if the program ended here: nobody closes anything."""
    keeping = desk.case.keeping
    assert keeping is not None
    keeping.case._lock._handle.close()
    keeping.case._close_journal()
    keeping.session.observers.clear()
    desk.window.case = None


def same_work(one: Desk, state: tuple[object, ...]) -> bool:
    return state_of(one) == state


def state_of(desk: Desk) -> tuple[object, ...]:
    session = desk.case.session
    return (session.percent.tobytes(), session.label_map.tobytes(), session.clicks, session.history.undo_names)


def test_a_saved_session_opens_with_everything(desk: Desk, tmp_path: Path) -> None:
    work(desk)
    before = state_of(desk)
    desk.dialogs.answers = ["usual", tmp_path / "kept.medseg"]
    assert desk.flow.sessions.save(desk.case, None) == tmp_path / "kept.medseg"
    question = desk.dialogs.asked[-1]
    assert isinstance(question, FileQuestion)
    assert question.start == f"{desk.case.case_id}.medseg"
    assert desk.case.keeping is not None
    assert desk.case.keeping.unsaved_steps == 0
    desk.close()
    assert desk.flow.open([tmp_path / "kept.medseg"])
    assert same_work(desk, before)
    assert desk.case.saved_path == tmp_path / "kept.medseg"


def test_saving_again_asks_nothing(desk: Desk, tmp_path: Path) -> None:
    work(desk)
    assert desk.flow.sessions.save(desk.case, tmp_path / "kept.medseg") == tmp_path / "kept.medseg"
    assert desk.dialogs.asked == []


def test_a_session_with_its_image_needs_no_other_file(desk: Desk, tmp_path: Path) -> None:
    work(desk)
    before = state_of(desk)
    desk.dialogs.answers = ["voxels", tmp_path / "kept.medseg"]
    desk.flow.sessions.save(desk.case, None)
    desk.close()
    (tmp_path / "ct.nii.gz").unlink()
    assert desk.flow.open([tmp_path / "kept.medseg"])
    assert same_work(desk, before)
    np.testing.assert_array_equal(desk.case.opened.image.array, ct().array)


def test_an_image_that_moved_is_asked_for_and_another_one_refused(desk: Desk, tmp_path: Path) -> None:
    work(desk)
    before = state_of(desk)
    desk.flow.sessions.save(desk.case, tmp_path / "kept.medseg")
    desk.close()
    (tmp_path / "ct.nii.gz").rename(tmp_path / "moved.nii.gz")
    write_volume(tmp_path / "wrong.nii.gz", ct(5))
    desk.dialogs.answers = ["file", tmp_path / "wrong.nii.gz", "file", tmp_path / "moved.nii.gz"]
    assert desk.flow.open([tmp_path / "kept.medseg"])
    assert same_work(desk, before)
    assert any("another image" in text for text in desk.dialogs.texts)


def test_a_damaged_session_is_refused_and_nothing_closed(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "bad.medseg").write_bytes(b"PK\x03\x04 not really")
    before = desk.case
    assert not desk.flow.open([tmp_path / "bad.medseg"])
    assert desk.case is before
    assert desk.dialogs.asked[-1].tone == "error"


def test_after_a_crash_the_start_offers_recover_saved_and_discard(
    desk: Desk, show: Callable[..., QWidget], picture: Callable[..., Path], tmp_path: Path
) -> None:
    work(desk)
    desk.flow.sessions.save(desk.case, tmp_path / "kept.medseg")
    desk.case.session.accept()
    before = state_of(desk)
    crash(desk)

    def recover(dialog: RecoveryDialog) -> bool:
        show(dialog)
        picture(dialog, "recovery")
        assert [dialog.table.item(0, column).text() for column in (1, 4)] == ["1", "not closed: crash or power cut"]
        assert dialog.buttons["saved"].isEnabled()
        dialog.buttons["recover"].click()
        return True

    desk.dialogs.answers = [recover]
    assert desk.flow.recover_at_start()
    assert same_work(desk, before)


def test_what_was_discarded_is_not_offered_again(desk: Desk) -> None:
    work(desk)
    crash(desk)

    def discard(dialog: RecoveryDialog) -> bool:
        assert not dialog.buttons["saved"].isEnabled()
        dialog.choose("discard")
        return True

    desk.dialogs.answers = [discard, "cancel", discard, "discard"]
    assert not desk.flow.recover_at_start()
    assert find_cases() == ()
    assert not desk.flow.recover_at_start()


def test_later_keeps_the_work_and_nothing_is_asked_when_all_is_well(desk: Desk) -> None:
    assert not desk.flow.recover_at_start()
    assert desk.dialogs.asked == []
    work(desk)
    crash(desk)
    assert not desk.flow.recover_at_start()
    assert len(find_cases()) == 1


@pytest.mark.parametrize("choices", [{"missing": "resample"}, {"tilt": "resample"}, {"missing": "keep"}])
def test_a_series_is_recovered_as_it_was_read(
    dialogs: ScriptedDialogs, tmp_path: Path, choices: dict[str, str]
) -> None:
    from tests.gui.test_opening_images import picking

    desk = Desk(dialogs)
    folder = tmp_path / PATIENT["PatientID"]
    write_series(folder / "a", ct(1), number=1)
    missing = (4,) if "missing" in choices else ()
    write_series(folder / "b", ct(2), number=2, without=missing, sideways_mm=0.0 if missing else 0.5)
    dialogs.answers = [picking(1, **choices)]
    assert desk.flow.open([folder])
    affine = desk.case.opened.image.affine
    work(desk)
    before = state_of(desk)
    crash(desk)
    dialogs.answers = [lambda dialog: dialog.choose("recover") or True]
    assert desk.flow.recover_at_start()
    assert same_work(desk, before)
    np.testing.assert_array_equal(desk.case.opened.image.affine, affine)
    desk.close()


@pytest.mark.parametrize(("answers", "steps"), [(["recover"], 3), (["discard", "discard"], 0), (["discard"], None)])
def test_an_image_with_unsaved_work_asks_when_it_is_opened_again(
    desk: Desk, tmp_path: Path, answers: list[str], steps: int | None
) -> None:
    work(desk)
    crash(desk)
    desk.dialogs.answers = list(answers)
    assert desk.flow.open([tmp_path / "ct.nii.gz"]) is (steps is not None)
    if steps is not None:
        assert len(desk.case.session.history.done) == steps


def test_a_second_window_may_only_read(desk: Desk, dialogs: ScriptedDialogs, tmp_path: Path) -> None:
    work(desk)
    desk.flow.sessions.save(desk.case, tmp_path / "kept.medseg")
    other = Desk(ScriptedDialogs([lambda question: "read"]))
    assert other.flow.open([tmp_path / "ct.nii.gz"])
    assert other.case.keeping is None
    assert other.case.session.read_only
    np.testing.assert_array_equal(other.case.session.label_map, desk.case.session.label_map)
    with pytest.raises(Exception, match="nothing can be changed"):
        other.case.session.undo()
    (question,) = other.dialogs.asked
    assert isinstance(question, Question)
    assert "another window" in question.text


def test_the_same_image_is_not_opened_twice_in_one_window(desk: Desk, tmp_path: Path) -> None:
    before = desk.case
    assert not desk.flow.open([tmp_path / "ct.nii.gz"])
    assert desk.case is before
    assert "already" in desk.dialogs.texts[-1]


def test_who_wants_to_stay_stays(desk: Desk, tmp_path: Path) -> None:
    desk.window.may_release = False
    write_volume(tmp_path / "other.nii.gz", ct(9))
    desk.dialogs.answers = ["image"]
    before = desk.case
    assert not desk.flow.open([tmp_path / "other.nii.gz"])
    assert desk.case is before
    desk.window.may_release = True


def test_closing_asks_only_about_unsaved_steps(desk: Desk) -> None:
    assert desk.flow.sessions.closing(desk.case) == "keep"
    assert desk.dialogs.asked == []
    work(desk)
    desk.dialogs.answers = ["save", "discard"]
    assert [desk.flow.sessions.closing(desk.case) for _ in range(3)] == ["save", "discard", None]


def test_nothing_that_is_kept_names_the_patient_or_the_series(
    dialogs: ScriptedDialogs, tmp_path: Path, home: Path
) -> None:
    desk = Desk(dialogs)
    write_series(tmp_path / "study", ct(), description="MARKED description")
    assert desk.flow.open([tmp_path / "study"])
    work(desk)
    desk.dialogs.answers = ["portable", tmp_path / "kept.medseg"]
    desk.flow.sessions.save(desk.case, None)
    journal = next(home.rglob("journal.jsonl")).read_bytes()
    import zipfile

    with zipfile.ZipFile(tmp_path / "kept.medseg") as archive:
        saved = b"".join(archive.read(name) for name in archive.namelist())
    uid = desk.case.opened.image.source["series_uid"].encode()
    for secret in (b"MARKED", b"Marked", str(tmp_path).encode(), uid):
        assert secret not in journal
        assert secret not in saved
    desk.close()


def test_cases_of_a_folder_are_listed_marked_and_opened(
    dialogs: ScriptedDialogs, tmp_path: Path, show: Callable[..., QWidget], picture: Callable[..., Path]
) -> None:
    folder = tmp_path / "cases"
    for n in range(4):
        write_series(folder / f"patient_{n}", ct(n))
    write_volume(folder / "head.nii.gz", ct(7))
    write_volume(folder / "head_label.nii.gz", ct(7))
    (folder / "notes.txt").write_text("not a case")
    CaseList(folder).mark("patient_0", Status.DONE)
    CaseList(folder).mark("patient_2", Status.FLAGGED)
    desk = Desk(dialogs)

    def pick(dialog: CaseListDialog) -> bool:
        show(dialog)
        dialog.table.selectRow(2)
        picture(dialog, "case_list")
        return True

    dialogs.answers = [folder, pick]
    assert desk.flow.ask_for_case()
    found = {case.name: case.status for case in CaseList(folder).cases}
    assert found == {
        "head.nii.gz": Status.NOT_STARTED,
        "patient_0": Status.DONE,
        "patient_1": Status.IN_PROGRESS,
        "patient_2": Status.FLAGGED,
        "patient_3": Status.NOT_STARTED,
    }
    assert not list(folder.rglob("*.json"))
    desk.close()


def test_times_are_told_in_words() -> None:
    assert [ago(s) for s in (0.2, 30, 250, 7300, 200000)] == ["just now", "30 s ago", "4 min ago", "2 h ago", "2 d ago"]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert ago_utc((now - timedelta(seconds=30)).isoformat(), now) == "30 s ago"
    assert ago_utc("2025-12-31T23:00:00.000Z", now) == "1 h ago"
    assert ago_utc(None, now) == "at an unknown time"


def test_a_mask_of_a_read_only_case_is_refused(desk: Desk, tmp_path: Path) -> None:
    other = Desk(ScriptedDialogs(["read"]))
    assert other.flow.open([tmp_path / "ct.nii.gz"])
    write_volume(tmp_path / "mask.nrrd", ct().with_array(ball().astype(np.uint8)))
    other.dialogs.answers = [(tmp_path / "mask.nrrd",)]
    assert not other.flow.ask_for_mask()
    assert "another window" in other.dialogs.texts[-1]
