"""What is measured in the window, each through its own events: from the event to the pixels, or to the result.

Every function yields seconds, one a repetition. Times are wall clock on the main thread; nothing is taken out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QCoreApplication, QEvent, QObject, QPoint, QPointF, Qt, QTimer
from PySide6.QtGui import QMouseEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from medseg_rl.editing import FillHoles, Islands, Margin, Operation
from medseg_rl_gui.slice_geometry import Plane, Point
from medseg_rl_gui.surface_view import SurfaceView
from tests.gui.story_hand import LEFT, NONE
from tests.gui.story_program import Program

Seconds = Iterator[float]
PATIENCE = 120.0
BUTTONS = Qt.MouseButton
ALL = ("axial", "coronal", "sagittal")


class PaintWatch(QObject):
    """Counts the paintings of some widgets."""

    def __init__(self, widgets: list[QWidget]) -> None:
        super().__init__()
        self.paintings = dict.fromkeys(widgets, 0)
        for widget in widgets:
            widget.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        if event.type() == QEvent.Type.Paint and isinstance(watched, QWidget):
            self.paintings[watched] = self.paintings.get(watched, 0) + 1
        return False


class Measures:
    """One program with a large case open in it. `repetitions`: of what is quick; slow work is done fewer times."""

    def __init__(self, program: Program, repetitions: int) -> None:
        self.program, self.hand, self.repetitions = program, program.hand, repetitions
        self.canvases = {plane: program.hand.view(plane).canvas for plane in ("axial", "coronal", "sagittal")}
        self.watch = PaintWatch(list(self.canvases.values()))
        self.few = max(5, repetitions // 6)
        self.cpu: dict[str, list[float]] = {}

    @property
    def surface(self) -> SurfaceView:
        """The 3D pane."""
        view = self.program.window.views.surface
        assert isinstance(view, SurfaceView)
        return view

    # --- how it is timed ----------------------------------------------------------------------------------------------

    def until_painted(self, act: Callable[[], object], planes: tuple[str, ...], name: str) -> float:
        """From the event to the end of the paintings that it leads to in all of those views.

        What of it the main thread computed goes to `cpu` under its name: the rest is other programs and the worker.
        """
        before = {plane: self.watch.paintings[self.canvases[plane]] for plane in planes}
        began, computed = time.perf_counter(), time.thread_time()
        act()
        while any(self.watch.paintings[self.canvases[plane]] == before[plane] for plane in planes):
            QCoreApplication.processEvents()
            if time.perf_counter() - began > PATIENCE:
                raise RuntimeError(f"{planes} were never painted")
        self.cpu.setdefault(name, []).append(time.thread_time() - computed)
        return time.perf_counter() - began

    def until(self, true: Callable[[], bool], began: float, what: str) -> float:
        """From a moment until something is true, the window at work meanwhile."""
        while not true():
            QCoreApplication.processEvents()
            time.sleep(0.0005)
            if time.perf_counter() - began > PATIENCE:
                raise RuntimeError(f"waited too long for {what}")
        return time.perf_counter() - began

    def send(self, plane: str, kind: QEvent.Type, at: QPoint, button: BUTTONS, held: BUTTONS, keys: Any = NONE) -> None:
        """A mouse event to a view; Qt's own, so that the way through the program is the user's."""
        canvas = self.canvases[plane]
        place = QPointF(at)
        event = QMouseEvent(kind, place, QPointF(canvas.mapToGlobal(at)), button, held, keys)
        QApplication.sendEvent(canvas, event)

    def move(self, plane: str, at: QPoint, held: BUTTONS = BUTTONS.NoButton, keys: Any = NONE) -> None:
        self.send(plane, QEvent.Type.MouseMove, at, BUTTONS.NoButton, held, keys)

    def settle(self) -> None:
        self.program.settled()

    def rest(self) -> None:
        """Until all labels have their surfaces in 3D: what follows is measured without that work beside it."""
        plan, canvas = self.surface.plan, self.surface.canvas
        self.program.wait(lambda: not plan.is_waiting and not plan.is_stale, "the surfaces")
        self.program.wait(lambda: canvas.scene is not None and bool(canvas.scene.keys), "the first surface")
        self.settle()

    def take(self, tool: str) -> None:
        """Takes a tool into the hand, by its key; the key of the one in hand would put it away."""
        if self.program.controller.pointing.tool != tool:
            self.hand.key({"navigate": "N", "point": "P", "brush": "D"}[tool])

    def path(self, plane: str, steps: int) -> list[QPoint]:
        """Places along a circle in a view."""
        rect = self.canvases[plane].rect()
        reach = 0.2 * min(rect.width(), rect.height())
        angles = np.linspace(0, 2 * np.pi, steps, endpoint=False)
        return [rect.center() + QPoint(round(reach * np.cos(a)), round(reach * np.sin(a))) for a in angles]

    # --- 2D -----------------------------------------------------------------------------------------------------------

    def scroll(self, plane: Plane) -> Seconds:
        for number in range(self.repetitions):
            notch = 1 if (number // 10) % 2 else -1
            yield self.until_painted(partial(self.hand.wheel, plane, notch), (plane,), f"scroll {plane}")

    def window_drag(self) -> Seconds:
        """Hold W and drag: all three views get another window."""
        start = self.canvases["axial"].rect().center()
        self._hold_w(True)
        self.send("axial", QEvent.Type.MouseButtonPress, start, LEFT, LEFT)
        self.move("axial", start + QPoint(9, 0), LEFT)
        for place in self.path("axial", self.repetitions):
            yield self.until_painted(partial(self.move, "axial", place, LEFT), ALL, "window")
        self.send("axial", QEvent.Type.MouseButtonRelease, start, LEFT, BUTTONS.NoButton)
        self._hold_w(False)
        self.hand.key("Alt+1")

    def _hold_w(self, down: bool) -> None:
        target = QApplication.focusWidget() or self.program.window
        (QTest.keyPress if down else QTest.keyRelease)(target, Qt.Key.Key_W)
        QCoreApplication.processEvents()

    def crosshair(self) -> Seconds:
        """Shift and move in the axial view: the two others jump."""
        for place in self.path("axial", self.repetitions):
            yield self.until_painted(
                partial(self.move, "axial", place, keys=Qt.KeyboardModifier.ShiftModifier), ALL, "crosshair"
            )
        self.move("axial", self.canvases["axial"].rect().center())

    def brush(self, found: dict[str, list[float]]) -> None:
        """Samples of strokes, and what the release takes; each stroke is undone."""
        self.take("brush")
        found["brush"], found["release"] = [], []
        for _ in range(self.few):
            places = self.path("axial", self.repetitions)
            acts = [partial(self.send, "axial", QEvent.Type.MouseButtonPress, places[0], LEFT, LEFT)]
            acts += [partial(self.move, "axial", place, LEFT) for place in places[1:]]
            found["brush"] += [self.until_painted(act, ("axial",), "brush") for act in acts]
            let_go = partial(self.send, "axial", QEvent.Type.MouseButtonRelease, places[-1], LEFT, BUTTONS.NoButton)
            found["release"].append(self.until_painted(let_go, ("axial",), "release"))
            self.settle()
            self.hand.key("Ctrl+Z")
        self.take("navigate")

    # --- the model ----------------------------------------------------------------------------------------------------

    def clicks(self, places: list[Point], found: dict[str, list[float]]) -> None:
        """Each click on an empty proposal: to the first preview, to the result, and the longest stall meanwhile."""
        self.take("point")
        for name in ("preview", "result", "stall"):
            found[name] = []
        for place in places:
            self.hand.go_to("axial", place)
            self._click(place, found)
            self.hand.key("Esc")

    def clicks_on(self, mask: npt.NDArray[np.bool_], places: list[Point], found: dict[str, list[float]]) -> None:
        """Each click on what is proposed already: an organ from a mask and the clicks before it."""
        own: dict[str, list[float]] = {"preview": [], "result": [], "stall": []}
        before = len(self.cpu.get("stall", []))
        self.take("point")
        self.program.controller.refining.start_from(lambda: mask, "Organ")
        self.rest()
        for place in places:
            self.hand.go_to("axial", place)
            self._click(place, own)
            self.rest()
        self.hand.key("Esc")
        found["stall organ"] = own["stall"]
        self.cpu["stall organ"] = self.cpu["stall"][before:]
        del self.cpu["stall"][before:]

    def _click(self, place: Point, found: dict[str, list[float]]) -> None:
        refining, desk = self.program.controller.refining, self.program.controller.desk
        told: list[float] = []

        def hear(counts: object) -> None:
            if counts is not None:  # not the mere mark of the click
                told.append(time.perf_counter())

        desk.counts_changed.connect(hear)
        beat = Heartbeat()
        at = self.hand.at("axial", place)
        began = time.perf_counter()
        self.send("axial", QEvent.Type.MouseButtonPress, at, LEFT, LEFT)
        self.send("axial", QEvent.Type.MouseButtonRelease, at, LEFT, BUTTONS.NoButton)
        self.until(lambda: not refining.is_running, began, "the click")
        QCoreApplication.processEvents()
        found["result"].append(time.perf_counter() - began)
        found["stall"].append(beat.stop())
        self.cpu.setdefault("stall", []).append(beat.computed)
        desk.counts_changed.disconnect(hear)
        if self.program.session.proposal is None:
            raise RuntimeError("the click led to no proposal")
        found["preview"].append(told[0] - began)

    def candidates(self, place: Point) -> Seconds:
        self._propose(place)
        ranking = self.program.controller.learning.ranking
        for _ in range(self.few):
            began = time.perf_counter()
            self.program.window.acts.trigger("model.candidates")
            yield self.until(lambda: ranking.is_open, began, "candidates")
            ranking.leave()
            self.settle()
        self.hand.key("Esc")

    def suggestions(self, place: Point) -> Seconds:
        self._propose(place)
        asking = self.program.controller.asking
        for _ in range(self.few):
            asking.start_over()
            told: list[object] = []
            asking.suggestion_changed.connect(hear := told.append)
            began = time.perf_counter()
            self.program.window.acts.trigger("model.suggest_next")
            yield self.until(partial(bool, told), began, "a suggestion")
            asking.suggestion_changed.disconnect(hear)
            self.settle()
        self.hand.key("Esc")

    def _propose(self, place: Point) -> None:
        self.take("point")
        self.hand.go_to("axial", place)
        self.hand.click("axial", place)
        if self.program.session.proposal is None:
            raise RuntimeError("the click led to no proposal")

    # --- edits --------------------------------------------------------------------------------------------------------

    def edit(self, operation: Operation, found: dict[str, list[float]], name: str) -> None:
        """On the worker, to the pixels; then undone, redone and undone again, which is measured as well."""
        for _ in range(self.few):
            began = time.perf_counter()
            entries = len(self.program.session.history.undo_names)
            if not self.program.controller.editing.run(operation):
                raise RuntimeError(f"{name} may not run")
            took = self.until(lambda: not self.program.controller.desk.jobs, began, name)
            QCoreApplication.processEvents()
            found.setdefault(name, []).append(took)
            if len(self.program.session.history.undo_names) == entries:
                raise RuntimeError(f"{name} changed nothing")
            for keys, kind in (("edit.undo", "undo"), ("edit.redo", "redo"), ("edit.undo", "undo")):
                found.setdefault(kind, []).append(
                    self.until_painted(partial(self.program.window.acts.trigger, keys), ("axial",), kind)
                )
                self.settle()

    def edits(self, found: dict[str, list[float]]) -> None:
        self.edit(FillHoles(), found, "fill holes")
        self.edit(Margin(5.0), found, "margin")
        self._speckle()
        self.edit(Islands("keep_largest"), found, "islands")

    def _speckle(self) -> None:
        """A second island, by the brush, far from the organ."""
        self.take("brush")
        shape = self.program.session.image.shape
        far = self.program.session.image.index_to_world((round(shape[0] * 0.7), round(shape[1] * 0.6), shape[2] // 2))
        place: Point = (float(far[0]), float(far[1]), float(far[2]))
        self.hand.go_to("axial", place)
        self.hand.stroke("axial", [place])
        self.take("navigate")

    # --- files --------------------------------------------------------------------------------------------------------

    def save(self, folder: Path, found: dict[str, list[float]]) -> None:
        """Session by Ctrl+S and label map by Ctrl+E, each written anew."""
        dialogs, hand = self.program.dialogs, self.hand
        for number in range(self.few):
            target = folder / f"saved-{number}.medseg"
            dialogs.answers = ["usual", target]
            found.setdefault("session", []).append(timed(lambda: hand.key("Ctrl+Shift+S")))
            require(target)
            target = folder / f"labels-{number}.nii.gz"
            dialogs.answers = [choosing("nifti"), target]
            found.setdefault("label map", []).append(timed(lambda: hand.key("Ctrl+E")))
            require(target)

    # --- 3D -----------------------------------------------------------------------------------------------------------

    def surfaces(self, found: dict[str, list[float]]) -> None:
        """After a stroke: the surface of the organ; frames at full and at half resolution."""
        view = self.surface
        canvas = view.canvas
        self.rest()
        self.program.rest(1.0)
        self.take("brush")
        beside = self._beside_the_organ()
        for _ in range(self.few):
            began = time.perf_counter()
            self.send("axial", QEvent.Type.MouseButtonPress, beside, LEFT, LEFT)
            self.send("axial", QEvent.Type.MouseButtonRelease, beside, LEFT, BUTTONS.NoButton)
            if not view.plan.is_stale:
                raise RuntimeError("the stroke changed no surface")
            took = self.until(lambda: not view.plan.is_waiting and not view.plan.is_stale, began, "the surface")
            found.setdefault("surface", []).append(took)
            self.settle()
            self.hand.key("Ctrl+Z")
            self.program.rest(0.6)
        self.take("navigate")
        for _ in range(self.few):
            found.setdefault("frame", []).append(self._frame(lambda: canvas.see_all()))
        self._drag_3d(found)

    def _beside_the_organ(self) -> QPoint:
        """Where a stroke adds to it, on the screen; its slice is shown then."""
        image = self.program.session.image
        x, y, z = (float(v) for v in image.index_to_world(np.array([0.62, 0.45, 0.5]) * image.shape))
        self.hand.go_to("axial", (x, y, z))
        return self.hand.at("axial", (x, y, z))

    def _frame(self, act: Callable[[], object]) -> float:
        canvas = self.surface.canvas
        frames, began = canvas.frames, time.perf_counter()
        act()
        return self.until(lambda: canvas.frames > frames, began, "a frame")

    def _drag_3d(self, found: dict[str, list[float]]) -> None:
        canvas = self.surface.canvas
        middle = canvas.rect().center()

        def send(kind: QEvent.Type, at: QPoint, button: BUTTONS, held: BUTTONS) -> None:
            QApplication.sendEvent(
                canvas, QMouseEvent(kind, QPointF(at), QPointF(canvas.mapToGlobal(at)), button, held, NONE)
            )

        send(QEvent.Type.MouseButtonPress, middle, LEFT, LEFT)
        for number in range(self.repetitions):
            at = middle + QPoint(8 + 3 * number, 2 * number)
            found.setdefault("drag", []).append(
                self._frame(partial(send, QEvent.Type.MouseMove, at, BUTTONS.NoButton, LEFT))
            )
        send(QEvent.Type.MouseButtonRelease, middle, LEFT, BUTTONS.NoButton)
        self.program.rest(0.5)


class Heartbeat:
    """The longest time for which the main thread did not come round, seconds, and what it computed in one go."""

    def __init__(self) -> None:
        self.longest, self._last = 0.0, time.perf_counter()
        self.computed, self._spent = 0.0, time.thread_time()
        self._timer = QTimer()
        self._timer.setInterval(1)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def _beat(self) -> None:
        now, spent = time.perf_counter(), time.thread_time()
        self.longest, self._last = max(self.longest, now - self._last), now
        self.computed, self._spent = max(self.computed, spent - self._spent), spent

    def stop(self) -> float:
        self._beat()
        self._timer.stop()
        return self.longest


def timed(act: Callable[[], object]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def require(path: Path) -> None:
    """Raises RuntimeError where a file was not written."""
    if not path.exists():
        raise RuntimeError(f"{path} was not written")


def choosing(name: str) -> Callable[[Any], bool]:
    """The answer to the export dialog that chooses a format by its id."""

    def choose(dialog: Any) -> bool:
        dialog.choose_format(name)
        return True

    return choose
