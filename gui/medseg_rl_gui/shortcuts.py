"""The editor of keys and mouse gestures, and the sheet that shows them all. Built from the table of actions."""

from __future__ import annotations

from html import escape

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QKeySequenceEdit,
    QLabel,
    QLineEdit,
    QPushButton,
    QTextBrowser,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from medseg_rl_gui.actions import ACTIONS, CONTEXTS, MENUS, PRESETS, Preset
from medseg_rl_gui.bindings import Bindings, context_text
from medseg_rl_gui.gestures import MOUSE_ACTIONS, MOUSE_BY_ID
from medseg_rl_gui.i18n import mark, tr

_ID = Qt.ItemDataRole.UserRole
_HELD = ("", "Ctrl", "Shift", "Alt", "Ctrl+Shift", "Ctrl+Alt", "Shift+Alt", "W", "W+Ctrl", "W+Shift")
_MOVES = {
    "left-click": mark("left-click"),
    "middle-click": mark("middle-click"),
    "right-click": mark("right-click"),
    "left-drag": mark("left-drag"),
    "middle-drag": mark("middle-drag"),
    "right-drag": mark("right-drag"),
    "wheel": mark("wheel"),
    "move": mark("move"),
}


def shown(id_: str, keys: str) -> str:
    """Keys or a gesture as the user reads them."""
    if id_ not in MOUSE_BY_ID:
        return QKeySequence(keys).toString(QKeySequence.SequenceFormat.NativeText)
    *held, move = keys.split("+")
    return "+".join([*held, tr(_MOVES[move])])


