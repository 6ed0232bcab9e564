"""Asks with Qt's own dialogs. Decides nothing; tests use `ScriptedDialogs` in its place."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import QAbstractButton, QCheckBox, QDialog, QFileDialog, QInputDialog, QMessageBox, QWidget

from medseg_rl_gui.dialogs import Answer, Choice, FileQuestion, Question, Tone, ValueQuestion
from medseg_rl_gui.i18n import tr

_ICONS = {
    "question": QMessageBox.Icon.Question,
    "information": QMessageBox.Icon.Information,
    "warning": QMessageBox.Icon.Warning,
    "error": QMessageBox.Icon.Critical,
}
_ROLES = {
    "accept": QMessageBox.ButtonRole.AcceptRole,
    "reject": QMessageBox.ButtonRole.RejectRole,
    "destructive": QMessageBox.ButtonRole.DestructiveRole,
}


def message_box(question: Question, parent: QWidget | None = None) -> tuple[QMessageBox, dict[str, QAbstractButton]]:
    """The box of a question and its buttons by id; not shown yet."""
    box = QMessageBox(_ICONS[question.tone], question.title, question.text, parent=parent)
    box.setDetailedText(question.details)
    tick = QCheckBox(question.tick, box) if question.tick else None
    if tick is not None:
        box.setCheckBox(tick)
    buttons: dict[str, QAbstractButton] = {}
    for choice in question.choices:
        button = box.addButton(choice.text, _ROLES[choice.role])
        buttons[choice.id] = button
        if choice.id == question.default:
            box.setDefaultButton(button)
        if choice.id == question.when_closed:
            box.setEscapeButton(button)
        if choice.needs_tick and tick is not None:
            button.setEnabled(False)
            tick.toggled.connect(button.setEnabled)
    return box, buttons


class QtDialogs:
    """The service of the running application. `parent`: the main window, once there is one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        self.parent = parent

    def ask(self, question: Question) -> Answer:
        box, buttons = message_box(question, self.parent)
        box.exec()
        clicked, tick = box.clickedButton(), box.checkBox()
        chosen = next((id_ for id_, button in buttons.items() if button is clicked), question.when_closed)
        answer = Answer(chosen, bool(tick is not None and tick.isChecked()))
        box.deleteLater()
        return answer

    def tell(self, title: str, text: str, *, tone: Tone = "information", details: str = "") -> None:
        self.ask(Question(title, text, (Choice("ok", tr("OK")),), "ok", tone, details))

    def choose_files(self, question: FileQuestion) -> tuple[Path, ...]:
        filters = ";;".join(f"{name} ({' '.join(patterns)})" for name, patterns in question.filters)
        title, start = question.title, question.start
        if question.kind == "folder":
            chosen = [QFileDialog.getExistingDirectory(self.parent, title, start)]
        elif question.kind == "save":
            chosen = [QFileDialog.getSaveFileName(self.parent, title, start, filters)[0]]
        elif question.kind == "open_many":
            chosen = QFileDialog.getOpenFileNames(self.parent, title, start, filters)[0]
        else:
            chosen = [QFileDialog.getOpenFileName(self.parent, title, start, filters)[0]]
        paths = [Path(name) for name in chosen if name]
        return tuple(_with_suffix(path, question) for path in paths)

    def enter(self, question: ValueQuestion) -> str | float | None:
        title, text = question.title, question.text
        if question.low is None or question.high is None:
            entered, accepted = QInputDialog.getText(self.parent, title, text, text=str(question.value))
            return entered if accepted else None
        label = f"{text} ({question.unit})" if question.unit else text
        dialog = QInputDialog(self.parent)
        dialog.setWindowTitle(title)
        dialog.setLabelText(label)
        dialog.setInputMode(QInputDialog.InputMode.DoubleInput)
        dialog.setDoubleDecimals(question.decimals)
        dialog.setDoubleRange(question.low, question.high)
        dialog.setDoubleValue(float(question.value))
        accepted = dialog.exec() == QDialog.DialogCode.Accepted
        value = dialog.doubleValue()
        dialog.deleteLater()
        return value if accepted else None

    def run(self, dialog: QDialog) -> bool:
        accepted = dialog.exec() == QDialog.DialogCode.Accepted
        dialog.deleteLater()
        return accepted


def _with_suffix(path: Path, question: FileQuestion) -> Path:
    """With the ending put behind, where the name has none that the filters know."""
    if question.kind != "save" or not question.suffix:
        return path
    known = {pattern.lstrip("*") for _, patterns in question.filters for pattern in patterns} | {question.suffix}
    if any(path.name.endswith(ending) for ending in known):
        return path
    return path.with_name(path.name + question.suffix)
