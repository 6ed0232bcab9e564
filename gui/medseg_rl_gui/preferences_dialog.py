"""The dialog of preferences: every field of `preferences.py` that is changed by hand. Applies and stores nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from medseg_rl_gui.i18n import mark, tr
from medseg_rl_gui.preferences import Preferences, limits


@dataclass(frozen=True)
class Row:
    """One field: its words, and, for choices, the words of each. `unit` and `decimals`: of a number. `zero`: what the
    value 0, below the lowest, means."""

    section: str
    key: str
    text: str
    choices: tuple[tuple[str, str], ...] = ()
    unit: str = ""
    decimals: int = 0
    zero: str = ""
    tip: str = ""


_PAGES: tuple[tuple[str, tuple[Row, ...]], ...] = (
    (
        mark("View"),
        (
            Row(
                "view",
                "theme",
                mark("Colours"),
                (("system", mark("As the system")), ("dark", mark("Dark")), ("light", mark("Light"))),
            ),
            Row("view", "font_points", mark("Letter size"), unit=mark("pt"), zero=mark("As the system")),
            Row(
                "view",
                "convention",
                mark("Convention"),
                (
                    ("radiological", mark("Radiological: patient's right on the left")),
                    ("neurological", mark("Neurological: patient's right on the right")),
                ),
            ),
            Row(
                "view",
                "layout",
                mark("Layout"),
                (("four-up", mark("Four-up")), ("3+1", mark("One large, three small")), ("single", mark("Single"))),
            ),
            Row("view", "smooth", mark("Smooth images between voxels")),
            Row("view", "outline", mark("Labels as outline")),
            Row("view", "opacity", mark("Opacity of labels"), decimals=2),
            Row("view", "keep_window", mark("Keep brightness and contrast between cases of one modality")),
            Row("view", "hide_identifiers", mark("Hide patient name, ID and dates")),
        ),
    ),
    (
        mark("Editing"),
        (
            Row("edit", "auto_accept", mark("Accept proposals at once"), tip=mark("Without Enter; undo takes it back")),
            Row("edit", "guard", mark("Locality guard is on in new cases")),
            Row("edit", "guard_mm", mark("Radius of the guard"), unit=mark("mm"), decimals=1),
            Row(
                "edit",
                "overwrite",
                mark("Where another unlocked label lies"),
                (
                    ("keep", mark("Keep the other label")),
                    ("replace", mark("Replace it")),
                    ("overlap", mark("Let both overlap")),
                ),
            ),
            Row("edit", "brush_mm", mark("Radius of the brush"), unit=mark("mm"), decimals=1),
            Row("edit", "brush_sphere", mark("The brush is a sphere, not a disc")),
            Row("edit", "undo_megabytes", mark("Memory for undo"), unit=mark("MB")),
        ),
    ),
    (
        mark("Model"),
        (
            Row("model", "candidates", mark("Candidates to rank")),
            Row("model", "user_name", mark("Your name in provenance"), tip=mark("Left out where this is empty")),
        ),
    ),
    (
        mark("Files"),
        (
            Row("files", "keep_recent", mark("Keep a list of recent files")),
            Row("files", "autosave_seconds", mark("Autosave after an edit"), unit=mark("s")),
        ),
    ),
)


class PreferencesDialog(QDialog):
    """Shows preferences and gives changed ones. `preferences()` is valid at any time: no field takes a bad value."""

    def __init__(self, current: Preferences, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown = current
        self.editors: dict[tuple[str, str], QWidget] = {}
        self._readers: dict[tuple[str, str], Callable[[], Any]] = {}
        self.setWindowTitle(tr("Preferences"))
        self.resize(560, 440)
        self.tabs = QTabWidget()
        for title, rows in _PAGES:
            self.tabs.addTab(self._page(rows), tr(title))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        reset = QPushButton(tr("As shipped"))
        reset.setToolTip(tr("All fields of this dialog; recent files and shortcuts stay"))
        reset.clicked.connect(lambda: self.show_preferences(Preferences()))
        buttons.addButton(reset, QDialogButtonBox.ButtonRole.ResetRole)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self.tabs)
        column.addWidget(buttons)
        self.show_preferences(current)

    def preferences(self) -> Preferences:
        """What the fields say; all else is as it was."""
        found = self._shown
        for (section, key), read in self._readers.items():
            found = found.changing(section, **{key: read()})
        return found

    def show_preferences(self, preferences: Preferences) -> None:
        """Fills the fields."""
        for (section, key), editor in self.editors.items():
            _show(editor, getattr(getattr(preferences, section), key))

    def _page(self, rows: tuple[Row, ...]) -> QWidget:
        page = QWidget()
        form = QFormLayout(page)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for row in rows:
            editor, read = _editor(row)
            editor.setAccessibleName(tr(row.text))
            editor.setToolTip(tr(row.tip) if row.tip else "")
            self.editors[row.section, row.key] = editor
            self._readers[row.section, row.key] = read
            if isinstance(editor, QCheckBox):
                editor.setText(tr(row.text))
                form.addRow(editor)
            else:
                label = QLabel(tr(row.text))
                label.setBuddy(editor)
                form.addRow(label, editor)
        return page


def _editor(row: Row) -> tuple[QWidget, Callable[[], Any]]:
    """The widget of a field and what reads it."""
    usual = getattr(getattr(Preferences(), row.section), row.key)
    if isinstance(usual, bool):
        box = QCheckBox()
        return box, box.isChecked
    if row.choices:
        combo = QComboBox()
        for value, text in row.choices:
            combo.addItem(tr(text), value)
        return combo, lambda: str(combo.currentData())
    if isinstance(usual, str):
        line = QLineEdit()
        return line, line.text
    low, high = limits(row.section, row.key)
    if isinstance(usual, float):
        real = QDoubleSpinBox()
        real.setDecimals(row.decimals)
        real.setRange(low, high)
        real.setSingleStep(0.05 if high <= 1 else 1.0)
        real.setSuffix(f" {tr(row.unit)}" if row.unit else "")
        return real, real.value
    whole = QSpinBox()
    whole.setRange(int(low) - bool(row.zero), int(high))
    whole.setSpecialValueText(tr(row.zero) if row.zero else "")
    whole.setSuffix(f" {tr(row.unit)}" if row.unit else "")
    return whole, lambda: 0 if row.zero and whole.value() == whole.minimum() else whole.value()


def _show(editor: QWidget, value: Any) -> None:
    if isinstance(editor, QCheckBox):
        editor.setChecked(value)
    elif isinstance(editor, QComboBox):
        editor.setCurrentIndex(editor.findData(value))
    elif isinstance(editor, QLineEdit):
        editor.setText(value)
    elif isinstance(editor, QSpinBox | QDoubleSpinBox):
        editor.setValue(value)  # below the lowest stands for 0
