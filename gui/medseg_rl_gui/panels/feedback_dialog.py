"""Shows what feedback is stored on this computer: counts, and every record with what it is about. Changes nothing."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medseg_rl.rlhf.records import Abstention, Command, Demonstration, Game, Intervention, Ranking, Record, VolumePrompt
from medseg_rl.rlhf.store import StoreSummary
from medseg_rl_gui.i18n import mark, number, tr, whole
from medseg_rl_gui.learning.feedback import StoreContents

KINDS = {
    "demonstration": mark("Accepted mask"),
    "ranking": mark("Ranking"),
    "intervention": mark("Stroke into a refinement"),
    "command": mark("Command"),
    "abstention": mark("Target here or not"),
    "game": mark("Blind comparison"),
}


class FeedbackDialog(QDialog):
    """The newest record stands first."""

    def __init__(self, contents: StoreContents, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Feedback on this computer"))
        letter = self.fontMetrics().averageCharWidth()
        self.resize(min(120 * letter, 1100), 480)
        self.summary = QLabel("\n".join(summary_lines(contents.summary)))
        self.summary.setWordWrap(True)
        self.summary.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels([tr("Kind"), tr("When (UTC)"), tr("Case"), tr("What"), tr("May train")])
        self.tree.setRootIsDecorated(False)
        self.tree.setAlternatingRowColors(True)
        self.tree.setUniformRowHeights(True)
        self.tree.setAccessibleName(tr("Records, the newest first"))
        for record in reversed(contents.records):
            self.tree.addTopLevelItem(_row(record))
        header = self.tree.header()
        header.setStretchLastSection(False)
        for column in range(5):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(3, QHeaderView.ResizeMode.Stretch)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.button(QDialogButtonBox.StandardButton.Close).setText(tr("Close"))
        buttons.rejected.connect(self.reject)
        column_ = QVBoxLayout(self)
        for widget in (self.summary, self.tree, buttons):
            column_.addWidget(widget)


def summary_lines(summary: StoreSummary) -> tuple[str, ...]:
    """What a store holds, for a person."""
    if not summary.records:
        return (tr("Nothing is stored."), tr("Folder: {folder}").format(folder=summary.folder))
    held = tr("Records: {records}, cases: {cases}, {size} MB; with image voxels: {images}")
    return (
        held.format(
            records=whole(summary.records),
            cases=whole(summary.cases),
            size=number(summary.array_bytes / 2**20, 2),
            images=whole(summary.with_image),
        ),
        "; ".join(f"{tr(KINDS.get(kind, kind))}: {whole(count)}" for kind, count in summary.kinds.items()),
        tr("Replaced by a later record: {amended}, taken back: {retracted}").format(
            amended=whole(summary.amended), retracted=whole(summary.retracted)
        ),
        tr("Folder: {folder}").format(folder=summary.folder),
    )


def _row(record: Record) -> QTreeWidgetItem:
    when = record.created_utc.replace("T", " ").removesuffix("Z")
    trains = tr("yes") if record.may_train else tr("no")
    kind = tr(KINDS.get(record.kind, record.kind))
    row = QTreeWidgetItem([kind, when, record.case_id, about(record), trains])
    tip = [tr("Record {id}").format(id=record.record_id)]
    if record.amends is not None:
        tip.append(tr("takes the place of {id}").format(id=record.amends))
    if record.policy_id:
        tip.append(tr("proposed by {policy}").format(policy=record.policy_id))
    row.setToolTip(0, "\n".join(tip))
    row.setToolTip(3, about(record))
    return row


def about(record: Record) -> str:
    """What one record says, in a few words."""
    said = _said(record)
    if isinstance(record.prompt, VolumePrompt) and record.prompt.image is not None:
        said.append(tr("with image voxels"))
    if record.amends is not None:
        said.append(tr("replaces an earlier one"))
    return ", ".join(said)


def _said(record: Record) -> list[str]:
    match record:
        case Ranking():
            ranks = tr("ranks {ranks}").format(ranks=" ".join(str(rank) for rank in record.ranks))
            return [ranks, *([tr("none usable")] if record.none_acceptable else []), *_implicit(record)]
        case Demonstration():
            return [tr("{n} interactions").format(n=whole(record.interactions or 0))]
        case Command():
            return [record.command.replace("_", " ")]
        case Abstention():
            return [record.reason.replace("_", " ")]
        case Game():
            result = {"first": tr("first won"), "second": tr("second won"), "draw": tr("a draw")}[record.result]
            return [tr("{one} against {other}").format(one=record.first, other=record.second), result]
        case Intervention():
            return [tr("step {n}").format(n=record.step), *([tr("taken back")] if record.retracted else [])]
    return []


def _implicit(record: Ranking) -> list[str]:
    return [tr("read off an undo")] if record.implicit else []
