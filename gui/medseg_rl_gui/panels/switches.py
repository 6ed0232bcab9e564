"""More small parts of the panels: switches and icon buttons of actions, buttons with another text, rows of a form."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QWidget

from medseg_rl_gui.action_set import ActionSet
from medseg_rl_gui.icons import put_icon
from medseg_rl_gui.panels.parts import ActionButton

ICON = QSize(20, 20)
NARROWEST = 90


class ActionIcon(QToolButton):
    """An action of the table as an icon alone; a toggle is shown pressed while it is on."""

    def __init__(self, acts: ActionSet, id_: str) -> None:
        super().__init__()
        self._action = acts[id_]
        self.setAutoRaise(True)
        self.setIconSize(ICON)
        self.setCheckable(self._action.isCheckable())
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.clicked.connect(lambda: acts.trigger(id_))
        self._action.changed.connect(self._follow)
        self._follow()

    def _follow(self) -> None:
        action = self._action
        self.setIcon(action.icon())
        self.setAccessibleName(action.text())
        self.setToolTip(action.toolTip())
        self.setEnabled(action.isEnabled())
        self.setChecked(action.isChecked())


class ActionSwitch(QCheckBox):
    """A toggle of the table as a box to tick."""

    def __init__(self, acts: ActionSet, id_: str) -> None:
        super().__init__()
        self._acts, self._id = acts, id_
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.clicked.connect(lambda: acts.trigger(id_))
        acts[id_].changed.connect(self._follow)
        self._follow()

    def _follow(self) -> None:
        action, keys = self._acts[self._id], self._acts.keys_text(self._id)
        self.setText(f"{action.text()} ({keys})" if keys else action.text())
        self.setAccessibleName(action.text())
        self.setToolTip(action.toolTip())
        self.setEnabled(action.isEnabled())
        self.setChecked(action.isChecked())


class NamedButton(ActionButton):
    """A button of an action under another, shorter name; `key`: whether its key stands behind it."""

    def __init__(self, acts: ActionSet, id_: str, text: str, *, key: bool = False) -> None:
        self._name, self._has_key = text, key
        super().__init__(acts, id_)

    def _follow(self) -> None:
        super()._follow()
        keys = self._acts.keys_text(self._id) if self._has_key else ""
        self.setText(f"{self._name} ({keys})" if keys else self._name)
        self.setAccessibleName(self._name)


def icon_button(name: str, text: str, act: Callable[[], object]) -> QToolButton:
    """A button of its own with an icon alone; its text is told by the tooltip and to screen readers."""
    made = QToolButton()
    made.setAutoRaise(True)
    made.setIconSize(ICON)
    put_icon(made, name)
    made.setAccessibleName(text)
    made.setToolTip(text)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    made.clicked.connect(lambda: act())
    return made


def tick(text: str, act: Callable[[bool], object], *, tip: str = "") -> QCheckBox:
    """A box to tick of its own; `act` is called when the user changes it, not when it is set."""
    made = QCheckBox(text)
    made.setAccessibleName(text)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    made.clicked.connect(lambda on: act(on))
    return made


class Rows(QWidget):
    """Names on the left, what is set on the right, in two columns that line up."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(1, 1)

    def add(self, text: str, widget: QWidget) -> None:
        """One row."""
        row = self._grid.rowCount()
        label = QLabel(text)
        label.setBuddy(widget)
        widget.setMinimumWidth(NARROWEST)  # else a number asks for room for the largest there could be
        self._grid.addWidget(label, row, 0)
        self._grid.addWidget(widget, row, 1)


def side_by_side(*widgets: QWidget) -> QWidget:
    """In one line; all but plain words share the room."""
    made = QWidget()
    line = QHBoxLayout(made)
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(4)
    for widget in widgets:
        line.addWidget(widget, 0 if isinstance(widget, QLabel) else 1)
    return made
