"""What is stored of the user's acts, and on whose word: consent, count, show, export, delete."""

from __future__ import annotations

from PySide6.QtGui import QShowEvent

from medseg_rl.rlhf.store import StoreSummary
from medseg_rl_gui.dialogs import Dialogs
from medseg_rl_gui.i18n import number, tr, whole
from medseg_rl_gui.learning.feedback import Feedback, StoreContents
from medseg_rl_gui.panels.feedback_dialog import FeedbackDialog
from medseg_rl_gui.panels.parts import ButtonGrid, Note, Section, button, grey, words


class FeedbackSection(Section):
    """The last section of the Learn tab."""

    def __init__(self, feedback: Feedback, dialogs: Dialogs) -> None:
        super().__init__(tr("Feedback on this computer"))
        self._feedback, self._dialogs = feedback, dialogs
        self.consent, self.count = words(), words(faint=True)
        self.problems = Note("warning")
        self.change = button(tr("Change…"), feedback.ask_consent, tip=tr("Read the text and answer again"))
        self.withdraw = button(tr("Withdraw"), feedback.withdraw)
        self.show_all = button(tr("Show"), feedback.show_all, tip=tr("Every record that is stored"))
        self.export = button(tr("Export…"), feedback.export, tip=tr("As one zip, without annotators and times of day"))
        self.delete = button(tr("Delete all feedback…"), feedback.delete_all, icon_name="delete")
        self.column.addWidget(self.consent)
        self.column.addWidget(self.count)
        self.column.addWidget(ButtonGrid([self.change, self.withdraw, self.show_all, self.export]))
        self.column.addWidget(self.delete)
        self.column.addWidget(self.problems)
        self.column.addWidget(words(tr("No upload: this program opens no network connection."), faint=True))
        feedback.changed.connect(self._follow)
        feedback.counted.connect(self._show_count)
        feedback.read.connect(self._show_contents)
        self._show_count(None)
        self._say()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        super().showEvent(event)
        self._follow()

    def _follow(self) -> None:
        self._say()
        self._feedback.count()

    def _say(self) -> None:
        consent = self._feedback.consent
        if consent.allows_images:
            text = tr("Stored: masks, hints, order, times, and image voxels of the region.")
        elif consent.allows_storing:
            text = tr("Stored: masks, hints, order and times; no image voxels.")
        elif self._feedback.was_asked:
            text = tr("Nothing is stored: you chose not to.")
        else:
            text = tr("Nothing is stored: you were not asked yet.")
        self.consent.setText(text)
        grey(self.withdraw, "" if consent.allows_storing else tr("Nothing is stored anyway"), tr("Stop storing"))
        self.problems.say("\n".join(self._feedback.problems[-3:]))

    def _show_count(self, summary: StoreSummary | None) -> None:
        records = 0 if summary is None else summary.records
        if summary is None or not records:
            self.count.setText(tr("The store is empty."))
        else:
            text = tr("Records: {n}, cases: {cases}, {size} MB")
            size = number(summary.array_bytes / 2**20, 2)
            self.count.setText(text.format(n=whole(records), cases=whole(summary.cases), size=size))
        empty = "" if records else tr("The store is empty")
        grey(self.show_all, empty, tr("Every record that is stored"))
        grey(self.export, empty, tr("As one zip, without annotators and times of day"))
        grey(self.delete, empty, tr("For good; your answer about storing stays"))

    def _show_contents(self, contents: StoreContents) -> None:
        self._dialogs.run(FeedbackDialog(contents, self.window()))
