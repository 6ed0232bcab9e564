"""What stands in the middle while no case is open: how to open one, and the recent ones. Opens nothing itself."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QLabel, QToolButton, QVBoxLayout, QWidget

from medseg_rl_gui.action_set import ActionSet
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.icons import APPLICATION, icon, put_icon
from medseg_rl_gui.recent import RecentEntry

_WAYS = (("file.open", "open"), ("file.open_folder", "folder"), ("file.open_sample", "overlay"))
_SHOWN = 5


class WelcomePage(QWidget):
    """Buttons of the table's own actions; `chosen`: the path of a recent entry."""

    chosen = Signal(object)

    def __init__(self, actions: ActionSet) -> None:
        super().__init__()
        self._picture = QLabel()
        title = QLabel(tr("Open a CT or MR volume"))
        font = title.font()
        font.setPointSizeF(font.pointSizeF() * 1.6)
        title.setFont(font)
        hint = QLabel(tr("Drop a file or a DICOM folder here, or choose:"))
        self.ways = [_button(actions[id_], name) for id_, name in _WAYS]
        self._recent_title = QLabel(tr("Recent"))
        self._recent = QVBoxLayout()
        column = QVBoxLayout(self)
        column.setSpacing(8)
        column.addStretch(2)
        for widget in (self._picture, title, hint, *self.ways):
            column.addWidget(widget, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addSpacing(16)
        column.addWidget(self._recent_title, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addLayout(self._recent)
        column.addStretch(3)
        self._picture.setPixmap(icon(APPLICATION).pixmap(64, 64))
        self.show_recent([])

    def show_recent(self, entries: list[RecentEntry]) -> None:
        """The newest few; missing ones greyed."""
        while (item := self._recent.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        self._recent_title.setVisible(bool(entries))
        for entry in entries[:_SHOWN]:
            self._recent.addWidget(self._entry(entry), 0, Qt.AlignmentFlag.AlignHCenter)

    def _entry(self, entry: RecentEntry) -> QToolButton:
        button = QToolButton()
        button.setText(entry.text.replace("&", "&&"))
        button.setAutoRaise(True)
        button.setEnabled(not entry.missing)
        button.setToolTip(tr("It is no longer there") if entry.missing else str(entry.path))
        button.setAccessibleName(tr("Open {name}").format(name=entry.path.name))
        button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        button.clicked.connect(lambda _=False, path=Path(entry.path): self.chosen.emit(path))
        return button


def _button(action: QAction, name: str) -> QToolButton:
    """A wide button that follows an action: greyed with it, with the same tooltip."""
    button = QToolButton()
    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    put_icon(button, name)
    button.setIconSize(QSize(22, 22))
    button.setMinimumSize(280, 40)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    button.setAccessibleName(action.text())

    def follow() -> None:
        button.setText("  " + action.text())
        button.setEnabled(action.isEnabled())
        button.setToolTip(action.toolTip())

    action.changed.connect(follow)
    button.clicked.connect(lambda: action.trigger())
    follow()
    return button
