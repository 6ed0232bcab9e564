"""Consent and the feedback store: asked for once, withdrawn at will, shown, exported, deleted.

Everything stays on this computer. Reading, exporting and deleting run on the worker, behind the records that wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from PySide6.QtCore import QObject, Signal

from medseg_rl.errors import MedSegError
from medseg_rl.rlhf.consent import CONSENT_TEXT, CONSENT_VERSION, Consent
from medseg_rl.rlhf.records import Record
from medseg_rl.rlhf.store import FeedbackStore, StoreSummary
from medseg_rl_gui.desk import Desk
from medseg_rl_gui.dialogs import Choice, FileQuestion, Question
from medseg_rl_gui.i18n import tr, whole
from medseg_rl_gui.worker import Rank, ignore, reason_of

NO, YES = "do-not-store", "store"
EXPORT_NAME = "medseg-rl-feedback.zip"


@dataclass(frozen=True, eq=False)
class StoreContents:
    """What the store holds, for showing it."""

    summary: StoreSummary
    records: tuple[Record, ...]


class Act(Protocol):
    """What is to be told to the recorder of the open case."""

    def __call__(self, recorder: Any) -> object: ...


class Feedback(QObject):
    """`changed`: consent, or what is stored. `counted`: a `StoreSummary`. `read`: the `StoreContents` asked for."""

    changed = Signal()
    counted = Signal(object)
    read = Signal(object)

    def __init__(self, desk: Desk, store: FeedbackStore) -> None:
        super().__init__(desk)
        self._desk, self.store = desk, store

    # --- consent ------------------------------------------------------------------------------------------------------

    @property
    def consent(self) -> Consent:
        """The answer that holds now."""
        return self.store.consent

    @property
    def was_asked(self) -> bool:
        """Whether this user has answered the consent text of this version."""
        consent = self.consent
        answered = consent.given_utc is not None and consent.version == CONSENT_VERSION
        return answered or self._desk.window.store.current.model.consent_asked >= CONSENT_VERSION

    def ask_consent(self) -> bool:
        """Shows the text and keeps the answer; what closes the question means "Do not store". Whether it is allowed."""
        before = self.consent
        question = Question(
            tr("Store feedback on this computer?"),
            flowing(tr(CONSENT_TEXT)),
            (Choice(NO, tr("Do not store"), role="reject"), Choice(YES, tr("Store"))),
            default=NO,
            tick=tr("Store the image voxels of the region too"),
        )
        answer = self._desk.window.dialogs.ask(question)
        allowed = answer.choice == YES
        self._desk.window.store.change("model", consent_asked=CONSENT_VERSION)
        self._set(store=allowed, images=allowed and answer.ticked)
        if before.allows_storing and not allowed:
            self._say_withdrawn()
        return self.consent.allows_storing

    def withdraw(self) -> None:
        """Nothing is stored from now on. What is stored already stays until it is deleted."""
        self._set(store=False, images=False)
        self._say_withdrawn()

    def _say_withdrawn(self) -> None:
        self._desk.say(tr("Nothing is stored from now on. What is stored stays until you delete it."))

    def _set(self, *, store: bool, images: bool) -> None:
        try:
            self.store.set_consent(store=store, images=images)
        except MedSegError as error:
            self._desk.window.dialogs.tell(tr("The answer could not be kept"), reason_of(error), tone="error")
        self.changed.emit()

    def record(self, act: Act) -> bool:
        """Tells the recorder of the open case something, after consent was asked for where it never was.

        False where nothing is stored: not allowed, or a case that is only to be read.
        """
        case = self._desk.case
        if case is None or case.recorder is None:
            return False
        if not self.consent.allows_storing and (self.was_asked or not self.ask_consent()):
            return False
        problems = len(case.recorder.problems)
        act(case.recorder)
        self.changed.emit()
        return len(case.recorder.problems) == problems

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be recorded of the open case."""
        case = self._desk.case
        return () if case is None or case.recorder is None else case.recorder.problems

    # --- the store ----------------------------------------------------------------------------------------------------

    def count(self) -> None:
        """Counts what is stored; `counted` says it."""
        self._on_worker(self.store.summary, self.counted.emit, self._say)

    def show_all(self) -> None:
        """Reads what is stored; `read` hands it out."""
        self._on_worker(lambda: StoreContents(self.store.summary(), self.store.records()), self.read.emit)

    def export(self) -> None:
        """Asks where to, and whether image voxels go along; annotators and times of day never do."""
        images: bool = False
        if self.consent.allows_images:
            text = tr("Records of feedback can hold image voxels of the region. Are they to be exported too?")
            choices = (
                Choice("cancel", tr("Cancel"), role="reject"),
                Choice("images", tr("With image voxels")),
                Choice("masks", tr("Without")),
            )
            answer = self._desk.window.dialogs.ask(Question(tr("Export feedback"), text, choices, default="masks"))
            if answer.choice == "cancel":
                return
            images = answer.choice == "images"
        archives = ((tr("Zip archives"), ("*.zip",)),)
        question = FileQuestion(tr("Export feedback"), "save", archives, EXPORT_NAME, ".zip")
        for path in self._desk.window.dialogs.choose_files(question)[:1]:
            self._on_worker(
                lambda path=path: self.store.export(path, images=images),  # type: ignore[misc]
                lambda n, name=path.name: self._desk.say(  # type: ignore[misc]
                    tr("{name} was written. Records: {n}").format(name=name, n=whole(n))
                ),
            )

    def delete_all(self) -> None:
        """Asks, then removes every record for good."""
        text = tr("All feedback stored on this computer is deleted for good. Your answer about storing stays.")
        choices = (Choice("keep", tr("Keep"), role="reject"), Choice("delete", tr("Delete all"), role="destructive"))
        question = Question(tr("Delete all feedback?"), text, choices, default="keep", tone="warning")
        if self._desk.window.dialogs.ask(question).choice == "delete":
            self._on_worker(self.store.delete_all, self._deleted)

    def _deleted(self, count: int) -> None:
        self._desk.say(tr("Feedback was deleted. Records: {n}").format(n=whole(count)))
        self.changed.emit()

    def _on_worker(
        self, work: Callable[[], object], done: Callable[[Any], object], failed: Callable[[str], object] | None = None
    ) -> None:
        """After the records that wait to be written, for both are of one rank."""
        tell = failed or (lambda said: self._desk.window.dialogs.tell(tr("Feedback"), said, tone="error"))
        self._desk.worker.submit(
            lambda task: work(),
            rank=Rank.SAVE,
            done=done,
            failed=lambda error: tell(reason_of(error)),
            stopped=ignore,
        )

    def _say(self, said: str) -> None:
        self._desk.say(said)


def flowing(text: str) -> str:
    """A text without the line breaks inside its paragraphs, for a dialog that breaks lines itself."""
    return "\n\n".join(" ".join(part.split("\n")) for part in text.strip().split("\n\n"))
