"""The window: every action fires by key and menu, text fields keep letters, drops are opened, geometry is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QCoreApplication, QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QAction, QDropEvent, QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QLineEdit, QListWidget, QMenu, QWidget

from medseg_rl.volume import Volume
from medseg_rl_gui import window_actions
from medseg_rl_gui.actions import ACTIONS, BY_ID, PRESETS, REASONS, Preset
from medseg_rl_gui.app import tell_problems
from medseg_rl_gui.dialogs import Answer, ScriptedDialogs
from medseg_rl_gui.main_window import MainWindow
from medseg_rl_gui.preferences import Preferences, PreferenceStore
from medseg_rl_gui.preferences_dialog import PreferencesDialog
from medseg_rl_gui.shortcuts import ShortcutEditor
from medseg_rl_gui.status_bar import Probe
from medseg_rl_gui.view_model import ViewModel

Picture = Callable[[QWidget, str], Path]
OWN = {"view.context_menu", "view.full_screen", "file.quit"}  # done by the window, and not to be done for each key


class Recorder:
    """A controller that only keeps what it was asked."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.opened: list[Path] = []
        self.stays = False

    def handlers(self) -> Mapping[str, Callable[..., object]]:
        return {action.id: self._keep(action.id) for action in ACTIONS if action.id not in OWN}

    def _keep(self, id_: str) -> Callable[..., object]:
        return lambda *given: self.said.append((id_, *given))

    def open_paths(self, paths: Sequence[Path]) -> None:
        self.opened += paths

    def may_close(self) -> bool:
        return not self.stays


@pytest.fixture
def controller() -> Recorder:
    return Recorder()


@pytest.fixture
def window(
    home: Path, dialogs: ScriptedDialogs, show: Callable[..., QWidget], controller: Recorder
) -> Iterator[MainWindow]:
    made = MainWindow(PreferenceStore.open(), dialogs)
    made.attach(controller)
    show(made, (1280, 800))
    _open_case(made)
    yield made
    controller.stays = False


def _open_case(window: MainWindow) -> None:
    image = Volume(np.zeros((8, 9, 10), np.int16), np.eye(4))
    window.show_case("case-1a2b3c4d")
    window.views.show_model(ViewModel(image=image).in_middle())
    window.acts.say_there(REASONS)
    window.views.active_view.canvas.setFocus()
    QCoreApplication.processEvents()


def _type(window: MainWindow, keys: str) -> None:
    QTest.keySequence(QApplication.focusWidget() or window, QKeySequence(keys))
    QCoreApplication.processEvents()


# --- actions ----------------------------------------------------------------------------------------------------------


def test_every_action_has_a_function_once_a_controller_is_there(window: MainWindow) -> None:
    assert window.acts.without_handler() == ()


def test_a_handler_for_an_action_that_is_none_is_a_defect(window: MainWindow) -> None:
    with pytest.raises(KeyError, match=r"tool\.hammer"):
        window.acts.connect_all({"tool.hammer": lambda: None})


@pytest.mark.parametrize("preset", PRESETS)
def test_every_key_of_every_preset_fires_its_action_and_no_other(
    preset: Preset, window: MainWindow, controller: Recorder
) -> None:
    window.show_preferences(window.store.current.changing("input", preset=preset))
    for context in ("view", "ranking", "lasso"):
        window.acts.enter(context)  # type: ignore[arg-type]
        for action in ACTIONS:
            if action.context != context or action.id in OWN:
                continue
            for keys in window.acts.bindings.of(action.id):
                controller.said.clear()
                _type(window, keys)
                assert [said[0] for said in controller.said] in ([action.id], [action.id] * 2), f"{keys} in {context}"


def test_ranking_keys_go_before_those_of_the_window_and_only_while_ranking(
    window: MainWindow, controller: Recorder
) -> None:
    _type(window, "1")
    assert controller.said == []
    window.acts.enter("ranking")
    _type(window, "Return")
    _type(window, "1")
    _type(window, "P")
    window.acts.enter("view")
    _type(window, "Return")
    assert [said[0] for said in controller.said] == ["rank.submit", "rank.1", "tool.point", "proposal.accept"]


def test_a_held_key_is_on_until_it_is_released(window: MainWindow, controller: Recorder) -> None:
    canvas = window.views.active_view.canvas
    QTest.keyPress(canvas, Qt.Key.Key_W)
    assert controller.said == [("view.window_hold", True)]
    QTest.keyRelease(canvas, Qt.Key.Key_W)
    assert controller.said == [("view.window_hold", True), ("view.window_hold", False)]


