"""Opens whatever was dropped, picked or given: decides what each path is, and in which order things are asked.

The open case is the controller's: it hands over what is open, lets go of it when asked, and shows what comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from medseg_rl.errors import Cancelled, MedSegError
from medseg_rl.imageio import header_facts, read_label_table
from medseg_rl.journal import CaseReport
from medseg_rl.samples import sample_path
from medseg_rl.segmentation import Segmentation
from medseg_rl_gui.dialogs import Choice, Dialogs, FileQuestion, Question
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.opening.case_list import CaseList
from medseg_rl_gui.opening.case_list_dialog import CaseListDialog
from medseg_rl_gui.opening.images import ImageFlow, OpenedImage, cancel_choice
from medseg_rl_gui.opening.masks import MaskFlow, could_be_mask, is_untouched, put_labels, put_table
from medseg_rl_gui.opening.paths import in_their_stead, kind_of_path, mask_filters, open_filters
from medseg_rl_gui.opening.readings import known_of_case
from medseg_rl_gui.opening.recovery import Chosen, RecoveryFlow, has_saved
from medseg_rl_gui.opening.sessions import SessionFiles
from medseg_rl_gui.opening.starting import CaseStarter, OpenedCase
from medseg_rl_gui.opening.waiting import Waiting

Form = Literal["sform", "qform"]
SAMPLE = "hippocampus_right_t1.nii.gz"


class OpenCase(Protocol):
    """The controller, as seen from here."""

    @property
    def case(self) -> OpenedCase | None:
        """What is open."""

    def release(self) -> bool:
        """Close what is open, asking what has to be asked; False when the user wants to stay. True with nothing."""

    def show(self, case: OpenedCase) -> None:
        """Take over a case; nothing is open."""

    def labels_changed(self, notices: Sequence[str]) -> None:
        """Labels came into the open session; `notices`: what the user should know."""


class OpeningFlow:
    """All ways to a case. Every call asks through the dialog service and tells errors there."""

    def __init__(
        self, dialogs: Dialogs, waiting: Waiting, starter: CaseStarter, window: OpenCase, *, root: Path | None = None
    ) -> None:
        self._dialogs = dialogs
        self._waiting = waiting
        self._starter = starter
        self._window = window
        self.images = ImageFlow(dialogs, waiting)
        self.masks = MaskFlow(dialogs, waiting)
        self.sessions = SessionFiles(dialogs, waiting, self.images)
        self.recovery = RecoveryFlow(dialogs, root=root)
        self._cases: Path | None = None

    # --- what the user asks for ---------------------------------------------------------------------------------------

    def open(self, paths: Sequence[Path]) -> bool:
        """Paths that were dropped, picked or given on the command line. True when something was opened."""
        return self._told(lambda: self._open(list(paths)))

    def open_sample(self) -> bool:
        """The case that comes with the program."""
        return self._told(lambda: self._open([sample_path(SAMPLE)]))

    def ask_for_file(self, folder: str = "") -> bool:
        """Open…"""
        question = FileQuestion(tr("Open"), "open_many", open_filters(), start=folder)
        return self.open(self._dialogs.choose_files(question))

    def ask_for_folder(self, folder: str = "") -> bool:
        """Open DICOM folder…"""
        return self.open(self._dialogs.choose_files(FileQuestion(tr("Open DICOM folder"), "folder", start=folder)))

    def ask_for_mask(self, folder: str = "") -> bool:
        """Load mask…"""
        question = FileQuestion(tr("Load mask"), "open", mask_filters(), start=folder)
        paths = self._dialogs.choose_files(question)
        return bool(paths) and self._told(lambda: self._load_onto_open_case(paths[0]))

    def ask_for_case(self, folder: str = "") -> bool:
        """Case list…: the folder first, unless one was chosen before."""
        if self._cases is None or folder:
            chosen = self._dialogs.choose_files(FileQuestion(tr("Folder of cases"), "folder", start=folder))
            if not chosen:
                return False
            self._cases = chosen[0]
        return self._told(self._open_from_list)

    def use_other_form(self) -> bool:
        """The open image at the other position that its NIfTI file states, as a case of its own."""
        return self._told(self._in_other_form)

    def recover_at_start(self) -> bool:
        """Offers what a crash has left; True when a case was opened."""
        chosen = self.recovery.at_start()
        return chosen is not None and self._told(lambda: self._recovered(chosen))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _told(self, act: Callable[[], bool]) -> bool:
        try:
            return act()
        except Cancelled:
            return False
        except MedSegError as error:
            self._dialogs.tell(tr("Not opened"), _sentence(error), tone="error")
        except MemoryError as error:
            said = tr("There is not enough memory for this: {why}").format(why=error or tr("size unknown"))
            self._dialogs.tell(tr("Not opened"), said, tone="error")
        return False

    def _open(self, paths: list[Path]) -> bool:
        paths = [found for path in paths for found in in_their_stead(path)]
        kinds = {path: kind_of_path(path) for path in paths}
        sessions = [path for path in paths if kinds[path] == "session"]
        images = sorted((path for path in paths if kinds[path] == "image"), key=_looks_like_a_mask)
        onto = [path for path in paths if kinds[path] in ("labels", "table")]
        if sessions:
            return self._open_session(sessions[0])
        for path in list(images):
            if self._is_mask_after_all(path) == "mask":
                images.remove(path)
                onto.insert(0, path)  # before a table that names its labels
        done = bool(images) and self._open_image(images[0])
        if images and not done:
            return False
        others = [path for path in images[1:] if path.parent != images[0].parent or not _is_dicom(path)]
        for path in list(others):
            if self._is_mask_after_all(path) == "mask":
                onto.append(path)
                others.remove(path)
        if others:
            text = tr("A window holds one case; {name} was opened. Open the others one by one.")
            self._dialogs.tell(tr("Several images"), text.format(name=images[0].name))
        return all(self._load_onto_open_case(path) for path in onto) and (done or bool(onto))

    def _is_mask_after_all(self, path: Path) -> str | None:
        """Asks where the file could be either; "cancel" does neither. None where there is no doubt."""
        case = self._window.case
        if case is None or not path.is_file() or path == case.opened.path or not could_be_mask(path, case.opened.image):
            return None
        text = tr("{name} has the shape of the open image. What is it?").format(name=path.name)
        choices = (Choice("mask", tr("A mask of this image")), Choice("image", tr("Another image")), cancel_choice())
        answer = self._dialogs.ask(Question(tr("Image or mask"), text, choices, default="mask")).choice
        if answer == "cancel":
            raise Cancelled(tr("stopped"))
        return answer

    def _open_from_list(self) -> bool:
        assert self._cases is not None
        cases = CaseList(self._cases)
        dialog = CaseListDialog(cases, getattr(self._dialogs, "parent", None))
        if not self._dialogs.run(dialog):
            self._cases = None  # another folder may be meant the next time
            return False
        path = dialog.path
        if path is None or not self._open_image(path):
            return False
        cases.started(path)
        return True

    # --- images -------------------------------------------------------------------------------------------------------

    def _open_image(self, path: Path) -> bool:
        opened = self.images.open(path)
        return opened is not None and self._begin(opened, None)

    def _open_session(self, path: Path) -> bool:
        opened = self.sessions.image_of(path)
        return opened is not None and self._begin(opened, path)

    def _recovered(self, chosen: Chosen) -> bool:
        report = chosen.report
        if chosen.way == "saved" and report.saved_path is not None:
            opened = self.sessions.image_of(report.saved_path)
            return opened is not None and self._run("saved", opened, report, report.saved_path)
        reading, about = self._waiting.wait(tr("Recovering"), lambda progress: known_of_case(report.folder))
        opened = self.sessions.image_at(report.image_path, reading, about)
        return opened is not None and self._run("recover", opened, report, None)

    def _begin(self, opened: OpenedImage, session: Path | None) -> bool:
        """Looks after what is known of the case of an image before it is begun, and asks."""
        case = self._window.case
        if case is not None and case.opened.image_hash == opened.image_hash:
            if session is None:
                self._dialogs.tell(tr("Already open"), tr("This image is open here already."))
                return False
            if not self._window.release():
                return False
        report = self._starter.report(opened)
        if report is not None and report.is_open:
            return self._offer_to_read(opened, report, session)
        if report is not None and report.unsaved_steps:
            way = self.recovery.for_image(report, session)
            saved = session or report.saved_path
            return way != "cancel" and self._run(way, opened, report, saved)
        return self._run("new" if session is None else "saved", opened, report, session)

    def _offer_to_read(self, opened: OpenedImage, report: CaseReport, session: Path | None) -> bool:
        reason = tr("{case} is open in another window").format(case=report.case_id)
        saved = session or (report.saved_path if has_saved(report) else None)
        what = tr("It can be looked at here as it was saved last.") if saved else tr("The image can be looked at here.")
        choices = (Choice("read", tr("Open to read only")), cancel_choice())
        question = Question(tr("Open in another window"), f"{reason}. {what}", choices, default="read")
        if self._dialogs.ask(question).choice != "read" or not self._window.release():
            return False
        starter = self._starter
        case = self._waiting.wait(tr("Opening the case"), lambda progress: starter.read_only(opened, reason, saved))
        self._window.show(case)
        return True

    def _run(self, way: str, opened: OpenedImage, report: CaseReport | None, saved: Path | None) -> bool:
        """Begins a case on the worker and hands it over."""
        if not self._window.release():
            return False
        starter, folder = self._starter, None if report is None else report.folder

        def begin() -> OpenedCase:
            if way == "recover" and folder is not None:
                return starter.recovered(opened, folder)
            if way == "saved" and saved is not None:
                return starter.saved(opened, saved, discard=True)
            return starter.discarded(opened) if way == "discard" else starter.new(opened)

        self._window.show(self._waiting.wait(tr("Opening the case"), lambda progress: begin()))
        return True

    def _in_other_form(self) -> bool:
        case = self._window.case
        if case is None or case.opened.path is None:
            return False
        prefer: Form = "sform" if case.opened.reading.prefer == "qform" else "qform"
        opened = self.images.again(case.opened.path, replace(case.opened.reading, prefer=prefer))
        return opened is not None and self._begin(opened, None)

    # --- labels -------------------------------------------------------------------------------------------------------

    def _load_onto_open_case(self, path: Path) -> bool:
        case = self._window.case
        if case is None:
            if kind_of_path(path) == "table":
                read_label_table(path)  # which says so where it is none
            text = tr("“{name}” holds labels; open the image it belongs to first")
            raise MedSegError(text.format(name=path.name))
        if case.session.read_only:
            raise MedSegError(tr("nothing can be changed here: {why}").format(why=case.session.read_only))
        if kind_of_path(path) == "table":
            put_table(case.session, path)
            self._window.labels_changed(())
            return True
        labels = self.masks.read(path, case.opened.image)
        if labels is None:
            return False
        if is_untouched(case.session) and case.saved_path is None:
            return self._begin_with(labels, case.opened)
        self._window.labels_changed(put_labels(case.session, labels))
        return True

    def _begin_with(self, labels: Segmentation, opened: OpenedImage) -> bool:
        """The case again, this time with labels: nothing was done in it."""
        if not self._window.release():
            return False
        starter = self._starter
        self._window.show(self._waiting.wait(tr("Opening the case"), lambda progress: starter.new(opened, labels)))
        self._window.labels_changed(labels.warnings)
        return True


def _looks_like_a_mask(path: Path) -> bool:
    """Whether a voxel of a file holds one byte: of several files dropped together such a one is not the image."""
    try:
        facts = header_facts(path) if path.is_file() else None
    except MedSegError:
        return False
    return facts is not None and facts.voxel_bytes == 1


def _is_dicom(path: Path) -> bool:
    return not path.is_file() or path.suffix.lower() in ("", ".dcm", ".ima")


def _sentence(error: Exception) -> str:
    """An error's line as a sentence. One that begins with the name of a file keeps its letters."""
    text = str(error)
    first = text.split(" ", 1)[0]
    text = f"{text[:1].upper()}{text[1:]}" if first.isalpha() else text
    return f"{text}." if text and not text.endswith((".", "!", "?")) else text
