"""Notices above the views until they are dealt with: a failed autosave, disagreeing transforms. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout, QWidget

from medseg_rl_gui.dialogs import Tone
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.icons import icon
from medseg_rl_gui.theme import TONES, current_theme

_SIGNS = {"information": "information", "question": "information", "warning": "warning", "error": "warning"}


class Banner(QFrame):
    """One notice: a sign, words, buttons, and a cross that puts it away."""

    def __init__(self, text: str, tone: Tone, buttons: Mapping[str, Callable[[], object]]) -> None:
        super().__init__()
        self.tone = tone
        self.setAutoFillBackground(True)
        self.text = QLabel(text)
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.sign = QLabel()
        self.buttons = [QPushButton(name) for name in buttons]
        self.close_button = QToolButton()
        self.close_button.setAutoRaise(True)
        self.close_button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.close_button.setAccessibleName(tr("Put this notice away"))
        self.close_button.setToolTip(tr("Put this notice away"))
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 4, 4, 4)
        row.addWidget(self.sign)
        row.addWidget(self.text, 1)
        for button, do in zip(self.buttons, buttons.values(), strict=True):
            button.clicked.connect(lambda _=False, do=do: do())
            row.addWidget(button)
        row.addWidget(self.close_button)
        self.dress()

    def dress(self) -> None:
        """Takes the colours of the theme in force."""
        ground, ink = TONES[current_theme()]["information" if self.tone == "question" else self.tone]
        colours = QPalette(self.palette())
        colours.setColor(QPalette.ColorRole.Window, QColor(ground))
        colours.setColor(QPalette.ColorRole.WindowText, QColor(ink))
        self.setPalette(colours)
        self.sign.setPixmap(icon(_SIGNS[self.tone], ink).pixmap(18, 18))
        self.close_button.setIcon(icon("discard", ink))


class Banners(QWidget):
    """All notices by id; a newer one of the same id takes the place of the older."""

    def __init__(self) -> None:
        super().__init__()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(1)
        self.shown: dict[str, Banner] = {}
        self.hide()

    def show_banner(
        self, id_: str, text: str, *, tone: Tone = "warning", buttons: Mapping[str, Callable[[], object]] | None = None
    ) -> Banner:
        """Shows a notice until `put_away`, or until its cross is pressed. `buttons`: text to what it does."""
        self.put_away(id_)
        banner = Banner(text, tone, buttons or {})
        banner.close_button.clicked.connect(lambda: self.put_away(id_))
        self.shown[id_] = banner
        self._column.addWidget(banner)
        self.show()
        return banner

    def put_away(self, id_: str) -> None:
        """Takes a notice away, if it is there."""
        banner = self.shown.pop(id_, None)
        if banner is not None:
            self._column.removeWidget(banner)
            banner.hide()
            banner.deleteLater()
        self.setVisible(bool(self.shown))

    def dress(self) -> None:
        """Takes the colours of the theme in force."""
        for banner in self.shown.values():
            banner.dress()