def test_a_held_key_ends_when_the_window_loses_the_keyboard(window: MainWindow, controller: Recorder) -> None:
    QTest.keyPress(window.views.active_view.canvas, Qt.Key.Key_Space)
    window.acts.release_all()
    assert controller.said == [("tool.momentary", True), ("tool.momentary", False)]


def test_letters_do_not_fire_in_a_text_field_but_commands_do(window: MainWindow, controller: Recorder) -> None:
    field = QLineEdit()
    window.add_right("edit", "Edit", field)
    window.show_case("case-1a2b3c4d")
    field.setFocus()
    QTest.keyClicks(field, "pdw 19")
    _type(window, "Return")
    assert field.text() == "pdw 19"
    assert controller.said == []
    field.setFocus()
    _type(window, "Ctrl+S")
    assert controller.said == [("file.save",)]


def test_enter_in_a_text_field_gives_the_keys_back_to_the_view(window: MainWindow, controller: Recorder) -> None:
    field = window.views.active_view.title.spin
    field.setFocus()
    QTest.keyClick(field, Qt.Key.Key_Return)
    assert window.views.active_view.canvas.hasFocus()
    _type(window, "P")
    assert controller.said == [("tool.point", True)]


def test_arrows_move_in_a_list_and_letters_still_choose_tools(window: MainWindow, controller: Recorder) -> None:
    labels = QListWidget()
    labels.addItems(["Liver", "Lesion"])
    labels.setCurrentRow(0)
    window.add_left("Labels", labels)
    labels.setFocus()
    _type(window, "Down")
    assert labels.currentRow() == 1
    _type(window, "D")
    assert controller.said == [("tool.brush", True)]


def test_one_tool_is_on_and_it_is_the_one_that_was_chosen(window: MainWindow) -> None:
    window.acts.choose("tool.point")
    window.acts.trigger("tool.brush")  # the recorder does not follow
    on = [action.id for action in ACTIONS if action.one_of == "tool" and window.acts[action.id].isChecked()]
    assert on == ["tool.point"]
    window.acts.choose("tool.brush")
    assert window.acts["tool.brush"].isChecked()
    assert not window.acts["tool.point"].isChecked()


def test_what_is_greyed_says_why(window: MainWindow, controller: Recorder) -> None:
    window.acts.say_there(["image"])
    assert window.acts["tool.point"].isEnabled()
    assert "nothing to undo" in window.acts["edit.undo"].toolTip()
    window.acts.set_reason("model.candidates", "This bundle has no candidates")
    window.acts.say_there(["image", "model"])
    assert window.acts["model.candidates"].statusTip() == "This bundle has no candidates"
    window.acts.set_reason("model.candidates", "")
    assert window.acts["model.candidates"].isEnabled()
    _type(window, "Ctrl+Z")
    assert controller.said == []


def test_menus_hold_every_action_of_theirs_and_no_other(window: MainWindow) -> None:
    found = set()
    for menu in (*window.menus.by_name.values(), window.menus.windows):
        found |= {action.objectName() for action in menu.actions() if action.objectName() in BY_ID}
    assert found == {action.id for action in ACTIONS if action.menu}


def test_tool_buttons_show_the_key_in_force(window: MainWindow) -> None:
    assert window.toolbar.button("tool.point").text() == "Point (P)"
    window.show_preferences(window.store.current.changing("input", preset="itksnap"))
    assert window.toolbar.button("tool.brush").text() == "Brush (Shift+D)"


def test_every_button_has_a_name_and_a_tab_stop(window: MainWindow) -> None:
    for button in window.findChildren(QAbstractButton):
        if button.objectName().startswith("qt_") or isinstance(button.parent(), QLineEdit):
            continue  # Qt's own: scroll arrows of tab bars, the clear button of a field
        assert button.accessibleName() or button.text(), button
        assert button.focusPolicy() & Qt.FocusPolicy.TabFocus, button.text()


# --- what the window does itself --------------------------------------------------------------------------------------


@pytest.fixture
def alone(dialogs: ScriptedDialogs, show: Callable[..., QWidget]) -> MainWindow:
    """A window without a controller."""
    made = MainWindow(PreferenceStore.open(), dialogs)
    show(made, (1280, 800))
    return made


