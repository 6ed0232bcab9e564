"""What changes the views and no voxel: slices, crosshair, window, zoom, overlay, probe. Handlers of the View menu."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from medseg_rl.volume import Volume
from medseg_rl_gui.desk import Desk
from medseg_rl_gui.i18n import number, tr
from medseg_rl_gui.preferences import ViewPreferences
from medseg_rl_gui.slice_geometry import PLANES, Convention, Plane, Point
from medseg_rl_gui.status_bar import Probe
from medseg_rl_gui.view_model import SlicePointer, Window
from medseg_rl_gui.window_presets import HOUNSFIELD, automatic, full_range

FAR = 5  # slices that Shift and a key go
OPACITY_STEP = 0.1
ZOOM_STEP = 1.15  # a notch of the wheel
DRAG_ZOOM = 1.005  # a pixel of a drag
PIXELS_OF_RANGE = 600.0  # a drag this long goes through all grey levels of the image


class ViewControl:
    """`is_frozen`: asked before a slice changes; none does while a button is down."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.is_frozen: Callable[[], bool] = lambda: False
        self._full: tuple[Volume, Window] | None = None

    def handlers(self) -> Mapping[str, Callable[..., object]]:
        """By action id."""
        desk = self._desk
        found: dict[str, Callable[..., object]] = {
            "view.overlay": lambda on: self._overlay(visible=on),
            "view.outline": lambda on: self._overlay(outline=on),
            "view.fainter": lambda: self._opacity(-OPACITY_STEP),
            "view.stronger": lambda: self._opacity(OPACITY_STEP),
            "view.smooth": lambda on: desk.show(smooth=on),
            "view.reset": lambda: desk.window.views.fit(),
            "view.centre": lambda: desk.window.views.centre_on_crosshair(),
            "view.crosshair": lambda on: desk.show(crosshair_shown=on),
            "view.neurological": lambda on: self.set_convention("neurological" if on else "radiological"),
            "slice.up": lambda: self.step(1),
            "slice.down": lambda: self.step(-1),
            "slice.up5": lambda: self.step(FAR),
            "slice.down5": lambda: self.step(-FAR),
            "slice.first": lambda: self._to_end(-1),
            "slice.last": lambda: self._to_end(1),
            "crosshair.left": lambda: self.nudge(-1, 0),
            "crosshair.right": lambda: self.nudge(1, 0),
            "crosshair.up": lambda: self.nudge(0, -1),
            "crosshair.down": lambda: self.nudge(0, 1),
            "window.full": lambda: self.set_window(self._range()),
            "window.auto": lambda: self.set_window(automatic(desk.session.image)),
        }
        for name, window in HOUNSFIELD.items():
            found[f"window.{name}"] = lambda window=window: self.set_window(window)
        return found

    def show_switches(self) -> None:
        """Shows which of the toggles are on."""
        acts, view = self._desk.window.acts, self._desk.view
        acts.set_on("view.overlay", view.overlay.visible)
        acts.set_on("view.outline", view.overlay.outline)
        acts.set_on("view.smooth", view.smooth)
        acts.set_on("view.crosshair", view.crosshair_shown)
        acts.set_on("view.neurological", view.convention == "neurological")

    # --- slices and crosshair -----------------------------------------------------------------------------------------

    def step(self, steps: int, plane: Plane | None = None) -> None:
        """So many slices further right, anterior or superior, in one plane, else the one under the pointer."""
        if self._desk.case is not None and not self.is_frozen():
            self._desk.show_view(self._desk.view.stepped(plane or self._desk.window.views.active_view.plane, steps))

    def to_slice(self, plane: str, index: int) -> None:
        """By slider or spin box."""
        for known in PLANES:
            if known == plane and self._desk.case is not None and not self.is_frozen():
                self._desk.show_view(self._desk.view.on_slice(known, index))

    def _to_end(self, direction: int) -> None:
        plane = self._desk.window.views.active_view.plane
        geometry = self._desk.view.geometry(plane)
        forward = direction * geometry.forward > 0
        self.to_slice(plane, geometry.slices - 1 if forward else 0)

    def nudge(self, right: int, down: int) -> None:
        """The crosshair by voxels of the active view, as seen on the screen."""
        view, plane = self._desk.view, self._desk.window.views.active_view.plane
        if view.crosshair is None or self.is_frozen():
            return
        geometry = view.geometry(plane)
        at = geometry.nearest(geometry.world_to_index(view.crosshair))
        _, across, below = geometry.axes
        steps = np.sign(np.diag(geometry.pixel_matrix)).astype(int)
        at[across] += right * int(steps[0])
        at[below] += down * int(steps[1])
        at = np.clip(at, 0, np.asarray(geometry.shape) - 1)
        x, y, z = (float(v) for v in geometry.index_to_world(at))
        self._desk.go_to((x, y, z))

    def jump(self, pointer: SlicePointer) -> None:
        """The crosshair to a place of one view; the others show the slices through it."""
        if self._desk.case is not None:
            world = self._inside(pointer)
            others = tuple(plane for plane in PLANES if plane != pointer.plane)
            self._desk.show_view(self._desk.view.at(world, others))

    def _inside(self, pointer: SlicePointer) -> Point:
        """The place itself, or the nearest in the image."""
        geometry = self._desk.view.geometry(pointer.plane)
        index = np.clip(geometry.world_to_index(pointer.world), 0, np.asarray(geometry.shape) - 1)
        x, y, z = (float(v) for v in geometry.index_to_world(index))
        return pointer.world if pointer.index is not None else (x, y, z)

    # --- grey levels --------------------------------------------------------------------------------------------------

    def set_window(self, window: Window) -> None:
        """Brightness and contrast, kept for the next image of the modality."""
        self._desk.show(window=window)
        text = tr("Window {width} / {level}")
        places = 0 if abs(window.width) >= 10 else 2
        self._desk.say(text.format(width=number(window.width, places), level=number(window.level, places)))

    def drag_window(self, right: float, down: float) -> None:
        """To the right: more width; upwards: brighter."""
        whole, window = self._range(), self._desk.view.window
        step = whole.width / PIXELS_OF_RANGE
        width = min(max(window.width + right * step, whole.width / 1000), 4 * whole.width)
        self.set_window(Window(width, window.level + down * step))

    def _range(self) -> Window:
        """All grey levels of the image; looked for once."""
        image = self._desk.session.image
        if self._full is None or self._full[0] is not image:
            self._full = image, full_range(image)
        return self._full[1]

    def window_from(self, one: SlicePointer, other: SlicePointer) -> None:
        """From the darkest to the brightest voxel of a box on a slice."""
        geometry = self._desk.view.geometry(one.plane)
        ends = np.stack([geometry.nearest(geometry.world_to_index(p.world)) for p in (one, other)])
        ends[:, geometry.axes[0]] = one.slice_index
        ends = np.clip(np.sort(ends, axis=0), 0, np.asarray(geometry.shape) - 1)
        part = self._desk.session.image.array[tuple(slice(int(a), int(b) + 1) for a, b in ends.T)]
        low, high = float(part.min()), float(part.max())
        self.set_window(Window(max(high - low, 1e-3), (low + high) / 2))

    # --- how it looks -------------------------------------------------------------------------------------------------

    def set_convention(self, convention: Convention) -> None:
        """Which side the patient's right is on."""
        self._desk.show(convention=convention)
        self.show_switches()

    def take_looks(self, before: ViewPreferences, after: ViewPreferences) -> None:
        """What the preferences change in how images and labels look is seen in the open case, too."""
        if after.smooth != before.smooth:
            self._desk.show(smooth=after.smooth)
        if after.outline != before.outline:
            self._overlay(outline=after.outline)
        if after.opacity != before.opacity:
            self.set_opacity(after.opacity)
        self.show_switches()

    def hide_label(self, value: int, hidden: bool) -> None:
        """Closes or opens the eye of a label."""
        values = self._desk.view.overlay.hidden
        self._overlay(hidden=values | {value} if hidden else values - {value})

    def _overlay(self, **changes: object) -> None:
        self._desk.show(overlay=replace(self._desk.view.overlay, **changes))  # type: ignore[arg-type]
        self.show_switches()

    def set_opacity(self, opacity: float) -> None:
        """How opaque labels are, 0 to 1."""
        self._overlay(opacity=round(min(max(opacity, 0.0), 1.0), 2))

    def _opacity(self, step: float) -> None:
        self.set_opacity(self._desk.view.overlay.opacity + step)
        opacity = self._desk.view.overlay.opacity
        self._desk.say(tr("Labels {percent} % opaque").format(percent=number(100 * opacity)))

    def zoom(self, pointer: SlicePointer, factor: float) -> None:
        """Around the pointer, all views alike."""
        self._desk.window.views.views[pointer.plane].zoom(factor, pointer)

    def pan(self, pointer: SlicePointer, before: SlicePointer) -> None:
        """As far as the pointer went."""
        dx, dy = pointer.screen[0] - before.screen[0], pointer.screen[1] - before.screen[1]
        self._desk.window.views.views[pointer.plane].pan(dx, dy)

    def drag_zoom(self, pointer: SlicePointer, before: SlicePointer) -> None:
        """Upwards: larger."""
        factor = DRAG_ZOOM ** (before.screen[1] - pointer.screen[1])
        self._desk.window.views.views[pointer.plane].zoom(factor)

    # --- what lies there ----------------------------------------------------------------------------------------------

    def probe(self, pointer: SlicePointer | None) -> None:
        """Position, voxel, value and label under the pointer, in the status bar."""
        case = self._desk.case
        if case is None or pointer is None:
            self._desk.window.status.show_probe(None)
            return
        if pointer.index is None:
            self._desk.window.status.show_probe(Probe(pointer.world))
            return
        value = float(case.session.image.array[pointer.index])
        unit = str(case.session.image.source.get("units") or ("HU" if case.is_hounsfield else ""))
        names = [case.session.labels[v].name for v in self.labels_at(pointer) if v in case.session.labels]
        self._desk.window.status.show_probe(Probe(pointer.world, pointer.index, value, unit, ", ".join(names) or None))

    def labels_at(self, pointer: SlicePointer) -> tuple[int, ...]:
        """Values of the accepted labels of a voxel, the one on top first."""
        if pointer.index is None or self._desk.case is None:
            return ()
        layers = self._desk.session.label_layers
        return tuple(int(layer[pointer.index]) for layer in reversed(layers) if layer[pointer.index])
