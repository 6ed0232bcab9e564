"""The bar above the 3D pane: its name, from where it is seen, and the buttons that turn it. Draws nothing in 3D."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QMouseEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QWidget

from medseg_rl_gui.icons import put_icon
from medseg_rl_gui.slice_geometry import LETTER_COMPONENT

if TYPE_CHECKING:
    from medseg_rl_gui.surface_scene import Side

SPACING = 2  # between the buttons
ROOMY = 11  # more than its letter, where there is room


class SurfaceTitle(QFrame):
    """Name, convention and buttons of the 3D pane. A double-click asks to maximise or restore."""

    maximise_requested = Signal()
    side_chosen = Signal(str)
    reset_chosen = Signal()
    picture_chosen = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("viewTitle")
        self.setAutoFillBackground(True)
        self.name, self.convention = QLabel(self.tr("3D")), QLabel()
        font = self.name.font()
        font.setBold(True)
        self.name.setFont(font)
        self.buttons: dict[str, QToolButton] = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(6, 1, 6, 1)
        row.setSpacing(SPACING)
        row.addWidget(self.name)
        row.addSpacing(6)
        row.addWidget(self.convention)
        row.addStretch(1)
        for button in self._made_buttons():
            row.addWidget(button)
        for label in (self.name, self.convention):
            label.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)

    def _made_buttons(self) -> list[QToolButton]:
        sides: dict[Side, tuple[str, str]] = {
            "A": (self.tr("A"), self.tr("Seen from anterior")),
            "P": (self.tr("P"), self.tr("Seen from posterior")),
            "L": (self.tr("L"), self.tr("Seen from the patient's left")),
            "R": (self.tr("R"), self.tr("Seen from the patient's right")),
            "S": (self.tr("S"), self.tr("Seen from superior")),
            "I": (self.tr("I"), self.tr("Seen from inferior")),
        }
        for side, (letter, tip) in sides.items():
            button = self._button(side, tip)
            button.setText(letter)
            button.clicked.connect(partial(self.side_chosen.emit, side))
        reset = self._button("reset", self.tr("Show all surfaces again"))
        put_icon(reset, "refresh")
        reset.clicked.connect(self.reset_chosen)
        picture = self._button("picture", self.tr("Save this view as a picture…"))
        put_icon(picture, "camera")
        picture.clicked.connect(self.picture_chosen)
        return list(self.buttons.values())

    def _button(self, key: str, tip: str) -> QToolButton:
        button = self.buttons[key] = QToolButton()
        button.setAutoRaise(True)
        button.setAccessibleName(tip)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._grey(button, works=False)
        return button

    def _grey(self, button: QToolButton, *, works: bool) -> None:
        tip = button.accessibleName()
        button.setEnabled(works)
        button.setToolTip(tip if works else self.tr("{what}\nNothing is to be seen in 3D yet").format(what=tip))

    def show_state(self, *, works: bool, right: float) -> None:
        """Greys the buttons where nothing is to be seen. `right`: how far the picture's right is the patient's."""
        for button in self.buttons.values():
            self._grey(button, works=works)
        if not works or abs(right) < LETTER_COMPONENT:
            self.convention.clear()
        else:
            self.convention.setText(self.tr("R on right") if right > 0 else self.tr("R on left"))
        self._leave_out()

    def _leave_out(self) -> None:
        """Where it is narrow, the sides shrink, then go, then picture and reset: the words always stand whole."""
        room = self.width() - self.minimumSizeHint().width()
        wide = sum(self._width(key, ROOMY) + SPACING for key in self.buttons)
        for side in self._sides:
            self.buttons[side].setFixedWidth(self._width(side, ROOMY if wide <= room else 1))
        for key in ("reset", "picture", *self._sides):
            room -= min(self.buttons[key].sizeHint().width(), self.buttons[key].maximumWidth()) + SPACING
            self.buttons[key].setVisible(room >= 0)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        always = self.name.sizeHint().width() + self.convention.sizeHint().width()
        return QSize(always + 12 + 6 + 3 * SPACING, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        super().resizeEvent(event)
        self._leave_out()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange and hasattr(self, "buttons"):
            self._leave_out()

    @property
    def _sides(self) -> list[str]:
        return [key for key in self.buttons if len(key) == 1]

    def _width(self, key: str, more: int) -> int:
        """Of a button; one of a letter is no wider than the widest of them, and what is given beside it."""
        if len(key) > 1:
            return self.buttons[key].sizeHint().width()
        return max(self.fontMetrics().horizontalAdvance(self.buttons[side].text()) for side in self._sides) + more

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        if event.button() == Qt.MouseButton.LeftButton:
            self.maximise_requested.emit()
