"""The controller: puts the engine together, connects it to the window, opens and closes cases.

    controller = Controller(window)      # window.attach, signals of the views, worker
    controller.desk                      # what panels listen to
    controller.refining, .editing, .asking, .pointing, .views

Views emit what the user meant, the parts of the engine call the session, and the session never calls back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

from medseg_rl.imageio import patient_words
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.session import Overwrite
from medseg_rl_gui.asking import Asking
from medseg_rl_gui.case import CaseInHand
from medseg_rl_gui.desk import NOT_SAFE, Desk
from medseg_rl_gui.editing import Editing
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.learning.learning import Learning
from medseg_rl_gui.measuring import Measuring
from medseg_rl_gui.models import Models
from medseg_rl_gui.opening.file_actions import LABELS, FileActions
from medseg_rl_gui.opening.memory import give_back
from medseg_rl_gui.opening.starting import CaseStarter, OpenedCase
from medseg_rl_gui.opening.waiting import OnWorker, Waiting
from medseg_rl_gui.pointing import Pointing
from medseg_rl_gui.preferences import EditPreferences, Preferences
from medseg_rl_gui.refining import Refining
from medseg_rl_gui.starting import Starting
from medseg_rl_gui.surface_view import SurfaceView, make_on
from medseg_rl_gui.view_control import ViewControl
from medseg_rl_gui.view_model import Window
from medseg_rl_gui.worker import Rank, Task, Worker

if TYPE_CHECKING:
    from medseg_rl_gui.main_window import MainWindow

TICK_MS = 1000
MEGABYTE = 2**20


def overwrite_of(edit: EditPreferences) -> Overwrite:
    """What a write does where another open label lies."""
    policies: dict[str, Overwrite] = {"keep": "keep", "replace": "replace", "overlap": "overlap"}
    return policies[edit.overwrite]


class Controller(QObject):
    """Holds what is open. `models`, `store`, `waiting` and `root` are for tests; the user's own unless given."""

    def __init__(
        self,
        window: MainWindow,
        *,
        models: Models | None = None,
        feedback: FeedbackStore | None = None,
        waiting: Waiting | None = None,
        root: Path | None = None,
    ) -> None:
        super().__init__(window)
        preferences = window.store.current
        self.window, self._is_over = window, False
        self._taken = preferences  # the preferences in force
        self.worker = Worker(self)
        self.models = models or Models(preferences.model.bundle)
        self.feedback = feedback or FeedbackStore()
        self.desk = Desk(window, self.worker, self.models)
        self.refining = Refining(self.desk)
        self.editing = Editing(self.desk, self.refining)
        self.asking = Asking(self.desk, self.refining)
        self.learning = Learning(self.desk, self.asking, self.feedback)
        self.views = ViewControl(self.desk)
        self.pointing = Pointing(self.desk, self.refining, self.editing, self.views)
        self.files = self._file_actions(waiting or OnWorker(self.worker.submit_saving, window), root)
        self.measuring = Measuring(self.desk, self.files.opening.masks)
        self.starting = Starting(self.desk, self.refining, self.files.opening.masks)
        self._tick = QTimer(self)
        self._tick.setObjectName("autosave")
        self._tick.setInterval(TICK_MS)
        self._tick.timeout.connect(self._idle)
        self._connect()
        self._take_surface()
        window.attach(self)

    def _file_actions(self, waiting: Waiting, root: Path | None) -> FileActions:
        window = self.window
        starter = CaseStarter(
            self.models.refiner_for,
            submit=self.worker.submit_saving,
            root=root,
            undo_bytes=lambda: window.store.current.edit.undo_megabytes * MEGABYTE,
        )
        return FileActions(
            self,
            starter,
            waiting,
            dialogs=window.dialogs,
            store=window.store,
            banners=window.banners,
            say=window.status.say,
            view=lambda: window.views.active_view,
            window=lambda: window,
            root=root,
        )

    def _connect(self) -> None:
        views, reader = self.window.views, self.pointing.reader
        views.pressed.connect(reader.pressed)
        views.moved.connect(reader.moved)
        views.released.connect(reader.released)
        views.scrolled.connect(reader.scrolled)
        views.left.connect(lambda _: self.pointing.left())
        views.slice_chosen.connect(self.views.to_slice)
        self.worker.busy_changed.connect(self._show_busy)
        self.window.preferences_changed.connect(self._take_preferences)

    def _take_surface(self) -> None:
        """The 3D pane: it follows the view, its surfaces are made by the worker, a click in it moves the crosshair."""
        surface = self.window.views.surface
        if isinstance(surface, SurfaceView):
            self.desk.surface = surface
            make_on(surface, self.worker)
            surface.crosshair_moved.connect(self.desk.go_to)
            surface.picture_requested.connect(lambda: self.files.screenshot(surface))

    def _show_busy(self, task: Task | None) -> None:
        progress = self.window.status.progress
        if task is None:
            progress.end()
        else:
            progress.begin(task.what)

    # --- what the window needs ----------------------------------------------------------------------------------------

    def handlers(self) -> Mapping[str, Callable[..., object]]:
        """A function for each action that the window does not do itself, by id."""
        refining, editing, asking = self.refining, self.editing, self.asking
        return {
            **self.files.handlers(),
            **self.views.handlers(),
            **self.pointing.handlers(),
            **self.learning.handlers(),
            "edit.undo": self._undo,
            "edit.redo": editing.redo,
            "edit.fill_holes": editing.fill_holes,
            "edit.islands": editing.keep_largest,
            "proposal.accept": refining.accept,
            "proposal.discard": refining.discard,
            "click.delete": self._delete_click,
            "click.delete_last": refining.delete_last,
            "label.previous": lambda: editing.step_label(-1),
            "label.next": lambda: editing.step_label(1),
            "label.new": editing.add_label,
            "label.lock": editing.lock_active,
            "model.start": refining.start,
            "model.refine": refining.refine,
            "model.candidates": asking.candidates,
            "model.suggest_next": asking.next,
            "model.suggest_previous": asking.previous,
            "model.guard": refining.toggle_guard,
            "model.cancel": self.stop,
        }

    def _undo(self) -> None:
        if not self.pointing.reader.is_down:
            self.editing.undo()

    def _delete_click(self) -> None:
        """The one that is selected in the list."""
        case = self.desk.case
        if case is not None and case.selected_click is not None:
            number, case.selected_click = case.selected_click, None
            self.refining.delete_click(number)

    def select_click(self, number: int | None) -> None:
        """Shows which click of the list is meant, and goes there."""
        case = self.desk.case
        if case is None:
            return
        case.selected_click = number
        self.desk.show(clicks=case.click_marks())
        self.desk.say_there()
        if number is not None and number < len(case.session.world_clicks):
            self.desk.go_to(case.session.world_clicks[number].point_mm)

    def stop(self) -> None:
        """Stops whatever runs for this case."""
        stopped = [self.refining.stop(), self.editing.stop(), self.asking.stop()]
        running = self.worker.running
        if running is not None and running.what and not any(stopped):
            running.stop()
        self.desk.say(tr("Stopped; nothing was changed"))

    def open_paths(self, paths: Sequence[Path]) -> None:
        """Opens what was dropped, chosen from the recent files or named on the command line."""
        self.files.open_paths(paths)

    def recover(self) -> bool:
        """Offers what a crash has left."""
        return self.files.recover_at_start()

    def may_close(self) -> bool:
        """Asks, stops the worker and saves; False when the window is to stay."""
        if self._is_over:
            return True
        if not self.release():
            return False
        self._is_over = True
        self._tick.stop()
        if self.desk.surface is not None:
            self.desk.surface.shut_down()
        self.window.store.change("edit", brush_mm=self.desk.tools.radius_mm, brush_sphere=self.desk.tools.sphere)
        self.worker.close()
        return True

    # --- what the File menu needs -------------------------------------------------------------------------------------

    @property
    def case(self) -> OpenedCase | None:
        """What is open."""
        return None if self.desk.case is None else self.desk.case.opened

    def release(self) -> bool:
        """Closes what is open, asking what has to be asked; False when the user wants to stay. True with nothing."""
        case = self.desk.case
        if case is None:
            return True
        self.pointing.clear()
        self.stop_quietly()
        answer = self.files.letting_go()
        if answer == "stay":
            return False
        self._tick.stop()
        self._keep_window(case)
        case.note_view()
        case.finish()
        if answer == "keep" and case.opened.keeping is not None and case.opened.keeping.unsaved_steps:
            case.autosave()
        self.worker.finish_saving()
        self.desk.take(None)
        case.close(discard=answer == "discard")
        self.window.banners.put_away(NOT_SAFE)
        self.files.put_notices_away()
        QTimer.singleShot(0, self, give_back)  # once nothing here refers to the case any more
        return True

    def stop_quietly(self) -> None:
        """Stops what runs without a word."""
        for stop in (self.refining.stop, self.editing.stop, self.asking.stop):
            stop()

    def show(self, opened: OpenedCase) -> None:
        """Takes over a case; nothing is open."""
        preferences = self.window.store.current
        session = opened.session
        session.config = self.models.configured(session.image, session.config)
        case = CaseInHand(opened, preferences, submit=self.worker.submit_saving, store=self.feedback)
        if opened.keeping is None or not opened.keeping.sequence:
            self._first_choices(case, preferences)
        self.desk.take(case)
        self.views.show_switches()
        self.window.acts.choose(f"tool.{self.pointing.tool}")
        self.window.views.fit()
        self.window.status.show_device(self.models.device_text)
        self._show_patient()
        for warning in self.models.warnings(session.image)[:1]:
            self.desk.say(warning[:1].upper() + warning[1:])
        if opened.keeping is not None:
            self._tick.start()

    def _first_choices(self, case: CaseInHand, preferences: Preferences) -> None:
        """What a new case begins with; one that was begun before keeps what it had."""
        edit, session = preferences.edit, case.session
        session.config = replace(session.config, edit_radius_mm=edit.guard_mm if edit.guard else None)
        if not session.read_only:
            session.overwrite = overwrite_of(edit)

    def labels_changed(self, notices: Sequence[str]) -> None:
        """Labels came into the open session; `notices`: what the user should know."""
        self.desk.refresh()
        if notices:
            self.window.banners.show_banner(LABELS, "\n".join(notices), tone="warning")

    def _keep_window(self, case: CaseInHand) -> None:
        """Brightness and contrast of this case, for the next of its modality."""
        view, store = self.window.store.current.view, self.window.store
        shown: Window = case.view.window
        if view.keep_window:
            store.change("view", windows={**view.windows, case.modality or "unknown": (shown.width, shown.level)})

    # --- now and then -------------------------------------------------------------------------------------------------

    def _idle(self) -> None:
        """Once a second: notes the view and autosaves, never in the middle of a stroke."""
        case = self.desk.case
        if case is not None and not self.pointing.reader.is_down:
            case.tick(self.window.store.current.files.autosave_seconds)
            self.desk.warn_of(case)

    def _take_preferences(self, preferences: Preferences) -> None:
        if preferences.model.bundle != self.models.wanted:
            self.use_model(preferences.model.bundle)
        before, self._taken = self._taken, preferences
        view, edit = preferences.view, preferences.edit
        if view.convention != before.view.convention:
            self.views.set_convention("neurological" if view.convention == "neurological" else "radiological")
        self.views.take_looks(before.view, view)
        if (edit.brush_mm, edit.brush_sphere) != (before.edit.brush_mm, before.edit.brush_sphere):
            self.desk.set_tools(radius_mm=edit.brush_mm, sphere=edit.brush_sphere)
        if view.hide_identifiers != before.view.hide_identifiers:
            self._show_patient()
        if self.desk.case is not None and edit != before.edit:
            self._take_edit(before.edit, edit)

    def _take_edit(self, before: EditPreferences, edit: EditPreferences) -> None:
        """What of the preferences holds in an open case as well: a guard that is on, and what a write may take."""
        guard = self.desk.session.config.edit_radius_mm
        if edit.guard_mm != before.guard_mm and guard is not None:
            self.refining.set_guard(edit.guard_mm)
        if edit.overwrite != before.overwrite and not self.desk.session.read_only:
            self.editing.set_overwrite(overwrite_of(edit))

    def _show_patient(self) -> None:
        """Name, ID and dates in the case panel, where the user wants to see them: read from the image's own files."""
        case, panel = self.desk.case, self.window.case_panel
        panel.show_patient({})
        if case is None or self.window.store.current.view.hide_identifiers:
            return

        def show(words: Mapping[str, str]) -> None:
            if self.desk.case is case and not self.window.store.current.view.hide_identifiers:
                panel.show_patient(words)

        image = case.session.image
        self.worker.submit(lambda task: patient_words(image), rank=Rank.QUANTITIES, done=show)

    def use_model(self, name: str) -> None:
        """Another bundle, by name or folder; empty for the one that fits best."""
        self.stop_quietly()
        self.models.wanted = name
        self.models.look_again()
        if self.desk.case is not None:
            session = self.desk.session
            session.use_refiner(self.models.refiner_for(session.image))
            session.config = self.models.configured(session.image, session.config)
            for warning in self.models.warnings(session.image):
                self.desk.say(warning[:1].upper() + warning[1:])
        self.desk.say_there()
        self.desk.settings_changed.emit()
