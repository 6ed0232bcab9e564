"""The 3D pane: a surface for each label, made only where voxels changed and while the pane is seen. Loads VTK late.

Holds no session: it says which surfaces it wants, somebody makes them on the worker (`make_on`) and hands them back.
Without VTK or OpenGL it says what is missing. A click moves the crosshair and is never a correction.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer, Signal
from PySide6.QtGui import QHideEvent, QImage, QShowEvent
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from medseg_rl.volume import Box
from medseg_rl_gui.surface_canvas import SurfaceCanvas
from medseg_rl_gui.surface_meshes import SurfaceJob, Surfaces
from medseg_rl_gui.surface_plan import SurfacePlan
from medseg_rl_gui.surface_probe import Drawing
from medseg_rl_gui.surface_title import SurfaceTitle
from medseg_rl_gui.surface_trial import Trial, says
from medseg_rl_gui.view_model import ViewModel
from medseg_rl_gui.worker import Rank, Task, Worker, reason_of

if TYPE_CHECKING:
    from medseg_rl_gui.surface_scene import SurfaceScene

AFTER_MS = 200  # of quiet, so that one stroke or one row of previews makes surfaces once
TURNING_SECONDS = 0.12  # after a slice was turned: no new surface is drawn meanwhile, that would hold up the next slice
GLASSY = 0.6  # opacity of a label as its open proposal would make it


class SurfaceView(QFrame):
    """The 3D pane. `show_model` is the way in; `take`, `failed` or `dropped` answer `wanted`.

    `wanted`: a `SurfaceJob` to be run on the worker. `crosshair_moved`: RAS+ mm (x, y, z), by a click on a surface.
    `picture_requested`: the user wants `picture()` saved. `maximise_requested`: by a double-click on the title.
    """

    wanted = Signal(object)
    crosshair_moved = Signal(object)
    picture_requested = Signal()
    maximise_requested = Signal()

    def __init__(self, parent: QWidget | None = None, trial: Trial | None = None) -> None:
        super().__init__(parent)
        self.plan = SurfacePlan()
        self.title, self.canvas = SurfaceTitle(), SurfaceCanvas()
        self.canvas.setAccessibleName(self.tr("Surfaces of the labels in 3D"))
        self._trial = trial or Trial(self)
        self._drawing: Drawing | None = None
        self._problem = ""
        self._placed: set[int] = set()  # labels whose surface has been in view
        self._turned_until = 0.0
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(AFTER_MS)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.title)
        column.addWidget(self.canvas, 1)
        self._connect()
        self._show_state()

    def _connect(self) -> None:
        self._soon.timeout.connect(self._consider)
        self._trial.finished.connect(self._tried)
        self.canvas.clicked.connect(self.crosshair_moved)
        self.canvas.turned.connect(self._show_state)
        self.title.side_chosen.connect(self.canvas.look_from)
        self.title.reset_chosen.connect(self.canvas.see_all)
        self.title.picture_chosen.connect(self.picture_requested)
        self.title.maximise_requested.connect(self.maximise_requested)

    # --- what is shown ------------------------------------------------------------------------------------------------

    def show_model(self, model: ViewModel, changed: Box | None = None) -> None:
        """Follows another model; `changed` as in `SliceView`. Nothing is made before it is seen and all was quiet."""
        before = self.plan.model
        if before.slices != model.slices:
            self._turned_until = time.monotonic() + TURNING_SECONDS
        if self.plan.see(model, changed):
            self._clear()
        self.canvas.show_crosshair(model.crosshair if model.crosshair_shown else None)
        if self.plan.is_stale and (changed is not None or not self._soon.isActive()):
            self._problem = ""
            self._consider_soon()
        if _looks(before) != _looks(model) or before.image is not model.image:
            self._dress()

    def picture(self) -> QImage:
        """The view as it is, at full resolution, with its letters."""
        return self.canvas.picture()

    def shut_down(self) -> None:
        """Gives back what VTK holds; the pane stays empty until a model is shown."""
        self._soon.stop()
        self._trial.stop()
        scene = self.canvas.scene
        self.canvas.show_scene(None)
        if scene is not None:
            scene.close()
        self.plan, self._placed = SurfacePlan(), set()
        self._show_state()

    # --- which surfaces are wanted ------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        super().showEvent(event)
        self._consider_soon()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        super().hideEvent(event)
        self._soon.stop()
        self.canvas.stop()

    def _consider_soon(self) -> None:
        if self.isVisible() and self.plan.is_stale:
            self._soon.start()

    def _consider(self) -> None:
        """Asks for what is out of date; first whether 3D works at all."""
        if not self.isVisible() or self._problem or not self.plan.is_stale:
            return
        if self._drawing is None:
            self._trial.begin()
        elif self._drawing.works and (job := self.plan.next_job()) is not None:
            self.wanted.emit(job)
        self._show_state()

    def _tried(self, drawing: Drawing) -> None:
        self._drawing = drawing
        if drawing.works:
            drawing.take_effect()
        self._consider()
        self._show_state()

    def take_in_quiet(self, job: SurfaceJob, found: Surfaces) -> None:
        """`take`, once no slice is turned."""
        wait = self._turned_until - time.monotonic()
        if wait > 0:
            QTimer.singleShot(1 + round(1000 * wait), self, partial(self.take_in_quiet, job, found))
        else:
            self.take(job, found)

    def take(self, job: SurfaceJob, found: Surfaces) -> None:
        """The surfaces that a job made."""
        wanted = self.plan.done(job, found)
        scene = self._scene() if wanted else None
        was_whole = scene is not None and bool(scene.keys) and scene.is_all_in_view()
        for value, surface in wanted.items():
            assert scene is not None
            if surface.mesh is None:
                scene.remove(value)
            else:
                scene.put(value, surface.mesh)
        self._dress()
        if scene is not None and was_whole and not scene.is_all_in_view():
            self.canvas.see_all()  # it outgrew the picture; who has looked closer at a part goes on looking at that
        self._consider_soon()

    def failed(self, job: SurfaceJob, error: Exception) -> None:
        """A job came to nothing; it is tried again after the next change."""
        self.plan.dropped(job)
        self._problem = self.tr("The surfaces could not be made.") + "\n" + reason_of(error)
        self._show_state()

    def dropped(self, job: SurfaceJob) -> None:
        """A job was stopped; it is tried again after the next change, or when the pane is shown again."""
        self.plan.dropped(job)
        self._show_state()

    # --- the scene ----------------------------------------------------------------------------------------------------

    def _scene(self) -> SurfaceScene:
        """The scene, made when first there is something to be seen."""
        if self.canvas.scene is None:
            from medseg_rl_gui.surface_scene import SurfaceScene

            self.canvas.show_scene(SurfaceScene())
        assert self.canvas.scene is not None
        return self.canvas.scene

    def _clear(self) -> None:
        """Another image: the surfaces of the one before go."""
        self._placed, self._problem = set(), ""
        if self.canvas.scene is not None:
            for value in self.canvas.scene.keys:
                self.canvas.scene.remove(value)
        self._show_state()

    def _dress(self) -> None:
        """Gives the surfaces the colours of their labels, and takes away those of labels that are gone."""
        scene, plan = self.canvas.scene, self.plan
        if scene is not None:
            for value in scene.keys:
                if value not in plan.model.labels:
                    scene.remove(value)
                    continue
                opacity = GLASSY if plan.proposed == value else 1.0
                scene.dress(value, plan.model.labels[value].colour, shown=value in plan.shown, opacity=opacity)
            self._place(scene, scene.keys & plan.shown)
            self.canvas.redraw()
        self._show_state()

    def _place(self, scene: SurfaceScene, seen: frozenset[int]) -> None:
        """The camera before the first surface; farther away when a new label would lie beside the picture."""
        new = seen - self._placed
        if not new:
            return
        if not self._placed:
            self.canvas.look_from("A")
        elif not scene.is_all_in_view():
            self.canvas.see_all()
        self._placed |= new

    def _show_state(self) -> None:
        """Message, buttons and convention as things stand now."""
        scene = self.canvas.scene
        seen = scene is not None and bool(scene.keys & self.plan.shown)
        self.canvas.show_message("" if seen and not self._problem else self._message())
        right = 0.0 if scene is None or not seen else float(scene.axes[0][0])
        self.title.show_state(works=seen and not self._problem, right=right)

    def _message(self) -> str:
        """Why nothing is to be seen."""
        if self._drawing is not None and not self._drawing.works:
            return says(self._drawing)
        if self._problem:
            return self._problem
        if self.plan.model.image is None:
            return ""
        if self.plan.is_waiting or self._trial.is_running:
            return self.tr("Making surfaces…")
        if self.plan.model.labels.labels and not self.plan.shown:
            return self.tr("All labels are hidden.")
        return self.tr("Surfaces appear here as soon as a label has voxels.")


def _looks(model: ViewModel) -> tuple[object, ...]:
    """What decides how surfaces look, whatever their form. A proposal is dressed with the surface that it leads to."""
    return model.labels, model.overlay.hidden


def make_on(view: SurfaceView, worker: Worker) -> None:
    """Has a worker make what a view wants."""

    def run(job: SurfaceJob, task: Task) -> Surfaces:
        import medseg_rl_gui.surface_scene  # noqa: F401  # loads VTK here and not where the window waits

        return job.run(task.is_stopped)

    def submit(job: SurfaceJob) -> None:
        worker.submit(
            partial(run, job),
            rank=Rank.SURFACE,
            done=partial(view.take_in_quiet, job),
            failed=partial(view.failed, job),
            stopped=partial(view.dropped, job),
        )

    view.wanted.connect(submit)
