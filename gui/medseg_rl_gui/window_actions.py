"""The actions that the window does itself: layout, full screen, preferences, shortcuts, help. None needs a session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QApplication

from medseg_rl_gui.about import NOTICE_VERSION, GuideDialog, about_question, notice_question
from medseg_rl_gui.action_set import Handler
from medseg_rl_gui.actions import PRESETS, Preset
from medseg_rl_gui.bindings import Bindings
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.icons import fit_letters, redress
from medseg_rl_gui.preferences import Preferences
from medseg_rl_gui.preferences_dialog import PreferencesDialog
from medseg_rl_gui.shortcuts import ShortcutEditor, ShortcutSheet
from medseg_rl_gui.theme import apply_theme, chosen_theme, current_theme

if TYPE_CHECKING:
    from medseg_rl_gui.main_window import MainWindow


def bindings_of(preferences: Preferences) -> tuple[Bindings, list[str]]:
    """The keys in force; and what of the user's changes cannot be, in words."""
    return _bindings(preferences, _preset(preferences.input.preset)).checked()


def _bindings(preferences: Preferences, preset: Preset) -> Bindings:
    return Bindings(preset, preferences.input.changes.get(preset, {}))


def _preset(name: str) -> Preset:
    return next(preset for preset in PRESETS if preset == name)


class WindowActions:
    """Handlers by id, for `ActionSet.connect_all`."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window

    def handlers(self) -> Mapping[str, Handler]:
        """All of them."""
        window = self._window
        return {
            "view.layout": self._next_layout,
            "view.maximise": lambda: window.views.toggle_maximised(),
            "view.full_screen": self._full_screen,
            "edit.preferences": self.edit_preferences,
            "file.quit": lambda: window.close(),
            "help.guide": lambda: window.dialogs.run(GuideDialog(window)),
            "help.sheet": lambda: window.dialogs.run(ShortcutSheet(window.acts.bindings, window)),
            "help.shortcuts": self.edit_shortcuts,
            "help.notice": lambda: window.dialogs.ask(notice_question(first=False)),
            "help.about": lambda: window.dialogs.ask(about_question()),
        }

    def accept_notice(self) -> bool:
        """Whether the research-use notice was ticked, now or before; asks at the first start only."""
        window = self._window
        if window.store.current.window.notice >= NOTICE_VERSION:
            return True
        answer = window.dialogs.ask(notice_question(first=True))
        if answer.choice != "accept" or not answer.ticked:
            return False
        window.store.change("window", notice=NOTICE_VERSION)
        return True

    def edit_preferences(self) -> None:
        """The dialog of preferences."""
        dialog = PreferencesDialog(self._window.store.current, self._window)
        if self._window.dialogs.run(dialog):
            self._window.show_preferences(dialog.preferences())

    def edit_shortcuts(self) -> None:
        """The dialog of keys and gestures."""
        window = self._window
        current = window.store.current
        dialog = ShortcutEditor(window.acts.bindings, window)
        dialog.take_changes({preset: _bindings(current, preset).checked()[0] for preset in PRESETS})
        if window.dialogs.run(dialog):
            changes = {name: table for name, table in dialog.all_changes().items() if table}
            window.show_preferences(current.changing("input", preset=dialog.bindings.preset, changes=changes))

    def take_theme(self) -> None:
        """Gives the application the colours and letter size of the preferences, and all icons their colour."""
        application = QApplication.instance()
        assert isinstance(application, QApplication)
        window, view = self._window, self._window.store.current.view
        apply_theme(application, view.theme, view.font_points)
        window.acts.bind(window.acts.bindings)
        redress(window)
        fit_letters(window)
        window.banners.dress()
        window.case_panel.dress()

    def follow_system(self) -> None:
        """The system went dark or light: so does the window, where the preferences leave it to the system."""
        if chosen_theme(self._window.store.current.view.theme) != current_theme():
            self.take_theme()

    def keep_geometry(self) -> None:
        """Size and place of the window, for the next start."""
        geometry = self._window.saveGeometry().toBase64().toStdString()
        try:
            self._window.store.change("window", geometry=geometry)
        except OSError as error:
            self._window.status.say(tr("The preferences cannot be written: {why}").format(why=error.strerror))

    def _next_layout(self) -> None:
        window = self._window
        window.views.cycle()
        window.store.change("view", layout=window.views.arrangement.value)

    def _full_screen(self, on: bool) -> None:
        if on:
            self._window.showFullScreen()
        else:
            self._window.showNormal()
