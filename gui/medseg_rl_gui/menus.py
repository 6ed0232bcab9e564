"""Menu bar and toolbar, built from the table of actions. Knows their order and where lines stand between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QEvent, QSize, Qt, QTimer
from PySide6.QtGui import QAction, QResizeEvent
from PySide6.QtWidgets import QMenu, QMenuBar, QToolBar, QToolButton

from medseg_rl_gui.action_set import ActionSet
from medseg_rl_gui.actions import ACTIONS, BY_ID, MENUS, TOOLS
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.letters import FONTS, fit_letters
from medseg_rl_gui.recent import RecentEntry

# A line stands before these, in their menus.
_LINES = {
    "file.save",
    "file.screenshot_view",
    "file.close",
    "file.quit",
    "proposal.accept",
    "click.delete_last",
    "edit.fill_holes",
    "edit.preferences",
    "tool.swap",
    "click.polarity",
    "view.reset",
    "view.neurological",
    "view.layout",
    "label.new",
    "model.candidates",
    "model.suggest_next",
    "model.guard",
    "model.cancel",
    "help.notice",
}
_BAR = (
    ("file.open", "file.open_folder", "file.save", "file.export"),
    ("edit.undo", "edit.redo"),
    tuple(f"tool.{tool}" for tool in TOOLS),
    ("click.polarity", "label.lock", "model.guard"),
    ("view.overlay", "view.outline", "view.crosshair", "view.layout"),
)
CONTEXT_MENU = (
    ("proposal.accept", "proposal.discard"),
    ("click.at_crosshair", "click.delete_last", "click.polarity"),
    tuple(f"tool.{tool}" for tool in TOOLS),
    ("edit.fill_holes", "edit.islands"),
    ("view.centre", "view.reset", "view.maximise", "file.screenshot_view"),
)


class Menus:
    """The menus of the window. `recent` is filled when it is about to be seen; `windows` holds the grey levels."""

    def __init__(self, bar: QMenuBar, actions: ActionSet) -> None:
        self.by_name: dict[str, QMenu] = {}
        for name, title in MENUS.items():
            menu = bar.addMenu(tr(title))
            menu.setToolTipsVisible(True)
            menu.setObjectName(f"menu.{name}")
            self.by_name[name] = menu
        self.recent = QMenu(tr("Open recent"), self.by_name["file"])
        self.windows = QMenu(tr("Brightness and contrast"), self.by_name["view"])
        self.windows.setToolTipsVisible(True)
        for action in ACTIONS:
            if action.menu:
                self._add(action.id, actions)

    def _add(self, id_: str, actions: ActionSet) -> None:
        menu = self.by_name[BY_ID[id_].menu]
        if id_.startswith("window."):
            if self.windows.isEmpty():
                menu.addSeparator()
                menu.addMenu(self.windows)
            self.windows.addAction(actions[id_])
            return
        if id_ in _LINES:
            menu.addSeparator()
        menu.addAction(actions[id_])
        if id_ == "file.open_sample":
            menu.addMenu(self.recent)


def fill_recent(menu: QMenu, entries: list[RecentEntry], open_: Callable[[Path], None], forget: QAction) -> None:
    """The ten newest, missing ones greyed, and a way to empty the list."""
    menu.clear()
    for entry in entries:
        action = menu.addAction(entry.text.replace("&", "&&"))
        action.setEnabled(not entry.missing)
        action.setToolTip(tr("It is no longer there") if entry.missing else str(entry.path))
        action.triggered.connect(lambda _=False, path=entry.path: open_(path))
    if not entries:
        menu.addAction(tr("None yet")).setEnabled(False)
        return
    menu.addSeparator()
    menu.addAction(forget)


class ToolBar(QToolBar):
    """The buttons of `_BAR`; those of tools carry name and key letter, such as "Point (P)"."""

    def __init__(self, actions: ActionSet) -> None:
        super().__init__(tr("Toolbar"))
        self.setObjectName("toolbar")
        self.setMovable(False)
        self.setIconSize(QSize(22, 22))
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        self._actions = actions
        for number, group in enumerate(_BAR):
            if number:
                self.addSeparator()
            for id_ in group:
                self.addAction(actions[id_])
                self._dress(id_)
        self.show_keys()

    def _dress(self, id_: str) -> None:
        button = self.button(id_)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        if id_.startswith("tool."):
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)

    def button(self, id_: str) -> QToolButton:
        """The button of an action."""
        button = self.widgetForAction(self._actions[id_])
        assert isinstance(button, QToolButton)
        return button

    def show_keys(self) -> None:
        """Writes the keys in force on the tool buttons."""
        for group in _BAR:
            for id_ in group:
                button, keys = self.button(id_), self._actions.keys_text(id_)
                text = self._actions[id_].text().rstrip("…")
                button.setAccessibleName(text)
                if id_.startswith("tool."):
                    self._actions[id_].setIconText(f"{text} ({keys})" if keys else text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        super().resizeEvent(event)
        if event.oldSize().width() != event.size().width():
            self._fit()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        super().changeEvent(event)
        if event.type() in FONTS:
            QTimer.singleShot(0, self, self._fit)  # once the buttons have taken their letters, too

    def _fit(self) -> None:
        """Smaller letters below the tools where all buttons would not be seen."""
        tools = [self.button(f"tool.{tool}") for tool in TOOLS]
        fit_letters(self.font(), tools, lambda: self.sizeHint().width() <= self.width())


def context_menu(actions: ActionSet, parent: QMenuBar) -> QMenu:
    """What can be done in a view, for keyboard and pen."""
    menu = QMenu(parent)
    menu.setToolTipsVisible(True)
    for number, group in enumerate(CONTEXT_MENU):
        if number:
            menu.addSeparator()
        for id_ in group:
            menu.addAction(actions[id_])
    return menu
