"""Small parts that the Learn, Quantities and History tabs share: sections, notes with a tone, buttons of actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QEvent, QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPalette, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QLabel,
    QLayout,
    QPushButton,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from medseg_rl_gui.action_set import ActionSet
from medseg_rl_gui.icons import put_icon
from medseg_rl_gui.theme import TONES, current_theme

Index = QModelIndex | QPersistentModelIndex


class Section(QFrame):
    """A heading and what stands below it."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 6)
        self.column.setSpacing(5)
        heading = QLabel(title)
        font = heading.font()
        font.setBold(True)
        heading.setFont(font)
        self.column.addWidget(heading)


class ButtonGrid(QWidget):
    """Buttons side by side in rows of at most `columns`; fewer where their words would not fit."""

    def __init__(self, buttons: Sequence[QPushButton], columns: int = 2) -> None:
        super().__init__()
        self._buttons, self._most, self._columns = tuple(buttons), columns, 0
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        self._grid.setSizeConstraint(QLayout.SizeConstraint.SetNoConstraint)  # it may become narrower than it is
        self._arrange(columns)

    def _arrange(self, columns: int) -> None:
        if columns == self._columns:
            return
        self._columns = columns
        for at, made in enumerate(self._buttons):
            self._grid.removeWidget(made)
            last = at == len(self._buttons) - 1
            span = columns - at % columns if last else 1
            self._grid.addWidget(made, at // columns, at % columns, 1, span)
        for column in range(self._most):
            self._grid.setColumnStretch(column, int(column < columns))

    @property
    def _widest(self) -> int:
        return max(made.sizeHint().width() for made in self._buttons)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        return QSize(self._widest, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        super().resizeEvent(event)
        room = (self.width() + self._grid.spacing()) // (self._widest + self._grid.spacing())
        self._arrange(min(max(room, 1), self._most))


class ChoiceBox(QComboBox):
    """A choice that the wheel does not change in passing, and a click does not give the keyboard to."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setMinimumContentsLength(8)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        event.ignore()  # the panel scrolls


class NumberBox(QDoubleSpinBox):
    """A number that the wheel does not change in passing."""

    def __init__(
        self, name: str, low: float, high: float, value: float, *, decimals: int = 0, suffix: str = ""
    ) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setDecimals(decimals)
        self.setRange(low, high)
        self.setValue(value)
        self.setSuffix(suffix)
        self.setKeyboardTracking(False)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        event.ignore()


class Note(QLabel):
    """Words on a coloured ground; hidden while there are none. The tone is said by the words as well."""

    def __init__(self, tone: str = "information") -> None:
        super().__init__()
        self._tone = tone
        self.setWordWrap(True)
        self.setAutoFillBackground(True)
        self.setContentsMargins(6, 3, 6, 3)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hide()

    def say(self, text: str, tone: str = "") -> None:
        """Empty for nothing."""
        self._tone = tone or self._tone
        self.setText(text)
        self.setVisible(bool(text))
        self._dress()

    def _dress(self) -> None:
        ground, ink = TONES[current_theme()][self._tone]
        colours = QPalette(self.palette())
        if colours.color(QPalette.ColorRole.Window) != QColor(ground):
            colours.setColor(QPalette.ColorRole.Window, QColor(ground))
            colours.setColor(QPalette.ColorRole.WindowText, QColor(ink))
            self.setPalette(colours)

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        super().changeEvent(event)
        if event.type() in (QEvent.Type.ApplicationPaletteChange, QEvent.Type.StyleChange):
            self._dress()


def words(text: str = "", *, faint: bool = False) -> QLabel:
    """Plain words that break their lines."""
    label = QLabel(text)
    label.setWordWrap(True)
    if faint:
        label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
    return label


class ActionButton(QPushButton):
    """Triggers an action of the table: text, key, icon, reason and whether it is greyed are the action's."""

    def __init__(self, acts: ActionSet, id_: str, *, icon_only: bool = False) -> None:
        super().__init__()
        self._acts, self._id, self._icon_only = acts, id_, icon_only
        self.setAutoDefault(False)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keyboard to the views
        self.clicked.connect(lambda: acts.trigger(id_))
        acts[id_].changed.connect(self._follow)
        self._follow()

    def _follow(self) -> None:
        action, keys = self._acts[self._id], self._acts.keys_text(self._id)
        if not self._icon_only:
            self.setText(f"{action.text()} ({keys})" if keys else action.text())
        self.setIcon(action.icon())
        self.setAccessibleName(action.text())
        self.setToolTip(action.toolTip())
        self.setEnabled(action.isEnabled())


def button(text: str, act: Callable[[], object], *, icon_name: str = "", tip: str = "") -> QPushButton:
    """A button of its own, for what no key does."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setAccessibleName(text)
    made.setAutoDefault(False)
    if icon_name:
        put_icon(made, icon_name)
    made.clicked.connect(lambda: act())
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click leaves the keyboard to the views
    return made


def grey(widget: QWidget, reason: str, usual: str = "") -> None:
    """Greys a button with the reason as its tooltip; an empty reason lifts it."""
    widget.setEnabled(not reason)
    widget.setToolTip(reason or usual)
    widget.setAccessibleDescription(reason or usual)


class WrappedRows(QStyledItemDelegate):
    """Rows of a list or tree whose words go on in another line instead of being cut. `width`: room for a row's text."""

    def __init__(self, view: QAbstractItemView, width: Callable[[Index], int]) -> None:
        super().__init__(view)
        self._width = width

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:  # noqa: N802
        hint = super().sizeHint(option, index)
        if index.column() == 0:
            own = index.data(Qt.ItemDataRole.FontRole)
            metrics = QFontMetrics(own) if isinstance(own, QFont) else option.fontMetrics
            room = QRect(0, 0, max(self._width(index), 40), 4000)
            words_ = metrics.boundingRect(room, Qt.TextFlag.TextWordWrap, str(index.data() or ""))
            hint = QSize(min(hint.width(), room.width()), max(metrics.height(), words_.height()) + 2)
        return hint
