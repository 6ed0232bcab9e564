"""The clicks as a list: sign, number, label, slice, and below it the place in mm. Changes nothing itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QFontMetrics, QGuiApplication, QIcon, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QApplication, QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

from medseg_rl_gui.i18n import tr, whole
from medseg_rl_gui.icons import icon
from medseg_rl_gui.slice_geometry import Point
from medseg_rl_gui.status_bar import position_text

NOWHERE = QModelIndex()
ROW = Qt.ItemDataRole.UserRole
SIGN, GAP = 16, 5
_Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True)
class ClickRow:
    """A click of the list. `number`: from 0 among those of its label, `label`. `slice_number`: axial, from 1.

    `settled`: of a proposal that was accepted. `is_active`: of the active label, so that it can be deleted.
    """

    label: int
    label_name: str
    number: int
    positive: bool
    point_mm: Point
    slice_number: int
    settled: bool
    is_active: bool

    @property
    def first_line(self) -> str:
        """Number and label."""
        return tr("{n}  {label}").format(n=whole(self.number + 1), label=self.label_name)

    @property
    def slice_text(self) -> str:
        """The axial slice, as the view counts it."""
        return tr("slice {n}").format(n=whole(self.slice_number))

    @property
    def told(self) -> str:
        """All of it in words."""
        sign = tr("adds") if self.positive else tr("removes")
        state = tr("accepted") if self.settled else tr("of the open proposal")
        text = tr("Click {n}, {sign}, {label}, {mm}, axial {slice}, {state}")
        return text.format(
            n=whole(self.number + 1),
            sign=sign,
            label=self.label_name,
            mm=position_text(self.point_mm),
            slice=self.slice_text,
            state=state,
        )


class ClickRows(QAbstractListModel):
    """Those of the active label first, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[ClickRow, ...] = ()

    def show(self, rows: tuple[ClickRow, ...]) -> bool:
        """Other clicks; False where they are the same."""
        if rows == self.rows:
            return False
        self.beginResetModel()
        self.rows = rows
        self.endResetModel()
        return True

    def rowCount(self, parent: _Index = NOWHERE) -> int:  # noqa: N802
        return 0 if parent.isValid() else len(self.rows)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid() or index.row() >= len(self.rows):
            return None
        row = self.rows[index.row()]
        match role:
            case Qt.ItemDataRole.DisplayRole:
                return row.first_line
            case Qt.ItemDataRole.ToolTipRole | Qt.ItemDataRole.AccessibleTextRole:
                return row.told
            case _ if role == ROW:
                return row
        return None


class ClickList(QListView):
    """Says what to do while there is no click."""

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        super().paintEvent(event)
        if self.model().rowCount() == 0:
            painter = QPainter(self.viewport())
            painter.setPen(self.palette().placeholderText().color())
            area = self.viewport().rect().adjusted(6, 4, -6, -4)
            wraps = Qt.TextFlag.TextWordWrap | Qt.AlignmentFlag.AlignTop
            painter.drawText(area, wraps, tr("No click yet. Take Point and click inside the target."))
            painter.end()


class ClickDelegate(QStyledItemDelegate):
    """Two lines beside the sign, which has the shape of the marker in the views: a circle adds, a square removes."""

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:  # noqa: N802
        return QSize(160, 2 * _letters().height() + 6)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        row = index.data(ROW)
        if not isinstance(row, ClickRow):
            return
        given: Any = option  # the stubs know none of its fields
        QApplication.style().drawPrimitive(QStyle.PrimitiveElement.PE_PanelItemViewItem, option, painter, given.widget)
        chosen = bool(given.state & QStyle.StateFlag.State_Selected)
        ink, faint = _inks(given.palette, chosen, row.is_active)
        area: QRect = given.rect.adjusted(GAP, 3, -GAP, -3)
        _sign(row.positive, ink.name()).paint(painter, QRect(area.left(), area.center().y() - SIGN // 2, SIGN, SIGN))
        text = area.adjusted(SIGN + GAP + 2, 0, 0, 0)
        letters = QFontMetrics(given.font)
        room = text.width() - letters.horizontalAdvance(row.slice_text) - 2 * GAP
        painter.setPen(ink)
        left, right = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight
        upper, lower = _halves(text)
        painter.drawText(upper, left, letters.elidedText(row.first_line, Qt.TextElideMode.ElideRight, room))
        painter.drawText(upper, right, row.slice_text)
        painter.setPen(faint)
        place = letters.elidedText(position_text(row.point_mm), Qt.TextElideMode.ElideRight, text.width())
        painter.drawText(lower, left, place)


def _letters() -> QFontMetrics:
    return QFontMetrics(QGuiApplication.font())


def _halves(area: QRect) -> tuple[QRect, QRect]:
    height = area.height() // 2
    upper = QRect(area.left(), area.top(), area.width(), height)
    return upper, upper.translated(0, height)


def _inks(colours: QPalette, chosen: bool, is_active: bool) -> tuple[Any, Any]:
    """Of both lines; clicks of other labels are fainter, and their label is named as well."""
    if chosen:
        on = colours.highlightedText().color()
        return on, on
    faint = colours.placeholderText().color()
    return (colours.text().color() if is_active else faint), faint


def _sign(positive: bool, colour: str) -> QIcon:
    return icon("click_plus" if positive else "click_minus", colour)
