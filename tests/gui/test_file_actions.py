"""The File menu: what each action leaves in window, recent files and preferences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PySide6.QtWidgets import QLabel

from medseg_rl.imageio import write_volume
from medseg_rl_gui.actions import BY_ID
from medseg_rl_gui.banners import Banners
from medseg_rl_gui.dialogs import FileQuestion, ScriptedDialogs
from medseg_rl_gui.opening.file_actions import FORMS, OPENED, READ_ONLY, FileActions
from medseg_rl_gui.preferences import PreferenceStore
from tests.gui.dicom_files import write_series
from tests.gui.opened_cases import Desk, ct


class Office:
    """File actions with everything they need but a window."""

    def __init__(self, dialogs: ScriptedDialogs) -> None:
        self.desk = Desk(dialogs)
        self.store, self.banners = PreferenceStore.open(), Banners()
        self.view, self.said = QLabel("view"), [""]
        self.view.resize(300, 200)
        self.files = FileActions(
            self.desk.window,
            self.desk.starter,
            self.desk.waiting,
            dialogs=dialogs,
            store=self.store,
            banners=self.banners,
            say=self.said.append,
            view=lambda: self.view,
            window=lambda: self.view,
        )

    def close(self) -> None:
        self.desk.close()
        self.view.deleteLater()
        self.banners.deleteLater()


@pytest.fixture
def office(dialogs: ScriptedDialogs) -> Iterator[Office]:
    made = Office(dialogs)
    yield made
    made.close()


def work(office: Office) -> None:
    session = office.desk.case.session
    session.click(session.image.index_to_world((8, 7, 5)))
    session.accept()


def test_every_action_of_the_file_menu_is_there(office: Office) -> None:
    wanted = {id_ for id_, action in BY_ID.items() if action.menu == "file"} - {"file.quit"}
    assert set(office.files.handlers()) == wanted


def test_a_regular_series_is_told_in_the_status_bar_and_raises_no_banner(office: Office, tmp_path: Path) -> None:
    write_series(tmp_path / "study" / "ct", ct())
    assert office.files.open_paths([tmp_path / "study" / "ct"])
    assert office.said[-1] == "10 images, 2.00 x 2.00 x 3.00 mm, no gaps, no tilt"
    assert office.banners.shown == {}
    assert office.store.current.files.recent == (str(tmp_path / "study" / "ct"),)
    assert office.store.current.files.open_folder == str(tmp_path / "study")


def test_disabled_quantities_stay_on_a_banner(office: Office, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", ct(), without=(4, 5))
    office.desk.dialogs.answers = [lambda dialog: dialog.missing.choose("keep") or True]
    assert office.files.open_paths([tmp_path / "ct"])
    assert "quantities are disabled" in office.banners.shown[OPENED].text.text().lower()
    assert office.banners.shown[OPENED].text.text().lower().count("quantities are disabled") == 1


def test_the_other_position_is_one_button_away(office: Office, tmp_path: Path) -> None:
    image = nib.Nifti1Image(ct().array, np.eye(4))
    moved = np.eye(4)
    moved[2, 3] = 12.0
    image.set_sform(np.eye(4), code=1)
    image.set_qform(moved, code=1)
    image.to_filename(tmp_path / "two.nii.gz")
    assert office.files.open_paths([tmp_path / "two.nii.gz"])
    banner = office.banners.shown[FORMS]
    assert "12.0 mm" in banner.text.text()
    banner.buttons[0].click()
    assert office.desk.case.opened.image.affine[2, 3] == 12
    assert "The qform is used" in office.banners.shown[FORMS].text.text()


def test_a_case_that_is_open_elsewhere_says_read_only(office: Office, tmp_path: Path) -> None:
    write_volume(tmp_path / "ct.nii.gz", ct())
    other = Desk(ScriptedDialogs())
    assert other.flow.open([tmp_path / "ct.nii.gz"])
    office.desk.dialogs.answers = ["read"]
    assert office.files.open_paths([tmp_path / "ct.nii.gz"])
    assert READ_ONLY in office.banners.shown
    other.close()


def test_save_asks_once_where(office: Office, tmp_path: Path) -> None:
    write_volume(tmp_path / "ct.nii.gz", ct())
    office.files.open_paths([tmp_path / "ct.nii.gz"])
    work(office)
    (tmp_path / "kept").mkdir()
    office.desk.dialogs.answers = ["usual", tmp_path / "kept" / "a.medseg"]
    assert office.files.save() == tmp_path / "kept" / "a.medseg"
    work(office)
    asked = len(office.desk.dialogs.asked)
    assert office.files.save() == tmp_path / "kept" / "a.medseg"
    assert len(office.desk.dialogs.asked) == asked
    assert office.store.current.files.recent[0] == str(tmp_path / "kept" / "a.medseg")
    office.desk.dialogs.answers = ["portable", tmp_path / "kept" / "b.medseg"]
    assert office.files.save(ask=True) == tmp_path / "kept" / "b.medseg"
    assert office.files.save() == tmp_path / "kept" / "b.medseg"
    question = next(asked for asked in reversed(office.desk.dialogs.asked) if isinstance(asked, FileQuestion))
    assert question.start.startswith(str(tmp_path / "kept"))


def test_a_place_that_cannot_be_written_is_told(office: Office, tmp_path: Path) -> None:
    write_volume(tmp_path / "ct.nii.gz", ct())
    office.files.open_paths([tmp_path / "ct.nii.gz"])
    work(office)
    office.desk.dialogs.answers = ["usual", tmp_path / "nowhere" / "a.medseg"]
    assert office.files.save() is None
    assert office.desk.dialogs.asked[-1].tone == "error"


@pytest.mark.parametrize(
    ("answers", "expected"), [(["keep"], "keep"), (["discard"], "discard"), ([], "stay"), (["save", "cancel"], "stay")]
)
def test_letting_go_of_unsaved_work_is_asked_about(
    office: Office, tmp_path: Path, answers: list[str], expected: str
) -> None:
    assert office.files.letting_go() == "keep"
    write_volume(tmp_path / "ct.nii.gz", ct())
    office.files.open_paths([tmp_path / "ct.nii.gz"])
    work(office)
    office.desk.dialogs.answers = list(answers)
    assert office.files.letting_go() == expected


def test_a_picture_of_a_view_is_named_after_the_case(office: Office, tmp_path: Path) -> None:
    write_volume(tmp_path / "ct.nii.gz", ct())
    office.files.open_paths([tmp_path / "ct.nii.gz"])
    office.desk.dialogs.answers = ["go_on", tmp_path / "a.png"]
    assert office.files.handlers()["file.screenshot_view"]() == tmp_path / "a.png"
    question = office.desk.dialogs.asked[-1]
    assert Path(question.start).name == f"{office.desk.case.case_id}.png"


def test_the_sample_opens_and_leaves_no_folder_of_the_installation_behind(office: Office) -> None:
    assert office.files.handlers()["file.open_sample"]()
    assert office.store.current.files.recent == ()
