"""The label table as model and view: eye, colour, name, value, volume, padlock. Says what was meant; changes nothing.

A press on eye or padlock leaves the active label as it is; any other press, and the arrow keys, ask for another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontMetrics, QGuiApplication, QIcon, QMouseEvent, QPainter, QPen, QPixmap
from PySide6.QtWidgets import QAbstractItemDelegate, QAbstractItemView, QHeaderView, QTableView, QWidget

from medseg_rl.labels import Colour
from medseg_rl_gui.i18n import number, tr, whole
from medseg_rl_gui.icons import icon

EYE, COLOUR, NAME, VALUE, VOLUME, LOCK = range(6)
NOWHERE = QModelIndex()
SWATCH = 16
WIDEST = 270  # that it asks for: the views need the room; the line between them can be moved
_Role = Qt.ItemDataRole
_Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True)
class LabelRow:
    """One label. `voxels`: None while they are being counted; `millilitres`: None where it is not to be measured too.

    `lock`: "hand" (closed by the user), "usual" (closed because another label is active), "open".
    """

    value: int
    name: str
    colour: Colour
    voxels: int | None
    millilitres: float | None
    lock: str
    hidden: bool = False
    active: bool = False
    layer: int = 0


LOCK_ICONS = {"hand": "lock", "usual": "lock_usual", "open": "unlock"}


def lock_words(row: LabelRow) -> str:
    """What the padlock of a label means, and what a press does."""
    if row.lock == "hand":
        if row.active:
            return tr("Locked by hand: nothing can write into {name}. A press opens it").format(name=row.name)
        said = tr("Locked by hand, also when {name} becomes active. A press leaves it locked only while another is")
        return said.format(name=row.name)
    if row.lock == "usual":
        return tr("Locked while another label is active. A press opens {name} all the same").format(name=row.name)
    return tr("Open: {name} can be written into. A press locks it").format(name=row.name)


def volume_text(row: LabelRow) -> str:
    """mL with as many places as it needs."""
    if row.millilitres is None:
        return "…" if row.voxels is None else "–"
    return number(row.millilitres, 0 if row.millilitres >= 1000 else 1 if row.millilitres >= 100 else 2)


def voxels_text(row: LabelRow) -> str:
    """Voxels and mL in words."""
    if row.voxels is None:
        return tr("Being counted")
    said = tr("1 voxel") if row.voxels == 1 else tr("{n} voxels").format(n=whole(row.voxels))
    if row.millilitres is None:
        return tr("{voxels}; volumes are disabled for this image").format(voxels=said)
    return tr("{voxels}, {volume} mL").format(voxels=said, volume=number(row.millilitres, 3))


class LabelRows(QAbstractTableModel):
    """`renamed`: value and the new name."""

    renamed = Signal(int, str)

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[LabelRow, ...] = ()
        self.may_edit = False

    def show(self, rows: tuple[LabelRow, ...], *, may_edit: bool) -> None:
        """Other rows; the same labels keep their place, so that an open editor stays."""
        before, self.may_edit = self.rows, may_edit
        if [row.value for row in rows] == [row.value for row in before]:
            self.rows = rows
            if rows and rows != before:
                self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, LOCK))
            return
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()

    def rowCount(self, parent: _Index = NOWHERE) -> int:  # noqa: N802
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: _Index = NOWHERE) -> int:  # noqa: N802
        return 0 if parent.isValid() else 6

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _Role.DisplayRole) -> Any:  # noqa: N802
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == _Role.DisplayRole:
            return ("", "", tr("Name"), tr("Value"), tr("mL"), "")[section]
        if role in (_Role.ToolTipRole, _Role.AccessibleTextRole):
            shown, colour, lock = tr("Shown or hidden"), tr("Colour"), tr("Lock")
            return (shown, colour, tr("Name"), tr("Value in the file"), tr("Accepted volume in mL"), lock)[section]
        return None

    def flags(self, index: _Index) -> Qt.ItemFlag:
        flags = super().flags(index)
        return flags | Qt.ItemFlag.ItemIsEditable if index.column() == NAME and self.may_edit else flags

    def data(self, index: _Index, role: int = _Role.DisplayRole) -> Any:
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        row, column = self.rows[index.row()], index.column()
        match role:
            case _Role.DisplayRole | _Role.EditRole:
                return {NAME: row.name, VALUE: str(row.value), VOLUME: volume_text(row)}.get(column)
            case _Role.ToolTipRole | _Role.AccessibleTextRole:
                return _told(row, column)
            case _Role.DecorationRole:
                return _drawn(row, column)
            case _Role.TextAlignmentRole if column in (VALUE, VOLUME):
                return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            case _Role.FontRole if row.active and column == NAME:
                font = QFont(QGuiApplication.font())
                font.setBold(True)
                return font
        return None

    def setData(self, index: _Index, value: Any, role: int = _Role.EditRole) -> bool:  # noqa: N802
        if role != _Role.EditRole or index.column() != NAME:
            return False
        row = self.rows[index.row()]
        if str(value).strip() != row.name:
            self.renamed.emit(row.value, str(value))
        return True


def _told(row: LabelRow, column: int) -> str:
    if column == EYE:
        return tr("Hidden; a press shows it") if row.hidden else tr("Shown; a press hides it")
    if column == COLOUR:
        red, green, blue = row.colour
        text = tr("Colour {red}, {green}, {blue}; a double press changes it")
        return text.format(red=red, green=green, blue=blue)
    if column == LOCK:
        return lock_words(row)
    if column == VOLUME:
        return voxels_text(row)
    if column == VALUE:
        return tr("Value {value} in the file, layer {layer}").format(value=row.value, layer=whole(row.layer + 1))
    active = tr("{name}: the active label") if row.active else tr("{name}: a press makes it the active label")
    return active.format(name=row.name)


def _drawn(row: LabelRow, column: int) -> QIcon | None:
    if column == COLOUR:
        return steady(swatch(QColor(*row.colour)))
    ink = QGuiApplication.palette()
    text = (ink.highlightedText() if row.active else ink.text()).color().name()
    if column == EYE:
        return steady(icon("eye_closed" if row.hidden else "eye", text).pixmap(SWATCH))
    return steady(icon(LOCK_ICONS[row.lock], text).pixmap(SWATCH)) if column == LOCK else None


def steady(pixmap: QPixmap) -> QIcon:
    """An icon that a selected row does not tint."""
    made = QIcon(pixmap)
    made.addPixmap(pixmap, QIcon.Mode.Selected)
    return made


def swatch(colour: QColor, side: int = SWATCH) -> QPixmap:
    """A square of a colour with a line round it that is seen on any ground."""
    ratio = QGuiApplication.instance().devicePixelRatio() if QGuiApplication.instance() else 1.0  # type: ignore[union-attr]
    pixmap = QPixmap(QSize(round(side * ratio), round(side * ratio)))
    pixmap.setDevicePixelRatio(ratio)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QGuiApplication.palette().text().color(), 1))
    painter.setBrush(colour)
    painter.drawRoundedRect(QRectF(0.5, 0.5, side - 1, side - 1), 2, 2)
    painter.end()
    return pixmap


class LabelTable(QTableView):
    """`eye_pressed`, `lock_pressed`, `colour_pressed`, `chosen`: value of a label. `give_back`: gets the keyboard when
    an editor closes."""

    eye_pressed = Signal(int)
    lock_pressed = Signal(int)
    colour_pressed = Signal(int)
    chosen = Signal(int)

    def __init__(self, rows: LabelRows, give_back: Callable[[], QWidget]) -> None:
        super().__init__()
        self._rows, self._give_back, self._is_leading = rows, give_back, False
        self.setModel(rows)
        self.setAccessibleName(tr("Labels"))
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keyboard to the views
        self.setTabKeyNavigation(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        triggers = QAbstractItemView.EditTrigger
        self.setEditTriggers(triggers.DoubleClicked | triggers.EditKeyPressed)
        self.setShowGrid(False)
        self.setCornerButtonEnabled(False)
        self.setWordWrap(False)
        self.setIconSize(QSize(SWATCH, SWATCH))
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.verticalHeader().hide()
        self.horizontalHeader().setHighlightSections(False)
        self.horizontalHeader().setSectionsClickable(False)
        self.selectionModel().currentRowChanged.connect(self._led)
        rows.dataChanged.connect(self._measure)
        rows.modelReset.connect(self._measure)
        self._measure()

    def _measure(self) -> None:
        """Columns and rows as wide and high as letters of this size need."""
        letters = QFontMetrics(self.font())
        header, rows = self.horizontalHeader(), self.verticalHeader()
        header.setMinimumSectionSize(20)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        heading = self.horizontalHeader().fontMetrics()
        widths = {
            VALUE: max(letters.horizontalAdvance("000"), heading.horizontalAdvance(tr("Value"))) + 10,
            VOLUME: max(map(letters.horizontalAdvance, ("0.00", *map(volume_text, self._rows.rows)))) + 10,
        }
        for column in (EYE, COLOUR, VALUE, VOLUME, LOCK):
            self.setColumnWidth(column, widths.get(column, SWATCH + 8))
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setMinimumSectionSize(SWATCH)
        rows.setDefaultSectionSize(max(letters.height(), SWATCH) + 8)

    def show_active(self, row: int) -> None:
        """Which row is the active label's; asks for nothing."""
        self._is_leading = True
        self.setCurrentIndex(self._rows.index(row, NAME))
        self._is_leading = False

    def _led(self, current: QModelIndex, _: QModelIndex) -> None:
        if not self._is_leading and current.isValid():
            self.chosen.emit(self._rows.rows[current.row()].value)

    def edit_active(self) -> None:
        """Opens the editor of the active label's name."""
        self.edit(self.currentIndex().siblingAtColumn(NAME))

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        if not self._pressed(event):
            super().mousePressEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        index = self.indexAt(event.position().toPoint())
        if index.isValid() and index.column() == COLOUR:
            self.colour_pressed.emit(self._rows.rows[index.row()].value)
        elif not self._pressed(event):
            super().mouseDoubleClickEvent(event)

    def _pressed(self, event: QMouseEvent) -> bool:
        """Whether it was on an eye or a padlock, which do not make their label the active one."""
        index = self.indexAt(event.position().toPoint())
        if not index.isValid() or index.column() not in (EYE, LOCK):
            return False
        if event.button() == Qt.MouseButton.LeftButton:
            signal = self.eye_pressed if index.column() == EYE else self.lock_pressed
            signal.emit(self._rows.rows[index.row()].value)
        return True

    def closeEditor(self, editor: QWidget, hint: QAbstractItemDelegate.EndEditHint) -> None:  # noqa: N802
        super().closeEditor(editor, QAbstractItemDelegate.EndEditHint.NoHint)
        self._give_back().setFocus()  # else the arrow keys would walk through the labels, not the slices

    def take_letters(self) -> None:
        """The letters have another size."""
        self._measure()

    def sizeHint(self) -> QSize:  # noqa: N802
        width = sum(self.columnWidth(column) for column in (EYE, COLOUR, VALUE, VOLUME, LOCK))
        letter = QFontMetrics(self.font()).averageCharWidth()
        return QSize(min(width + 17 * letter, max(WIDEST, width + 10 * letter)), super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        return QSize(180, self.verticalHeader().defaultSectionSize() * 3 + self.horizontalHeader().height())
