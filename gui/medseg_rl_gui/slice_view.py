"""One pane of a plane: title bar, slice canvas and slice slider. It paints a `ViewModel` and emits what the user meant.

Holds no session and decides nothing: what a press does is the controller's. Of its own it has zoom and pan alone.
"""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QWidget

from medseg_rl.volume import Box
from medseg_rl_gui.slice_canvas import SliceCanvas
from medseg_rl_gui.slice_geometry import Placement, Plane, ScreenPoint
from medseg_rl_gui.slice_title import SliceSlider, TitleBar
from medseg_rl_gui.view_model import SlicePointer, ViewModel


class SliceView(QFrame):
    """A plane with its title and slider. `show_model` is the only way in, the signals are the only way out.

    `pressed`, `moved`, `released`: a `SlicePointer`; moved without a button too. `scrolled`: a `SlicePointer` and the
    wheel's eighths of a degree (120 a notch), never while a button is down. `left`: the pointer left. `slice_chosen`:
    plane and slice index, by slider or spin box. `maximise_requested`: plane. `menu_requested`: a `SlicePointer` and
    the global QPoint, by keyboard. `placement_changed`: zoom or pan changed; plane.
    `zoomed`: plane and factor, by `zoom`.
    """

    pressed = Signal(object)
    moved = Signal(object)
    released = Signal(object)
    scrolled = Signal(object, int)
    left = Signal(str)
    slice_chosen = Signal(str, int)
    maximise_requested = Signal(str)
    menu_requested = Signal(object, object)
    placement_changed = Signal(str)
    zoomed = Signal(str, float)

    def __init__(self, plane: Plane, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plane: Plane = plane
        self.name = {
            "axial": self.tr("AXIAL"),
            "coronal": self.tr("CORONAL"),
            "sagittal": self.tr("SAGITTAL"),
        }[plane]
        self.title = TitleBar(self.name)
        self.canvas = SliceCanvas(plane)
        self.canvas.setAccessibleName(self.tr("Slice view, {view}").format(view=self.name))
        self.slider = SliceSlider(self.name)
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(0)
        grid.addWidget(self.canvas, 1, 0)  # first, so that keys go to it first
        grid.addWidget(self.slider, 1, 1)
        grid.addWidget(self.title, 0, 0, 1, 2)
        grid.setRowStretch(1, 1)
        grid.setColumnStretch(0, 1)

    def _connect(self) -> None:
        canvas, plane = self.canvas, self.plane
        canvas.pressed.connect(self.pressed)
        canvas.moved.connect(self.moved)
        canvas.released.connect(self.released)
        canvas.scrolled.connect(self.scrolled)
        canvas.left.connect(lambda: self.left.emit(plane))
        canvas.menu_requested.connect(self.menu_requested)
        canvas.placement_changed.connect(lambda: self.placement_changed.emit(plane))
        self.slider.valueChanged.connect(lambda index: self.slice_chosen.emit(plane, index))
        self.title.slice_chosen.connect(lambda index: self.slice_chosen.emit(plane, index))
        self.title.spin.editingFinished.connect(self._give_keys_back)
        self.title.maximise_requested.connect(lambda: self.maximise_requested.emit(plane))

    def _give_keys_back(self) -> None:
        """After Enter in the spin box letters are shortcuts again."""
        if self.title.spin.hasFocus():
            self.canvas.setFocus()

    @property
    def model(self) -> ViewModel:
        """What is shown."""
        return self.canvas.model

    @property
    def slice_index(self) -> int:
        """The slice shown, from 0."""
        return self.canvas.model.slices[self.plane]

    def show_model(self, model: ViewModel, changed: Box | None = None) -> None:
        """Paints another model. `changed`: the box of voxels written in place since, in label layers or proposal."""
        self.canvas.show_model(model, changed)
        if model.image is None:
            self.title.show_nothing()
            self.slider.setEnabled(False)
            return
        geometry, index = model.geometry(self.plane), model.slices[self.plane]
        self.title.show_slice(geometry, index)
        self.slider.show_slice(geometry, index)

    # --- zoom and pan, which the controller asks for ------------------------------------------------------------------

    @property
    def placement(self) -> Placement | None:
        """Zoom and pan; None without an image."""
        return self.canvas.placement

    def place(self, placement: Placement) -> None:
        """Takes zoom and pan from elsewhere, as a linked view does."""
        self.canvas.place(placement)

    def zoom(self, factor: float, pointer: SlicePointer | None = None) -> None:
        """Zooms around a pointer, else around the crosshair where it is seen, else around the middle."""
        self.follow_zoom(factor, pointer)
        self.zoomed.emit(self.plane, factor)

    def follow_zoom(self, factor: float, pointer: SlicePointer | None = None) -> None:
        """The same without telling linked views."""
        placement = self.canvas.placement
        if placement is not None:
            around = self._crosshair_on_screen(placement) if pointer is None else pointer.screen
            self.canvas.place(placement.zoomed(factor, around))

    def _crosshair_on_screen(self, placement: Placement) -> ScreenPoint | None:
        model = self.canvas.model
        if model.crosshair is None:
            return None
        x, y = (float(v) for v in placement.to_screen(model.geometry(self.plane).world_to_plane(model.crosshair)))
        width, height = placement.size
        return (x, y) if 0 <= x < width and 0 <= y < height else None

    def pan(self, dx: float, dy: float) -> None:
        """Moves the image by device-independent pixels."""
        if self.canvas.placement is not None:
            self.canvas.place(self.canvas.placement.panned(dx, dy))

    def fit(self) -> None:
        """The whole slice in the middle of the view."""
        self.canvas.fit()

    def centre_on_crosshair(self) -> None:
        """The crosshair in the middle of the view, at the zoom it has."""
        model, placement = self.canvas.model, self.canvas.placement
        if placement is not None and model.crosshair is not None:
            self.canvas.place(placement.centred(model.geometry(self.plane).world_to_plane(model.crosshair)))

    def pointer_now(self) -> SlicePointer | None:
        """Where the pointer rests, on the slice shown now; None when it is elsewhere."""
        return self.canvas.pointer_now()