def test_without_a_controller_what_it_does_not_do_is_greyed(alone: MainWindow) -> None:
    assert not alone.acts["file.open"].isEnabled()
    assert alone.acts["help.about"].isEnabled()


def test_the_notice_is_asked_once_and_must_be_ticked(alone: MainWindow, dialogs: ScriptedDialogs) -> None:
    dialogs.answers = ["quit", Answer("accept", False), Answer("accept", True)]
    assert [alone.window_actions.accept_notice() for _ in range(4)] == [False, False, True, True]
    assert len(dialogs.asked) == 3


def test_help_is_there(alone: MainWindow, dialogs: ScriptedDialogs) -> None:
    for id_ in ("help.guide", "help.sheet", "help.notice", "help.about"):
        alone.acts.trigger(id_)
    assert len(dialogs.asked) == 4


def test_preferences_are_taken_on_and_stored(alone: MainWindow, dialogs: ScriptedDialogs) -> None:
    def fill(dialog: PreferencesDialog) -> bool:
        dialog.show_preferences(
            Preferences().changing("view", theme="light", layout="3+1").changing("edit", guard_mm=9.0)
        )
        return True

    heard: list[Preferences] = []
    alone.preferences_changed.connect(heard.append)
    dialogs.answers = [fill]
    alone.acts.trigger("edit.preferences")
    assert PreferenceStore.open().current == heard[0] == alone.store.current
    assert alone.views.arrangement.value == "3+1"
    assert alone.palette().window().color().lightness() > 128
    alone.show_preferences(Preferences())
    assert alone.palette().window().color().lightness() < 128


def test_remapped_keys_are_in_force_and_stored(alone: MainWindow, dialogs: ScriptedDialogs) -> None:
    def remap(dialog: ShortcutEditor) -> bool:
        dialog.select("help.about")
        dialog.key.setKeySequence(QKeySequence("F8"))
        dialog.add.click()
        return True

    dialogs.answers = [remap]
    alone.acts.trigger("help.shortcuts")
    _type(alone, "F8")
    assert len(dialogs.asked) == 2
    assert PreferenceStore.open().current.input.changes == {"default": {"help.about": ("F8",)}}


def test_keys_that_cannot_be_are_said_at_the_start(dialogs: ScriptedDialogs, show: Callable[..., QWidget]) -> None:
    store = PreferenceStore.open()
    store.change("input", changes={"default": {"tool.brush": ("P",)}})
    made = MainWindow(store, dialogs)
    show(made)
    tell_problems(made)
    assert "“Point”" in made.banners.shown["preferences"].text.text()
    assert made.acts.bindings.of("tool.brush") == ("D",)


def test_layout_goes_round_and_is_kept(alone: MainWindow) -> None:
    _open_case(alone)
    _type(alone, "\\")
    assert alone.views.arrangement.value == "3+1"
    assert PreferenceStore.open().current.view.layout == "3+1"
    _type(alone, "M")
    assert alone.views.maximised is not None
    _type(alone, "M")
    assert alone.views.maximised is None


def test_full_screen_and_back(alone: MainWindow) -> None:
    _type(alone, "F11")
    assert alone.isFullScreen()
    _type(alone, "F11")
    assert not alone.isFullScreen()


def test_the_context_menu_is_there_for_the_keyboard(window: MainWindow, picture: Picture) -> None:
    _type(window, "Shift+F10")
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu)
    texts = [action.text() for action in menu.actions()]
    assert "Accept proposal" in texts
    picture(menu, "context_menu")
    menu.close()


def test_the_size_of_the_window_is_kept(
    alone: MainWindow, dialogs: ScriptedDialogs, show: Callable[..., QWidget]
) -> None:
    alone.resize(1000, 700)  # Qt holds what it restores within the screen, here of 800 pixels
    alone.close()
    again = MainWindow(PreferenceStore.open(), dialogs)
    size = (again.width(), again.height())
    again.deleteLater()
    assert size == (1000, 700)


# --- files ------------------------------------------------------------------------------------------------------------


def _drop(window: MainWindow, paths: Sequence[Path]) -> QDropEvent:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    event = QDropEvent(QPointF(50, 50), Qt.DropAction.CopyAction, data, left, none)
    window.dropEvent(event)
    QCoreApplication.processEvents()
    return event


