"""From an image in memory to a session that is kept safe: new, recovered, saved before, or only to be read.

Asks nothing; runs where it is called, which may be the worker: nobody else has the session yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medseg_rl.history import DEFAULT_CAP_BYTES
from medseg_rl.journal import CaseReport, case_id, discard_case
from medseg_rl.journal.case_folder import cases_folder, report_of
from medseg_rl.refiner import Refiner
from medseg_rl.segmentation import Segmentation
from medseg_rl.session import SegmentationSession
from medseg_rl.session.safekeeping import Safekeeping
from medseg_rl.volume import Volume
from medseg_rl_gui.opening.images import OpenedImage
from medseg_rl_gui.opening.readings import KEY
from medseg_rl_gui.opening.waiting import Submit

RefinerFor = Callable[[Volume], Callable[[], Refiner]]


@dataclass(frozen=True, eq=False)
class OpenedCase:
    """A case that can be worked on. `keeping`: None where it is only to be read, for the reason in the session's
    `read_only`. `saved_path`: the session file it goes on with. `notices`: what the user should know."""

    session: SegmentationSession
    keeping: Safekeeping | None
    opened: OpenedImage
    case_id: str
    saved_path: Path | None = None
    notices: tuple[str, ...] = ()


class CaseStarter:
    """Knows where cases lie, who writes for them, and how a model is chosen for an image.

    `undo_bytes`: asked for each new session. `root`: of all case folders; the user's own unless given.
    """

    def __init__(
        self,
        refiner_for: RefinerFor,
        *,
        submit: Submit | None = None,
        root: Path | None = None,
        undo_bytes: Callable[[], int] | None = None,
    ) -> None:
        self._refiner_for = refiner_for
        self._submit = submit
        self._root = root
        self._undo_bytes = undo_bytes

    def report(self, opened: OpenedImage) -> CaseReport | None:
        """What is known of the case of an image; None while there is nothing."""
        folder = self._folder(opened)
        return report_of(folder) if folder.is_dir() else None

    def new(self, opened: OpenedImage, labels: Segmentation | None = None) -> OpenedCase:
        """From the beginning, or from labels. Raises CaseBusyError, MedSegError while there is unsaved work on it."""
        session = self._plain(opened, labels)
        keeping = Safekeeping.begin(session, image_path=opened.path, root=self._root, submit=self._submit)
        return self._kept(keeping, opened, None)

    def recovered(self, opened: OpenedImage, folder: Path) -> OpenedCase:
        """Where a crash, or a close without saving, left it."""
        keeping = Safekeeping.recover(folder, opened.image, self._refiner_for(opened.image), submit=self._submit)
        saved = keeping.case.places().get("session")
        return self._kept(keeping, opened, saved)

    def saved(self, opened: OpenedImage, path: Path, *, discard: bool = False) -> OpenedCase:
        """As it was saved. `discard`: unsaved work on the case goes for good."""
        folder = self._folder(opened)
        if discard and folder.is_dir():
            discard_case(folder)
        refiner = self._refiner_for(opened.image)
        keeping = Safekeeping.open_saved(
            path, opened.image, refiner, image_path=opened.path, root=self._root, submit=self._submit
        )
        return self._kept(keeping, opened, path)

    def discarded(self, opened: OpenedImage) -> OpenedCase:
        """From the beginning; unsaved work on the case goes for good."""
        discard_case(self._folder(opened))
        return self.new(opened)

    def read_only(self, opened: OpenedImage, reason: str, saved: Path | None) -> OpenedCase:
        """To look at, as it was saved last, or without labels where it never was."""
        if saved is not None and saved.is_file():
            session = SegmentationSession.open_saved(saved, opened.image, self._refiner_for(opened.image))
        else:
            session, saved = self._plain(opened), None
        session.read_only = reason
        return OpenedCase(session, None, opened, case_id(opened.image_hash), saved)

    def _plain(self, opened: OpenedImage, labels: Segmentation | None = None) -> SegmentationSession:
        refiner = self._refiner_for(opened.image)
        undo_bytes = DEFAULT_CAP_BYTES if self._undo_bytes is None else self._undo_bytes()
        session = SegmentationSession(opened.image, refiner, segmentation=labels, undo_bytes=undo_bytes)
        session.image_hash = opened.image_hash
        return session

    def _folder(self, opened: OpenedImage) -> Path:
        return (self._root or cases_folder()) / case_id(opened.image_hash)

    def _kept(self, keeping: Safekeeping, opened: OpenedImage, saved: Path | None) -> OpenedCase:
        keeping.flushes_beside = True
        keeping.note_view({**keeping.view, KEY: opened.reading.stored()})
        return OpenedCase(keeping.session, keeping, opened, keeping.case.folder.name, saved, keeping.notices)
