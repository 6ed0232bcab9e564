"""The tool in hand: what clicks, strokes and drags do with it. Calls `Refining`, `Editing` and `ViewControl`.

A stroke is shown while it is drawn and is one edit when the button is let go; while the model refines it goes into the
running refinement instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from medseg_rl.editing import Brush, Grid, Operation, box_between
from medseg_rl.errors import MedSegError
from medseg_rl.volume import Box
from medseg_rl_gui.actions import TOOLS
from medseg_rl_gui.desk import Desk
from medseg_rl_gui.editing import Editing
from medseg_rl_gui.gestures import Form, meaning
from medseg_rl_gui.i18n import number, tr
from medseg_rl_gui.pointer_reader import PointerReader
from medseg_rl_gui.refining import Refining
from medseg_rl_gui.tools import Drawing, Limit, Scribbled, stepped_radius
from medseg_rl_gui.view_control import ZOOM_STEP, ViewControl
from medseg_rl_gui.view_model import Button, Modifier, PointerLook, Sketch, SlicePointer
from medseg_rl_gui.worker import reason_of

NAVIGATE, WINDOW = "navigate", "window"


class Pointing:
    """`tool`: in hand, one of `TOOLS`. `reader`: what the signals of the views go to."""

    def __init__(self, desk: Desk, refining: Refining, editing: Editing, views: ViewControl) -> None:
        self._desk, self._refining, self._editing, self._views = desk, refining, editing, views
        self.tool = NAVIGATE
        self._before = NAVIGATE
        self._momentary = False
        self._window_held = False
        self._drawing: Drawing | None = None
        self._pressed: SlicePointer | None = None
        self._why = ""
        self.reader = PointerReader(self, self._meaning)
        views.is_frozen = lambda: self.reader.is_down
        desk.settings_changed.connect(self._look_anew)
        desk.session_changed.connect(self._look_anew)
        desk.case_changed.connect(self._forget)

    def handlers(self) -> Mapping[str, Callable[..., object]]:
        """By action id."""
        found: dict[str, Callable[..., object]] = {
            f"tool.{tool}": lambda on, tool=tool: self.choose(tool) for tool in TOOLS
        }
        return found | {
            "tool.swap": lambda: self.choose(self._before),
            "tool.momentary": self._hold_navigate,
            "view.window_hold": self._hold_window,
            "click.polarity": lambda: self._desk.set_positive(not self._desk.positive),
            "click.at_crosshair": self.click_at_crosshair,
            "brush.smaller": lambda: self._resize(-1),
            "brush.larger": lambda: self._resize(1),
            "lasso.close": self.close_lasso,
            "lasso.back": self._lasso_back,
            "lasso.clear": self.clear,
        }

    # --- which tool ---------------------------------------------------------------------------------------------------

    @property
    def in_hand(self) -> str:
        """The tool that gestures go to now."""
        return NAVIGATE if self._momentary else self.tool

    def choose(self, tool: str) -> None:
        """Takes a tool; chosen again, back to Navigate."""
        if self.reader.is_down:
            return
        self.clear()
        chosen = NAVIGATE if tool == self.tool else tool
        if chosen != self.tool:
            self._before, self.tool = self.tool, chosen
        self._desk.window.acts.choose(f"tool.{self.tool}")
        if self.tool in ("point", "scribble") and self._desk.case is not None:
            self._refining.warm_up()
        self._look_anew()

    def _hold_navigate(self, on: bool) -> None:
        self._momentary = on
        self._look_anew()

    def _hold_window(self, on: bool) -> None:
        self._window_held = on

    def _meaning(self, form: Form, button: Button | None, modifiers: frozenset[Modifier]) -> str | None:
        bound = self._desk.window.acts.bindings.gestures
        held = self._window_held
        found = meaning(bound, form=form, button=button, modifiers=modifiers, tool=self.in_hand, held=held)
        if found is None and held and form == "wheel":
            return meaning(bound, form=form, button=button, modifiers=modifiers, tool=self.in_hand)
        return found

    # --- what gestures do ---------------------------------------------------------------------------------------------

    def clicked(self, meaning: str, pointer: SlicePointer) -> None:
        if self._desk.case is None:
            return
        if meaning == "mouse.crosshair":
            self._views.jump(pointer)
        elif meaning == "mouse.pick":
            self._pick(pointer)
        elif meaning == "mouse.positive":
            self._click(pointer, positive=self._desk.positive)
        elif meaning == "mouse.negative":
            self._click(pointer, positive=False)

    def _click(self, pointer: SlicePointer, *, positive: bool) -> None:
        if pointer.index is None:
            self._desk.say(tr("That is beside the image: no click was placed"))
        else:
            self._refining.click(pointer.world, positive=positive)

    def click_at_crosshair(self) -> None:
        """A click of the chosen sign where the crosshair stands: for the keyboard."""
        if self._desk.view.crosshair is not None:
            self._refining.click(self._desk.view.crosshair, positive=self._desk.positive)

    def _pick(self, pointer: SlicePointer) -> None:
        values = [value for value in self._views.labels_at(pointer) if value in self._desk.session.labels]
        if values:
            self._editing.activate(values[0])
        else:
            self._desk.say(tr("There is no label here"))

    def drag_began(self, meaning: str, pointer: SlicePointer) -> None:
        self._pressed = pointer
        if self._desk.case is not None and meaning in ("mouse.paint", "mouse.erase"):
            self._begin_drawing(pointer, erase=meaning == "mouse.erase")

    def dragged(self, meaning: str, pointer: SlicePointer, before: SlicePointer) -> None:
        if self._desk.case is None:
            return
        if meaning in ("mouse.paint", "mouse.erase"):
            self._extend(pointer)
        elif meaning == "mouse.pan":
            self._views.pan(pointer, before)
        elif meaning == "mouse.zoom":
            self._views.drag_zoom(pointer, before)
        elif meaning == "mouse.window":
            dx, dy = (a - b for a, b in zip(pointer.screen, before.screen, strict=True))
            self._views.drag_window(dx, dy)
        elif meaning == "mouse.window_box" and self._pressed is not None:
            self._show_sketch(_box_of(self._pressed, pointer))

    def drag_ended(self, meaning: str, pointer: SlicePointer) -> None:
        if self._desk.case is None:
            return
        if meaning in ("mouse.paint", "mouse.erase"):
            self._extend(pointer)
            if self._drawing is not None and self._drawing.tool != "lasso":
                self._finish()
        elif meaning == "mouse.window_box" and self._pressed is not None:
            self._views.window_from(self._pressed, pointer)
            self._show_sketch(None)

    def turned(self, meaning: str, pointer: SlicePointer, notches: int) -> None:
        if self._desk.case is None:
            return
        if meaning == "mouse.scroll":
            self._views.step(notches, pointer.plane)
            self._hover_again(pointer)
        elif meaning == "mouse.zoom":
            self._views.zoom(pointer, ZOOM_STEP**notches)
        elif meaning == "mouse.radius":
            self._resize(notches)

    def hovered(self, pointer: SlicePointer, meaning: str | None) -> None:
        if self._desk.case is None:
            return
        if meaning == "mouse.crosshair":
            self._views.jump(pointer)
        self._views.probe(pointer)
        self._look_at(pointer)

    def left(self) -> None:
        """The pointer is over no view."""
        self._views.probe(None)

    def _hover_again(self, pointer: SlicePointer) -> None:
        """The slice changed under a resting pointer."""
        now = self._desk.window.views.views[pointer.plane].pointer_now()
        if now is not None:
            self._views.probe(now)
            self._look_at(now)

    # --- drawing ------------------------------------------------------------------------------------------------------

    def _begin_drawing(self, pointer: SlicePointer, *, erase: bool) -> None:
        desk = self._desk
        if self._drawing is not None and self._drawing.tool == "lasso":
            if pointer.plane == self._drawing.plane and pointer.slice_index == self._drawing.pointer.slice_index:
                self._extend(pointer)
                return
            self.clear()
        tool = self.in_hand
        if tool in ("brush", "eraser", "lasso") or (tool == "box" and desk.tools.box_use == "fill"):
            reason = self._editing.why_no_stroke()
            if reason:
                if desk.session.proposal is not None and not self._refining.is_running:
                    desk.ask_first(reason)
                desk.say(reason)
                return
        sign = erase or tool == "eraser" or not desk.positive
        self._drawing = Drawing(tool, pointer, sign, desk.tools)
        if tool == "lasso":
            desk.window.acts.enter("lasso")
        self._show_part([pointer.world])

    def _extend(self, pointer: SlicePointer) -> None:
        if self._drawing is not None:
            part = self._drawing.extend(pointer)
            if part:
                self._show_part(part)

    def _show_part(self, points: list[tuple[float, float, float]]) -> None:
        """Paints the newest part of a stroke, or the sketch of what is drawn."""
        drawing, case = self._drawing, self._desk.case
        if drawing is None or case is None:
            return
        if not drawing.paints:
            self._show_sketch(drawing.sketch())
            return
        settings = drawing.settings
        plane = None if settings.sphere else drawing.plane
        erase, threshold = drawing.erase, settings.threshold
        box = case.layers.paint(points, settings.radius_mm, plane, erase=erase, threshold=threshold)
        if box is not None:
            self._desk.show(box, layers=case.layers.layers)

    def _show_sketch(self, sketch: Sketch | None) -> None:
        limit = tuple(s for s in self._desk.view.sketches if s is self._limit_sketch)
        self._desk.show(sketches=(*limit, sketch) if sketch is not None else limit)

    _limit_sketch: Sketch | None = None

    def _finish(self) -> None:
        drawing, self._drawing = self._drawing, None
        if drawing is None or self._desk.case is None:
            return
        self._show_sketch(None)
        try:
            outcome = drawing.outcome(self._desk.view.geometry(drawing.plane))
        except MedSegError as error:
            self._desk.say(reason_of(error))
            return
        if isinstance(outcome, Scribbled):
            self._refining.scribble(outcome)
        elif isinstance(outcome, Limit):
            self._limit_to(outcome)
        elif outcome is None and drawing.tool == "box" and drawing.settings.box_use == "limit":
            self.lift_limit()
        elif outcome is not None:
            is_stroke = isinstance(outcome, Brush) and self._refining.is_running
            if is_stroke and self._refining.paint_into(outcome):
                self._desk.say(tr("Painted into the running refinement"))
            else:
                self._write(outcome)

    def _write(self, operation: Operation) -> None:
        if not self._editing.run(operation):
            self._desk.refresh()  # what was shown of the stroke goes

    def close_lasso(self) -> None:
        """Fills or erases what the lasso encloses."""
        drawing = self._drawing
        if drawing is not None and len(drawing.points) < 3:
            self._desk.say(tr("A lasso needs three points"))
            return
        self._desk.window.acts.enter("view")
        self._finish()

    def _lasso_back(self) -> None:
        if self._drawing is not None and not self._drawing.back():
            self.clear()
        elif self._drawing is not None:
            self._show_sketch(self._drawing.sketch())

    def clear(self) -> None:
        """Drops what is being drawn."""
        was = self._drawing
        self._drawing = None
        if was is not None:
            self._desk.window.acts.enter("view")
            if self._desk.case is not None:
                self._show_sketch(None)
                if was.paints:
                    self._desk.refresh()

    # --- a box for the model ------------------------------------------------------------------------------------------

    def _limit_to(self, drawn: Limit) -> None:
        session, plane = self._desk.session, drawn.plane or self._desk.window.views.active_view.plane
        geometry = self._desk.view.geometry(plane)
        first, last = (0, geometry.slices - 1) if drawn.plane is not None else (None, None)
        box = _spanning(box_between(Grid.of(session.image), drawn.corner, drawn.other), geometry.axes[0], first, last)
        if box.voxels == 0:
            self._desk.say(tr("The box holds no voxel of the image"))
            return
        session.limit = box
        ends = geometry.index_to_world(np.asarray([box.start, np.asarray(box.stop) - 1]))
        self._limit_sketch = Sketch("box", plane, geometry.slice_at(drawn.corner), ends, closed=True, through=True)
        self._desk.show(sketches=(self._limit_sketch,))
        self._desk.settings_changed.emit()
        self._desk.say(tr("The model changes nothing outside this box; a click with the box tool lifts it"))

    def lift_limit(self) -> None:
        """The model works everywhere again."""
        if self._desk.case is not None and self._desk.session.limit is not None:
            self._desk.session.limit, self._limit_sketch = None, None
            self._desk.show(sketches=())
            self._desk.settings_changed.emit()
            self._desk.say(tr("The model works everywhere again"))

    # --- how the pointer looks ----------------------------------------------------------------------------------------

    def _resize(self, steps: int) -> None:
        radius = stepped_radius(self._desk.tools.radius_mm, steps)
        self._desk.set_tools(radius_mm=radius)
        self._desk.say(tr("Brush radius {mm} mm").format(mm=number(radius, 1)))

    def _look_anew(self) -> None:
        if self._desk.case is None:
            return
        now = self._desk.window.views.active_view.pointer_now()
        if now is not None:
            self._look_at(now)
        else:
            self._show_look(self._look(""))

    def _look_at(self, pointer: SlicePointer) -> None:
        """The pointer says in advance whether a click or stroke can land there, the status bar why not."""
        why = ""
        if self.in_hand in ("point", "scribble"):
            why = self._desk.why_not() if pointer.index is None else self._desk.session.why_no_click(pointer.index)
            if pointer.index is None and not why:
                why = tr("beside the image")
        elif self.in_hand in ("brush", "eraser", "lasso"):
            why = self._editing.why_no_stroke()
        if why and why != self._why:
            self._desk.say(tr("Not here: {why}").format(why=why))
        self._why = why
        self._show_look(self._look(why))

    def _look(self, why: str) -> PointerLook:
        tool, positive = self.in_hand, self._desk.positive
        if why:
            return PointerLook("blocked")
        if tool in ("brush", "eraser"):
            return PointerLook("brush", self._desk.tools.radius_mm, positive and tool == "brush")
        return PointerLook("arrow" if tool in (NAVIGATE, WINDOW) else "cross", positive=positive)

    def _show_look(self, look: PointerLook) -> None:
        if look != self._desk.view.pointer:
            self._desk.show(pointer=look)

    def _forget(self) -> None:
        """Another case: nothing is being drawn, no box limits the model."""
        self.reader.forget()
        self._drawing = self._limit_sketch = None
        self._desk.window.acts.enter("view")


def _spanning(box: Box, axis: int, first: int | None, last: int | None) -> Box:
    """A box from one slice to another along an axis; as it is where they are None."""
    if first is None or last is None:
        return box
    start, stop = list(box.start), list(box.stop)
    start[axis], stop[axis] = first, last + 1
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _box_of(one: SlicePointer, other: SlicePointer) -> Sketch:
    return Sketch("box", one.plane, one.slice_index, np.asarray([one.world, other.world]))
