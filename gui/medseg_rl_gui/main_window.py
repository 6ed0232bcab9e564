"""The window: menus, toolbar, views in the middle, panels at the sides, status bar. It holds no session and no image.

window = MainWindow(store, dialogs)
window.attach(controller)      # connects the actions by id, drops, closing
window.add_left("Labels", panel); window.add_right("refine", "Refine", panel)
window.show_case("case-1a2b3c4d"); window.views.show_model(model)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from PySide6.QtCore import QByteArray, QEvent, QPoint, Qt, QTimer, Signal
from PySide6.QtGui import (
    QAction,
    QCloseEvent,
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QGuiApplication,
    QKeyEvent,
    QShowEvent,
)
from PySide6.QtWidgets import QApplication, QMainWindow, QStackedWidget, QVBoxLayout, QWidget

from medseg_rl_gui import recent
from medseg_rl_gui.action_set import ActionSet, Handler
from medseg_rl_gui.banners import Banners
from medseg_rl_gui.case_panel import CasePanel
from medseg_rl_gui.dialogs import Dialogs
from medseg_rl_gui.four_up import Arrangement, FourUp
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.icons import APPLICATION, fit_letters, icon
from medseg_rl_gui.key_rules import belongs_to_focus, takes_text
from medseg_rl_gui.menus import Menus, ToolBar, context_menu, fill_recent
from medseg_rl_gui.preferences import Preferences, PreferenceStore
from medseg_rl_gui.side_panels import LeftSide, RightSide
from medseg_rl_gui.status_bar import StatusBar
from medseg_rl_gui.welcome import WelcomePage
from medseg_rl_gui.window_actions import WindowActions, bindings_of

SMALLEST = (1000, 640)


class Controller(Protocol):
    """What the window needs of whoever holds the session."""

    def handlers(self) -> Mapping[str, Handler]:
        """A function for each action that the window does not do itself, by id."""

    def open_paths(self, paths: Sequence[Path]) -> None:
        """Opens what was dropped, chosen from the recent files or named on the command line."""

    def recover(self) -> bool:
        """Offers what a crash has left; True when a case was opened."""

    def may_close(self) -> bool:
        """Asks, stops the worker and saves; False when the window is to stay."""


class MainWindow(QMainWindow):
    """`views`, `acts` (actions by id), `status`, `banners`, `dialogs` and `store` are for the controller to use.

    `preferences_changed`: the new `Preferences`, already stored. `case_shown`: whether there is a case now.
    """

    preferences_changed = Signal(object)
    case_shown = Signal(bool)

    def __init__(self, store: PreferenceStore, dialogs: Dialogs, *, surface: QWidget | None = None) -> None:
        super().__init__()
        self.store, self.dialogs = store, dialogs
        self.controller: Controller | None = None
        bindings, self.problems = bindings_of(store.current)
        self.acts = ActionSet(bindings, self)
        self.views = FourUp(surface if surface is not None else QWidget())
        self.banners, self.status = Banners(), StatusBar()
        self.welcome = WelcomePage(self.acts)
        self.left, self.right = LeftSide(), RightSide()
        self.window_actions = WindowActions(self)
        self.case_panel = CasePanel()
        self._build()
        self._connect()
        self._restore()
        self.show_case("")

    # --- how it is put together ---------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.setMinimumSize(*SMALLEST)
        self.setAcceptDrops(True)
        self.setWindowIcon(icon(APPLICATION))
        self.menus = Menus(self.menuBar(), self.acts)
        self.toolbar = ToolBar(self.acts)
        self.addToolBar(self.toolbar)
        self.addActions(list(self.acts.actions.values()))  # keys work where an action stands in no menu
        case = QWidget()
        self._case = QVBoxLayout(case)
        self._case.setContentsMargins(0, 0, 0, 0)
        self._case.setSpacing(2)
        self._case.addWidget(self.views, 1)
        self._pages = QStackedWidget()
        self._pages.addWidget(self.welcome)
        self._pages.addWidget(case)
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.banners)
        column.addWidget(self._pages, 1)
        self.setCentralWidget(centre)
        self.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, self.left)
        self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.right)
        self.setStatusBar(self.status)
        self.left.add(tr("Case"), self.case_panel, 0)
        self.menus.by_name["view"].addSeparator()
        for side in (self.left, self.right):
            self.menus.by_name["view"].addAction(side.toggleViewAction())

    def _connect(self) -> None:
        self._forget = QAction(tr("Forget all"), self)
        self._forget.triggered.connect(lambda: recent.forget_all(self.store))
        self.menus.recent.aboutToShow.connect(self._fill_recent)
        self.welcome.chosen.connect(lambda path: self.open_paths([path]))
        self.views.menu_requested.connect(lambda _, place: self._pop_menu(place))
        self.status.progress.cancelled.connect(lambda: self.acts.trigger("model.cancel"))
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._follow_system)
        self.acts.connect_all(self.window_actions.handlers())
        self.acts.connect_all({"view.context_menu": self.show_context_menu})

    def attach(self, controller: Controller) -> None:
        """Connects the actions by id; what the controller has goes before what the window does itself."""
        self.controller = controller
        self.acts.connect_all(controller.handlers())

    def add_left(self, title: str, panel: QWidget, stretch: int = 1) -> None:
        """A section on the left; they stand in the order in which they come."""
        self.left.add(title, panel, stretch)

    def add_right(self, name: str, title: str, panel: QWidget) -> None:
        """A tab on the right; they stand in the order in which they come."""
        self.right.add(name, title, panel)

    def set_proposal_bar(self, bar: QWidget) -> None:
        """The bar below the views."""
        self._case.addWidget(bar)

    # --- what it shows ------------------------------------------------------------------------------------------------

    def show_case(self, title: str) -> None:
        """The views with a case of that name, which holds no identifiers; the welcome page for an empty one."""
        changes = self._pages.currentIndex() != int(bool(title))
        self._pages.setCurrentIndex(int(bool(title)))
        self.setWindowTitle(f"{title} — MedSeg-RL" if title else "MedSeg-RL")
        self.welcome.show_recent(recent.entries(self.store))
        self.status.show_fields(bool(title))
        for side in (self.left, self.right):
            if changes or not title:  # else what the user has hidden stays hidden
                side.setVisible(bool(title) and not side.is_empty)
        if not title:
            self.case_panel.show_nothing()
            self.status.show_probe(None)
        self.case_shown.emit(bool(title))

    def show_preferences(self, preferences: Preferences) -> None:
        """Stores other preferences and takes them on: keys, colours, layout; the rest is for `preferences_changed`."""
        before = self.store.current
        self.store.put(preferences)
        if preferences.input != before.input:
            bindings, _ = bindings_of(preferences)
            self.acts.bind(bindings)
            self.toolbar.show_keys()
        if (preferences.view.theme, preferences.view.font_points) != (before.view.theme, before.view.font_points):
            self.window_actions.take_theme()
        if preferences.view.layout != before.view.layout:
            self.views.arrange(Arrangement(preferences.view.layout))
        self.welcome.show_recent(recent.entries(self.store))
        self.preferences_changed.emit(preferences)

    def _follow_system(self) -> None:
        self.window_actions.follow_system()

    def show_context_menu(self) -> None:
        """At the pointer in the active view, else in its middle."""
        view = self.views.active_view
        pointer = view.pointer_now()
        middle = view.canvas.rect().center()
        place = middle if pointer is None else QPoint(round(pointer.screen[0]), round(pointer.screen[1]))
        self._pop_menu(view.canvas.mapToGlobal(place))

    def _pop_menu(self, place: QPoint) -> None:
        menu = context_menu(self.acts, self.menuBar())
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.popup(place)

    def _fill_recent(self) -> None:
        fill_recent(self.menus.recent, recent.entries(self.store), lambda path: self.open_paths([path]), self._forget)

    # --- files --------------------------------------------------------------------------------------------------------

    def open_paths(self, paths: Sequence[Path]) -> None:
        """Hands files and folders to the controller."""
        if self.controller is not None and paths:
            self.controller.open_paths(list(paths))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        if self.controller is not None and _dropped(event):
            event.acceptProposedAction()
            self.status.say(tr("Drop to open"))

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:  # noqa: N802
        self.status.say("")
        super().dragLeaveEvent(event)

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        self.status.say("")
        paths = _dropped(event)
        if paths:
            event.acceptProposedAction()
            # Later: a dialog must not hold up the program that the files are dragged from.
            QTimer.singleShot(0, self, lambda: self.open_paths(paths))

    # --- keys ---------------------------------------------------------------------------------------------------------

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            if belongs_to_focus(event, QApplication.focusWidget()):
                event.accept()
                return True
        elif event.type() == QEvent.Type.WindowDeactivate:
            self.acts.release_all()
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        if takes_text(QApplication.focusWidget()):
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape):
                self.views.active_view.canvas.setFocus()  # the field is done: letters are tools again
        elif not self.acts.key_down(event):
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        if not self.acts.key_up(event):
            super().keyReleaseEvent(event)

    # --- how it was left ----------------------------------------------------------------------------------------------

    def _restore(self) -> None:
        left = self.store.current.window
        if not (left.geometry and self.restoreGeometry(QByteArray.fromBase64(left.geometry.encode()))):
            self.resize(1440, 900)
        self.views.arrange(Arrangement(self.store.current.view.layout))

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        super().showEvent(event)
        fit_letters(self)

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        if self.controller is not None and not self.controller.may_close():
            event.ignore()
            return
        self.status.quiet()
        self.acts.release_all()
        self.window_actions.keep_geometry()
        event.accept()


def _dropped(event: QDropEvent) -> list[Path]:
    """The files and folders of a drop."""
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