def test_dropped_files_and_folders_are_opened_together(
    window: MainWindow, controller: Recorder, tmp_path: Path
) -> None:
    paths = [tmp_path, tmp_path / "a b ü.nii.gz"]
    _drop(window, paths)
    assert controller.opened == paths


def test_recent_files_are_opened_from_menu_and_welcome_page(
    window: MainWindow, controller: Recorder, tmp_path: Path, picture: Picture
) -> None:
    there = tmp_path / "there & then.nii"
    there.touch()
    window.store.change("files", recent=(str(there), "/none/gone.nii"))
    window.menus.recent.aboutToShow.emit()
    first, gone = window.menus.recent.actions()[:2]
    assert not gone.isEnabled()
    first.trigger()
    window.show_case("")
    buttons = [b for b in window.welcome.findChildren(QAbstractButton) if "there" in b.text()]
    buttons[-1].click()
    assert controller.opened == [there, there]
    picture(window, "welcome")
    window.menus.recent.actions()[-1].trigger()
    assert window.store.current.files.recent == ()


def test_the_window_stays_when_the_controller_says_so(window: MainWindow, controller: Recorder) -> None:
    controller.stays = True
    window.close()
    assert window.isVisible()


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_a_case_at_its_smallest_and_with_large_letters_is_whole(window: MainWindow, picture: Picture) -> None:
    _furnish(window)
    picture(window, "window_dark")
    window.show_preferences(window.store.current.changing("view", theme="light", font_points=16))
    picture(window, "window_light_16pt")
    window.resize(window.minimumSize())
    picture(window, "window_smallest")
    window.show_preferences(Preferences())
    assert window.status.notice.text() == "RESEARCH USE"


def _furnish(window: MainWindow) -> None:
    lines = ["298 images, 0.74 x 0.74 x 1.00 mm", "CT, 512 x 512 x 298", "no gaps, no tilt"]
    window.case_panel.show_case("case-1a2b3c4d", lines, "green")
    for title in ("Labels", "Clicks"):
        window.add_left(title, QListWidget())
    for title in ("Refine", "Edit", "Learn", "Quantities", "History"):
        window.add_right(title.lower(), title, QListWidget())
    window.show_case("case-1a2b3c4d")
    window.right.open("learn")
    window.acts.choose("tool.point")
    window.banners.show_banner(
        "autosave", "The autosave failed: the disk is full.", tone="error", buttons={"Try again": int}
    )
    window.status.show_probe(Probe((23.4, 11.0, 45.0), (210, 144, 122), -37.0, "HU", "Lesion"))
    window.status.show_device("CPU", 0.9)
    window.status.progress.begin("Refining")
    window.status.progress.show()


def test_the_status_bar_reads_position_voxel_value_and_label(window: MainWindow) -> None:
    status = window.status
    status.show_probe(Probe((23.4, -11.0, 45.0), (210, 144, 122), -37.0, "HU", "Lesion"))
    read = [w.text() for w in (status.position, status.voxel, status.value, status.label)]
    assert read == ["R 23.4 P 11.0 S 45.0 mm", "voxel 210, 144, 122", "-37 HU", "Lesion"]
    status.show_probe(Probe((-1.0, 0.0, 0.0)))
    assert [w.text() for w in (status.voxel, status.value, status.label)] == ["", "", ""]
    status.show_probe(None)
    assert status.position.text() == ""


def test_progress_shows_itself_only_for_what_takes_long_and_can_be_stopped(
    window: MainWindow, controller: Recorder, wait_until: Callable[..., None]
) -> None:
    progress = window.status.progress
    progress.begin("Refining")
    assert not progress.isVisible()
    wait_until(progress.isVisible)
    progress.advance(1, 3)
    progress.stop.click()
    assert controller.said == [("model.cancel",)]
    progress.end()
    assert not progress.isVisible()


def test_a_message_goes_away_and_a_lasting_one_stays(window: MainWindow, wait_until: Callable[..., None]) -> None:
    window.status.say("Label Liver is locked")
    window.status._forget.setInterval(1)
    window.status._forget.start()
    wait_until(lambda: window.status.message.text() == "")
    window.status.say("Only the CPU is used", lasting=True)
    assert not window.status._forget.isActive()


