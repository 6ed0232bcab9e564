"""Session files: where the image of one is, writing one, and what closing does with unsaved work."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medseg_rl.errors import InputFileError, MedSegError
from medseg_rl.journal import SESSION_ENDING
from medseg_rl.journal.container import Container
from medseg_rl.session.session_file import SessionFile, describe_session, read_manifest, read_voxels
from medseg_rl_gui.dialogs import Choice, Dialogs, FileQuestion, Question
from medseg_rl_gui.i18n import tr, whole
from medseg_rl_gui.opening.images import ImageFlow, OpenedImage, cancel_choice, size_line
from medseg_rl_gui.opening.paths import open_filters
from medseg_rl_gui.opening.readings import KEY, Reading
from medseg_rl_gui.opening.starting import OpenedCase
from medseg_rl_gui.opening.waiting import Waiting

Closing = Literal["save", "keep", "discard"]


class SessionFiles:
    """Finds the image of a session, and writes sessions."""

    def __init__(self, dialogs: Dialogs, waiting: Waiting, images: ImageFlow) -> None:
        self._dialogs = dialogs
        self._waiting = waiting
        self._images = images

    # --- opening ------------------------------------------------------------------------------------------------------

    def image_of(self, path: Path) -> OpenedImage | None:
        """The image of a session file: from the file itself, from where it was, or from where the user says."""
        about = self._waiting.wait(tr("Opening the session"), lambda progress: describe_session(path))
        if about.has_voxels:
            return self._waiting.wait(tr("Opening the session"), lambda progress: _image_inside(path))
        return self.image_at(about.image_path, Reading.of(about.view.get(KEY)), about)

    def image_at(self, path: Path | None, reading: Reading, about: SessionFile | None) -> OpenedImage | None:
        """An image that was open before. `about`: what it must be; asked for anew while it is not found or another."""
        why = tr("The image is no longer where it was. Where is it now?")
        if path is not None and path.exists():
            try:
                return _checked(self._images.again(path, reading), about)
            except MedSegError as error:
                why = tr("The image cannot be used: {why}. Where is the right one?").format(why=error)
        while True:
            found = self._asked_for(why)
            if found is None:
                return None
            try:
                return _checked(self._images.open(found), about)
            except InputFileError as error:
                why = tr("This is not it: {why}. Where is the right one?").format(why=error)

    def _asked_for(self, why: str) -> Path | None:
        choices = (Choice("file", tr("Image file…")), Choice("folder", tr("DICOM folder…")), cancel_choice())
        answer = self._dialogs.ask(Question(tr("Image of the session"), why, choices, default="file")).choice
        if answer == "cancel":
            return None
        kind: Literal["folder", "open"] = "folder" if answer == "folder" else "open"
        filters = () if kind == "folder" else open_filters()
        paths = self._dialogs.choose_files(FileQuestion(tr("Image of the session"), kind, filters))
        return paths[0] if paths else None

    # --- saving -------------------------------------------------------------------------------------------------------

    def save(self, case: OpenedCase, path: Path | None, *, folder: str = "") -> Path | None:
        """Writes to `path`, or to where the user says. Returns the file; None when nothing was written."""
        keeping = case.keeping
        if keeping is None:
            raise MedSegError(case.session.read_only)
        form = "usual"
        if path is None:
            asked = self._asked_how(case, folder)
            if asked is None:
                return None
            path, form = asked
        target = path
        writing = keeping.prepare_save(portable=form != "usual", with_voxels=form == "voxels")
        self._waiting.wait(tr("Saving the session"), lambda progress: writing.write(target))
        keeping.note_saved(target, writing)
        return target

    def _asked_how(self, case: OpenedCase, folder: str) -> tuple[Path, str] | None:
        text = tr(
            "The session holds labels, clicks, proposal, undo list and journal. It holds no name; where the image lies"
            " on this computer is noted in a part of its own, unless you leave it out."
        )
        choices = (
            Choice("usual", tr("Save")),
            Choice("portable", tr("Save without the image's path")),
            Choice("voxels", tr("Save with the image inside")),
            cancel_choice(),
        )
        form = self._dialogs.ask(Question(tr("Save session"), text, choices, default="usual")).choice
        if form == "cancel":
            return None
        name = str(Path(folder) / f"{case.case_id}{SESSION_ENDING}")
        filters = ((tr("Sessions"), (f"*{SESSION_ENDING}",)),)
        question = FileQuestion(tr("Save session"), "save", filters, start=name, suffix=SESSION_ENDING)
        paths = self._dialogs.choose_files(question)
        return (paths[0], form) if paths else None

    def closing(self, case: OpenedCase) -> Closing | None:
        """What is to become of unsaved work when a case is closed; None to stay."""
        steps = 0 if case.keeping is None else case.keeping.unsaved_steps
        if not steps:
            return "keep"
        text = tr("{n} steps are not saved to a file. Kept, they are offered again at the next start.")
        choices = (
            Choice("save", tr("Save")),
            Choice("keep", tr("Keep for later")),
            Choice("discard", tr("Discard"), "destructive"),
            cancel_choice(),
        )
        question = Question(tr("Close case"), text.format(n=whole(steps)), choices, default="save")
        answers: dict[str, Closing] = {"save": "save", "keep": "keep", "discard": "discard"}
        return answers.get(self._dialogs.ask(question).choice)


def _image_inside(path: Path) -> OpenedImage:
    with Container.open(path) as container:
        about = read_manifest(container)
        image = read_voxels(container, about)
    return OpenedImage(image, None, Reading(), about.image.sha256, (size_line(image),), "green")


def _checked(opened: OpenedImage | None, about: SessionFile | None) -> OpenedImage | None:
    if opened is not None and about is not None:
        about.image.check(opened.image, opened.image_hash)
    return opened
