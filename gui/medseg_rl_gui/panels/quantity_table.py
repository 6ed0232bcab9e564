"""The table of quantities: a label each, its numbers below it, formulas in the tooltips. Knows no session."""

from __future__ import annotations

import math
from collections.abc import Mapping

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QBrush, QColor, QIcon, QPainter, QPixmap
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem

from medseg_rl.quantities import LabelQuantities, Quantity, QuantityReport
from medseg_rl_gui.i18n import number, tr, whole
from medseg_rl_gui.panels.parts import Index, WrappedRows

DIGITS = 4
ROWS = 15  # in sight at least
VALUE = Qt.ItemDataRole.UserRole
QUANTITY = Qt.ItemDataRole.UserRole + 1
RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
OF_LABEL = "volume_ml"  # the number that stands beside a label's name
SHORTER = (
    ("extent along voxel axis", "extent"),
    ("standard deviation of", "SD of"),
    ("percentile of intensity", "percentile"),
)
Key = tuple[int, str]  # value of a label, key of a quantity; "" for the label's own row


def shown(quantity: Quantity) -> str:
    """A quantity for a person: four digits that say something, with its unit; the reason where there is no number."""
    value = quantity.value
    if value is None:
        return quantity.note or tr("not defined")
    if isinstance(value, int) or (float(value).is_integer() and abs(value) >= 10**DIGITS):
        text = whole(int(value))
    elif not math.isfinite(value):
        return str(value)
    else:
        size = 0 if value == 0 else math.floor(math.log10(abs(value)))
        text = number(value, min(max(DIGITS - 1 - size, 0), 6) if value else 0)
    unit = quantity.unit.replace("mm2", "mm²").replace("mm3", "mm³")
    return f"{text} {unit}" if unit else text


def explained(quantity: Quantity) -> str:
    """Name, formula and note."""
    lines = (f"{_capital(quantity.name)}: {quantity.method}", quantity.note)
    return "\n".join(line for line in lines if line)


class QuantityTable(QTreeWidget):
    """`chosen`: another row is the current one. What was measured of older masks is italic and faint: `fade`."""

    chosen = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setColumnCount(2)
        self.setHeaderLabels([tr("Quantity"), tr("Value")])
        self.setAccessibleName(tr("Quantities"))
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setAlternatingRowColors(True)
        self.setIndentation(12)
        self.setWordWrap(True)
        self.setItemDelegate(WrappedRows(self, self._room))
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        header = self.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        header.sectionResized.connect(lambda *_: self.scheduleDelayedItemsLayout())
        self.currentItemChanged.connect(lambda *_: self.chosen.emit())

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        return QSize(super().minimumSizeHint().width(), ROWS * (self.fontMetrics().height() + 2))

    def _room(self, index: Index) -> int:
        deep = 2 if index.parent().isValid() else 1
        picture = 0 if deep == 2 else 20
        return self.columnWidth(0) - deep * self.indentation() - picture - 8

    # --- what is chosen -----------------------------------------------------------------------------------------------

    @property
    def key(self) -> Key | None:
        """The current row."""
        item = self.currentItem()
        return None if item is None else _key(item)

    @property
    def quantity(self) -> Quantity | None:
        """That of the current row."""
        item = self.currentItem()
        found: Quantity | None = None if item is None else item.data(0, QUANTITY)
        return found

    def choose(self, wanted: Key) -> bool:
        """Makes a row the current one and brings it into sight. False where there is none such."""
        for item in self.rows():
            if _key(item) == wanted:
                self.setCurrentItem(item)
                self.scrollToItem(item, QAbstractItemView.ScrollHint.PositionAtCenter)
                return True
        return False

    def rows(self) -> list[QTreeWidgetItem]:
        """Every row, labels and quantities."""
        found = [(top, *(top.child(n) for n in range(top.childCount()))) for top in self._tops()]
        return [item for items in found for item in items if item is not None]

    def _tops(self) -> list[QTreeWidgetItem]:
        tops = (self.topLevelItem(at) for at in range(self.topLevelItemCount()))
        return [top for top in tops if top is not None]

    # --- what it shows ------------------------------------------------------------------------------------------------

    def show_report(self, report: QuantityReport | None, colours: Mapping[int, QColor], active: int) -> None:
        """The labels of a report; which rows are open and which is current stays, the active label's at first."""
        open_ = {top.data(0, VALUE) for top in self._tops() if top.isExpanded()} if self._tops() else {active}
        known = {top.data(0, VALUE) for top in self._tops()}
        key, scrolled = self.key or (active, ""), self.verticalScrollBar().value()
        with QSignalBlocker(self):
            self.clear()
            for label in () if report is None else report.labels:
                self._add(label, colours.get(label.value, QColor("#808080")))
            for top in self._tops():
                value = top.data(0, VALUE)
                top.setExpanded(value in open_ or (value == active and value not in known))
            if not self.choose(key):
                self.choose((active, ""))
        self.verticalScrollBar().setValue(scrolled)
        self.chosen.emit()

    def _add(self, label: LabelQuantities, colour: QColor) -> None:
        top = _row(label.name, label[OF_LABEL], label.value)
        top.setIcon(0, swatch(colour))
        for column in (0, 1):
            font = top.font(column)
            font.setBold(True)
            top.setFont(column, font)
        self.addTopLevelItem(top)
        for quantity in label.quantities:
            top.addChild(_row(_brief(quantity.name), quantity, label.value))

    def fade(self, stale: bool) -> None:
        """Numbers of masks as they were: italic and faint."""
        for item in self.rows():
            font = item.font(1)
            font.setItalic(stale)
            item.setFont(1, font)
            item.setForeground(1, self.palette().placeholderText() if stale else QBrush())


def _row(name: str, quantity: Quantity, value: int) -> QTreeWidgetItem:
    row = QTreeWidgetItem([name, shown(quantity)])
    row.setData(0, VALUE, value)
    row.setData(0, QUANTITY, quantity)
    row.setTextAlignment(1, RIGHT)
    for column in (0, 1):
        row.setToolTip(column, explained(quantity))
    return row


def _key(item: QTreeWidgetItem) -> Key:
    return item.data(0, VALUE), item.data(0, QUANTITY).key if item.parent() is not None else ""


def _brief(name: str) -> str:
    """A name that fits a narrow column; the whole one stands in the tooltip."""
    for long, short in SHORTER:
        name = name.replace(long, short)
    return _capital(name)


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def swatch(colour: QColor, size: int = 12) -> QIcon:
    """A small square in the colour of a label."""
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.fillRect(1, 1, size - 2, size - 2, colour)
    painter.end()
    return QIcon(pixmap)