def test_a_long_message_has_the_room_of_what_is_under_the_pointer_until_it_goes(window: MainWindow) -> None:
    status = window.status
    status.show_probe(Probe((23.4, -11.0, 45.0), (210, 144, 122), -37.0, "HU", "Lesion"))
    status.say("Saved")
    assert status.position.isVisible()
    status.say("Not here: " + "the label is locked; make it the active label or click outside it. " * 2, lasting=True)
    QCoreApplication.processEvents()
    assert not status.label.isVisible()
    assert status.notice.isVisible()
    assert status.notice.text() == "RESEARCH USE"
    status._forgotten()
    assert status.position.isVisible()
    assert status.label.isVisible()


@pytest.mark.parametrize("points", [0, 14])
def test_tools_tabs_and_titles_are_whole_in_large_letters(window: MainWindow, points: int, wait_until: Any) -> None:
    _furnish(window)
    window.status.progress.end()
    window.show_preferences(window.store.current.changing("view", font_points=points))
    wait_until(lambda: window.toolbar.sizeHint().width() <= window.toolbar.width())
    wait_until(lambda: not window.toolbar.findChild(QWidget, "qt_toolbar_ext_button").isVisible())
    tabs = window.right.tabs.tabBar()
    wait_until(lambda: tabs.sizeHint().width() <= window.right.width())
    assert not any(arrow.isVisible() for arrow in tabs.findChildren(QAbstractButton))
    widths = {pane.width() for pane in (*window.views.views.values(), window.views.surface)}
    assert max(widths) - min(widths) <= 1
    window.views.toggle_maximised("coronal")
    QCoreApplication.processEvents()
    position = window.views.views["coronal"].title.position
    assert position.isVisible()
    assert position.width() >= position.fontMetrics().horizontalAdvance(position.text())
    window.show_preferences(Preferences())


def test_the_theme_follows_the_system_where_it_is_left_to_it(
    window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "light"
    monkeypatch.setattr(window_actions, "chosen_theme", lambda preference: said if preference == "system" else "dark")
    taken: list[bool] = []
    monkeypatch.setattr(window.window_actions, "take_theme", lambda: taken.append(True))
    window.store.put(window.store.current.changing("view", theme="dark"))
    QApplication.styleHints().colorSchemeChanged.emit(Qt.ColorScheme.Light)
    assert taken == []
    window.store.put(window.store.current.changing("view", theme="system"))
    QApplication.styleHints().colorSchemeChanged.emit(Qt.ColorScheme.Light)
    assert taken == [True]
    said = "dark"
    QApplication.styleHints().colorSchemeChanged.emit(Qt.ColorScheme.Dark)
    assert taken == [True], "it is as the system says already"


def test_icons_take_the_colours_of_another_theme(window: MainWindow) -> None:
    def brightest(id_: str) -> int:
        image = window.acts[id_].icon().pixmap(32, 32).toImage()
        colours = (image.pixelColor(x, y) for x in range(image.width()) for y in range(image.height()))
        return max((colour.lightness() for colour in colours if colour.alpha() == 255), default=0)

    shown = [action.id for action in ACTIONS if action.icon]
    assert all(brightest(id_) > 150 for id_ in shown)
    window.show_preferences(window.store.current.changing("view", theme="light"))
    assert all(brightest(id_) < 100 for id_ in shown)
    window.show_preferences(Preferences())
    assert all(brightest(id_) > 150 for id_ in shown)


def test_the_sides_are_there_with_a_case_alone_and_the_verdict_is_told_in_words(window: MainWindow) -> None:
    assert window.left.isVisible()
    assert not window.right.isVisible()  # nothing stands in it
    for verdict, word in (("green", "sound"), ("amber", "notes"), ("red", "not sound")):
        window.case_panel.show_case("case-1a2b3c4d", ["CT"], verdict)  # type: ignore[arg-type]
        assert word in window.case_panel.words.text()
    window.show_case("")
    assert not window.left.isVisible()
    assert window.case_panel.lines.text() == ""


def test_a_banner_stays_until_it_is_dealt_with(window: MainWindow) -> None:
    done: list[str] = []
    banner = window.banners.show_banner("a", "One", buttons={"Mend": lambda: done.append("mend")})
    banner.buttons[0].click()
    window.banners.show_banner("a", "Two", tone="error")
    assert [shown.text.text() for shown in window.banners.shown.values()] == ["Two"]
    window.banners.shown["a"].close_button.click()
    assert window.banners.shown == {}
    assert not window.banners.isVisible()
    assert done == ["mend"]


def test_actions_are_of_qt_and_found_by_id(window: MainWindow) -> None:
    assert all(isinstance(window.acts[action.id], QAction) for action in ACTIONS)