class ShortcutEditor(QDialog):
    """Choose a preset, then give any action other keys or gestures. `bindings`: what was chosen, once accepted."""

    def __init__(self, bindings: Bindings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bindings = bindings
        self._by_preset: dict[Preset, Bindings] = {bindings.preset: bindings}
        self.setWindowTitle(tr("Keys and mouse"))
        self.resize(680, 620)
        self.preset = QComboBox()
        self.preset.setAccessibleName(tr("Preset"))
        for name, text in PRESETS.items():
            self.preset.addItem(tr(text), name)
        self.preset.setCurrentIndex(list(PRESETS).index(bindings.preset))
        self.preset.currentIndexChanged.connect(self._change_preset)
        self.search = QLineEdit()
        self.search.setPlaceholderText(tr("Search actions and keys"))
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.tree = QTreeWidget()
        self.tree.setHeaderLabels([tr("Action"), tr("Keys or gesture"), tr("Where")])
        self.tree.setAccessibleName(tr("Actions"))
        self.tree.setColumnWidth(0, 280)
        self.tree.setColumnWidth(1, 220)
        self.tree.currentItemChanged.connect(lambda *_: self._selected())
        self._make_editors()
        self._lay_out()
        self._fill()

    def _make_editors(self) -> None:
        self.key = QKeySequenceEdit()
        self.key.setMaximumSequenceLength(1)
        self.key.setAccessibleName(tr("New key"))
        self.held, self.motion = QComboBox(), QComboBox()
        for held in _HELD:
            self.held.addItem(held or tr("nothing held"), held)
        for motion, text in _MOVES.items():
            self.motion.addItem(tr(text), motion)
        self.held.setAccessibleName(tr("Keys held"))
        self.motion.setAccessibleName(tr("Mouse"))
        self.add = QPushButton(tr("Add"))
        self.remove = QPushButton(tr("Remove all"))
        self.reset = QPushButton(tr("As shipped"))
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.problem.setMinimumHeight(self.problem.fontMetrics().height() + 4)
        self.add.clicked.connect(self._add)
        self.remove.clicked.connect(lambda: self._set(()))
        self.reset.clicked.connect(lambda: self._set(Bindings(self.bindings.preset).of(self._id or "")))

    def _lay_out(self) -> None:
        top = QFormLayout()
        top.addRow(tr("Preset"), self.preset)
        top.addRow(tr("Search"), self.search)
        row = QHBoxLayout()
        for widget in (self.key, self.held, self.motion, self.add, self.remove, self.reset):
            row.addWidget(widget)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        all_shipped = buttons.addButton(tr("All as shipped"), QDialogButtonBox.ButtonRole.ResetRole)
        all_shipped.clicked.connect(self._reset_all)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        for button in (*buttons.buttons(), self.add, self.remove, self.reset):
            if isinstance(button, QPushButton):
                button.setAutoDefault(False)  # Enter may be the key that is wanted
        column = QVBoxLayout(self)
        column.addLayout(top)
        column.addWidget(self.tree, 1)
        column.addLayout(row)
        column.addWidget(self.problem)
        column.addWidget(buttons)

    # --- what is chosen -----------------------------------------------------------------------------------------------

    @property
    def _id(self) -> str | None:
        item = self.tree.currentItem()
        found: str | None = None if item is None else item.data(0, _ID)
        return found

    def select(self, id_: str) -> None:
        """Makes an action the one that is edited."""
        for item in self._items():
            if item.data(0, _ID) == id_:
                self.tree.setCurrentItem(item)

    def all_changes(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """The changes of every preset that was looked at, for the preferences."""
        return {name: dict(bindings.changes) for name, bindings in self._by_preset.items()}

    def take_changes(self, changes: dict[Preset, Bindings]) -> None:
        """The user's changes in the other presets."""
        self._by_preset = {**changes, **self._by_preset}

    def _change_preset(self) -> None:
        preset: Preset = self.preset.currentData()
        self._take(self._by_preset.get(preset, Bindings(preset)))

    def _reset_all(self) -> None:
        self._take(Bindings(self.bindings.preset))

    def _take(self, bindings: Bindings) -> None:
        self.bindings = self._by_preset[bindings.preset] = bindings
        self._refill()

    def _add(self) -> None:
        id_ = self._id
        if id_ is None:
            return
        if id_ in MOUSE_BY_ID:
            held = str(self.held.currentData())
            wanted = "+".join(part for part in (held, str(self.motion.currentData())) if part)
        else:
            wanted = self.key.keySequence().toString(QKeySequence.SequenceFormat.PortableText)
            if not wanted:
                self.problem.setText(tr("Press the new key in the field first"))
                return
        self._set((*self.bindings.of(id_), wanted))

    def _set(self, keys: tuple[str, ...]) -> None:
        if self._id is None:
            return
        try:
            changed = self.bindings.changing(self._id, *dict.fromkeys(keys))
        except ValueError as error:
            self.problem.setText(str(error))
            return
        self._take(changed)
        self.problem.clear()
        self.key.clear()

    # --- the list -----------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        headings: dict[str, QTreeWidgetItem] = {}
        for action in ACTIONS:
            heading = tr(MENUS[action.menu]).replace("&", "") if action.menu else tr("Keys alone")
            heading = heading if action.context == "view" else tr(CONTEXTS[action.context])
            self._row(headings, heading, action.id, tr(action.text))
        for mouse in MOUSE_ACTIONS:
            self._row(headings, tr("Mouse"), mouse.id, tr(mouse.text))
        self.tree.expandAll()
        self._refill()
        self._selected()

    def _row(self, headings: dict[str, QTreeWidgetItem], heading: str, id_: str, text: str) -> None:
        if heading not in headings:
            headings[heading] = QTreeWidgetItem(self.tree, [heading])
            headings[heading].setFlags(Qt.ItemFlag.ItemIsEnabled)
        item = QTreeWidgetItem(headings[heading], [text.rstrip("…"), "", context_text(id_)])
        item.setData(0, _ID, id_)

    def _tops(self) -> list[QTreeWidgetItem]:
        tops = (self.tree.topLevelItem(i) for i in range(self.tree.topLevelItemCount()))
        return [top for top in tops if top is not None]

    def _items(self) -> list[QTreeWidgetItem]:
        return [child for top in self._tops() for child in _children(top)]

    def _refill(self) -> None:
        for item in self._items():
            id_ = item.data(0, _ID)
            item.setText(1, ", ".join(shown(id_, keys) for keys in self.bindings.of(id_)))
            font = item.font(1)
            font.setBold(id_ in self.bindings.changes)
            item.setFont(1, font)
        self._filter(self.search.text())

    def _filter(self, text: str) -> None:
        for item in self._items():
            said = f"{item.text(0)} {item.text(1)}".casefold()
            item.setHidden(text.casefold() not in said)
        for top in self._tops():
            top.setHidden(all(child.isHidden() for child in _children(top)))

    def _selected(self) -> None:
        id_ = self._id
        mouse = id_ in MOUSE_BY_ID
        self.key.setVisible(not mouse)
        self.held.setVisible(mouse)
        self.motion.setVisible(mouse)
        for widget in (self.key, self.held, self.motion, self.add, self.remove, self.reset):
            widget.setEnabled(id_ is not None)
            widget.setToolTip("" if id_ is not None else tr("Choose an action in the list first"))
        self.problem.clear()


def _children(top: QTreeWidgetItem) -> list[QTreeWidgetItem]:
    return [child for i in range(top.childCount()) if (child := top.child(i)) is not None]


class ShortcutSheet(QDialog):
    """All keys and gestures in force, on one page."""

    def __init__(self, bindings: Bindings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(tr("Keys and mouse: {preset}").format(preset=tr(PRESETS[bindings.preset])))
        self.resize(880, 680)
        self.text = QTextBrowser()
        self.text.setAccessibleName(tr("Keys and mouse"))
        self.text.setHtml(sheet_html(bindings))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(self.text)
        column.addWidget(buttons)


def sheet_html(bindings: Bindings) -> str:
    """A table in two columns: what has keys or gestures, under the names of menus and contexts."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for mouse in MOUSE_ACTIONS:
        _enter(groups, tr("Mouse"), bindings, mouse.id, tr(mouse.text))
    for action in ACTIONS:
        heading = tr(MENUS[action.menu]).replace("&", "") if action.menu else tr("Keys alone")
        heading = heading if action.context == "view" else tr(CONTEXTS[action.context])
        _enter(groups, heading, bindings, action.id, tr(action.text).rstrip("…"))
    rows = [_group_html(heading, entries) for heading, entries in groups.items()]
    total, left, filled = sum(map(len, groups.values())), "", 0
    while rows and filled < total / 2:
        filled += len(groups[list(groups)[len(groups) - len(rows)]])
        left += rows.pop(0)
    cells = "".join(f"<td valign='top'><table cellpadding='2'>{half}</table></td>" for half in (left, "".join(rows)))
    return f"<table cellspacing='16'><tr>{cells}</tr></table>"


def _enter(groups: dict[str, list[tuple[str, str]]], heading: str, bindings: Bindings, id_: str, text: str) -> None:
    keys = bindings.of(id_)
    if keys:
        groups.setdefault(heading, []).append((text, ", ".join(shown(id_, key) for key in keys)))


def _group_html(heading: str, entries: list[tuple[str, str]]) -> str:
    lines = "".join(
        f"<tr><td>{escape(text)}&nbsp;&nbsp;&nbsp;</td><td><b>{escape(keys)}</b></td></tr>" for text, keys in entries
    )
    return f"<tr><td colspan='2'><br/><big><b>{escape(heading)}</b></big></td></tr>{lines}"
