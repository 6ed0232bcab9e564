"""Presses, movements and wheel as gestures: a click is short, a drag is none, slices stay while a button is down."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from medseg_rl.editing import Brush, FillBox, Lasso
from medseg_rl.volume import Volume
from medseg_rl_gui.actions import TOOLS
from medseg_rl_gui.bindings import Bindings
from medseg_rl_gui.gestures import Form, meaning
from medseg_rl_gui.pointer_reader import PointerReader
from medseg_rl_gui.slice_geometry import SliceGeometry
from medseg_rl_gui.tools import Drawing, Limit, Scribbled, ToolSettings, stepped_radius
from medseg_rl_gui.view_model import Button, Modifier, SlicePointer

LEFT, RIGHT = Button.LEFT, Button.RIGHT
SHIFT, CTRL = Modifier.SHIFT, Modifier.CTRL


def at(x: float, y: float, *modifiers: Modifier, button: Button | None = None, plane: str = "axial") -> SlicePointer:
    return SlicePointer(plane, 5, (x, y), (x, y, 5.0), (int(x), int(y), 5), button, modifiers=frozenset(modifiers))  # type: ignore[arg-type]


class Heard:
    """Keeps what it heard; `tool` in hand, keys of a preset."""

    def __init__(self, tool: str, preset: str = "default") -> None:
        self.tool, self.bindings = tool, Bindings(preset)  # type: ignore[arg-type]
        self.events: list[tuple[object, ...]] = []
        self.reader = PointerReader(self, self._meaning)

    def _meaning(self, form: Form, button: Button | None, modifiers: frozenset[Modifier]) -> str | None:
        return meaning(self.bindings.gestures, form=form, button=button, modifiers=modifiers, tool=self.tool)

    def clicked(self, meaning: str, pointer: SlicePointer) -> None:
        self.events.append(("click", meaning, pointer.screen))

    def drag_began(self, meaning: str, pointer: SlicePointer) -> None:
        self.events.append(("begin", meaning, pointer.screen))

    def dragged(self, meaning: str, pointer: SlicePointer, before: SlicePointer) -> None:
        self.events.append(("drag", meaning, pointer.screen))

    def drag_ended(self, meaning: str, pointer: SlicePointer) -> None:
        self.events.append(("end", meaning, pointer.screen))

    def turned(self, meaning: str, pointer: SlicePointer, notches: int) -> None:
        self.events.append(("wheel", meaning, notches))

    def hovered(self, pointer: SlicePointer, meaning: str | None) -> None:
        self.events.append(("hover", meaning, pointer.screen))

    def gesture(
        self, *points: tuple[float, float], button: Button = LEFT, modifiers: tuple[Modifier, ...] = ()
    ) -> None:
        self.reader.pressed(at(*points[0], *modifiers, button=button))
        for point in points[1:]:
            self.reader.moved(at(*point, *modifiers))
        self.reader.released(at(*points[-1], *modifiers, button=button))


def test_a_press_and_release_within_four_pixels_is_a_click_at_the_press() -> None:
    heard = Heard("point")
    heard.gesture((10, 10), (12, 13))
    heard.gesture((20, 20), button=RIGHT)
    heard.gesture((30, 30), modifiers=(CTRL,))
    assert heard.events == [
        ("click", "mouse.positive", (10, 10)),
        ("click", "mouse.negative", (20, 20)),
        ("click", "mouse.negative", (30, 30)),
    ]


def test_a_longer_way_is_never_a_click_also_when_it_comes_back() -> None:
    heard = Heard("point")
    heard.gesture((10, 10), (30, 10), (10, 10))
    assert heard.events == []  # dragging left means nothing with this tool
    heard.gesture((10, 10), (10, 30), (10, 10), button=RIGHT)
    assert {event[:2] for event in heard.events} == {
        ("begin", "mouse.zoom"),
        ("drag", "mouse.zoom"),
        ("end", "mouse.zoom"),
    }


def test_a_release_in_another_view_is_no_click() -> None:
    heard = Heard("point")
    heard.reader.pressed(at(10, 10, button=LEFT))
    heard.reader.released(replace(at(10, 10, button=LEFT), plane="coronal"))
    assert heard.events == []


def test_a_stroke_begins_with_the_press_so_that_one_without_movement_paints() -> None:
    heard = Heard("brush")
    heard.gesture((10, 10))
    heard.gesture((20, 20), button=RIGHT)
    assert heard.events == [
        ("begin", "mouse.paint", (10, 10)),
        ("end", "mouse.paint", (10, 10)),
        ("begin", "mouse.erase", (20, 20)),
        ("end", "mouse.erase", (20, 20)),
    ]


def test_a_label_can_be_picked_with_any_tool() -> None:
    for tool in TOOLS:
        heard = Heard(tool)
        heard.gesture((10, 10), modifiers=(CTRL, SHIFT))
        assert heard.events == [("click", "mouse.pick", (10, 10))]


def test_small_turns_of_the_wheel_add_up_to_notches() -> None:
    heard = Heard("point")
    for units in (50, 50, 50, 90, -40, -100):
        heard.reader.scrolled(at(5, 5), units)
    assert heard.events == [("wheel", "mouse.scroll", 1), ("wheel", "mouse.scroll", 1), ("wheel", "mouse.scroll", -1)]


def test_one_notch_is_one_slice_and_several_at_once_are_several() -> None:
    heard = Heard("navigate")
    heard.reader.scrolled(at(5, 5), 120)
    heard.reader.scrolled(at(5, 5), -360)
    heard.reader.scrolled(at(5, 5, CTRL), 120)
    heard.reader.scrolled(at(5, 5, SHIFT), 120)
    assert [event[1:] for event in heard.events] == [
        ("mouse.scroll", 1),
        ("mouse.scroll", -3),
        ("mouse.zoom", 1),
        ("mouse.radius", 1),
    ]


@pytest.mark.parametrize("tool", TOOLS)
def test_no_slice_changes_while_a_button_is_down(tool: str) -> None:
    heard = Heard(tool)
    heard.reader.pressed(at(10, 10, button=LEFT))
    heard.reader.scrolled(at(10, 10), 240)
    assert heard.reader.is_down
    assert not any(event[0] == "wheel" for event in heard.events)


def test_the_crosshair_follows_only_once_shift_was_released_after_a_shift_gesture() -> None:
    heard = Heard("point")
    heard.reader.moved(at(1, 1, SHIFT))
    heard.gesture((10, 10), (30, 10), modifiers=(SHIFT,))  # pans
    heard.reader.moved(at(31, 10, SHIFT))
    heard.reader.moved(at(32, 10))
    heard.reader.moved(at(33, 10, SHIFT))
    hovers = [event[1] for event in heard.events if event[0] == "hover"]
    assert hovers == ["mouse.crosshair", None, None, "mouse.crosshair"]


def test_a_second_button_does_not_disturb_what_the_first_began() -> None:
    heard = Heard("brush")
    heard.reader.pressed(at(10, 10, button=LEFT))
    heard.reader.pressed(at(10, 10, button=RIGHT))
    heard.reader.released(at(10, 10, button=RIGHT))
    heard.reader.released(at(10, 10, button=LEFT))
    assert [event[0] for event in heard.events] == ["begin", "end"]


# --- tools ------------------------------------------------------------------------------------------------------------

GEOMETRY = SliceGeometry.of(Volume(np.zeros((40, 40, 20)), np.diag([1.0, 1.0, 2.0, 1.0])), "axial")


def drawn(tool: str, settings: ToolSettings, *points: tuple[float, float], erase: bool = False) -> Drawing:
    drawing = Drawing(tool, at(*points[0]), erase, settings)
    for point in points[1:]:
        drawing.extend(at(*point))
    return drawing


def test_a_brush_ends_in_one_stroke_of_all_its_samples() -> None:
    drawing = drawn("brush", ToolSettings(radius_mm=3.0), (1, 1), (5, 1), (5.2, 1), (9, 1))
    assert drawing.outcome(GEOMETRY) == Brush([(1, 1, 5), (5, 1, 5), (9, 1, 5)], 3.0, "axial")  # type: ignore[arg-type]
    ball = drawn("eraser", ToolSettings(sphere=True), (1, 1), erase=True).outcome(GEOMETRY)
    assert ball == Brush([(1, 1, 5)], 4.0, None, erase=True)  # type: ignore[arg-type]


def test_a_scribble_keeps_its_sign_and_plane() -> None:
    found = drawn("scribble", ToolSettings(), (1, 1), (5, 1), erase=True).outcome(GEOMETRY)
    assert found == Scribbled(((1, 1, 5.0), (5, 1, 5.0)), False, "axial")


def test_a_box_limits_the_model_or_is_filled_on_one_slice_or_a_range() -> None:
    settings = ToolSettings()
    assert drawn("box", settings, (1, 1)).outcome(GEOMETRY) is None
    assert drawn("box", settings, (1, 1), (9, 9), (7, 8)).outcome(GEOMETRY) == Limit((1, 1, 5.0), (7, 8, 5.0), "axial")
    ranged = replace(settings, box_use="fill", slices=(2, 30))
    assert drawn("box", ranged, (1, 1), (7, 8)).outcome(GEOMETRY) == FillBox((1, 1, 4.0), (7, 8, 38.0))


def test_a_lasso_needs_three_points_and_gives_the_last_one_back() -> None:
    drawing = drawn("lasso", ToolSettings(), (1, 1), (9, 1), (9, 9))
    assert isinstance(drawing.outcome(GEOMETRY), Lasso)
    assert drawing.back()
    assert drawing.outcome(GEOMETRY) is None
    assert [drawing.back(), drawing.back()] == [True, False]


def test_brush_radii_go_up_and_down_the_same_way_and_stop_at_the_ends() -> None:
    radii = [stepped_radius(4.0, n) for n in range(5)]
    assert all(a < b for a, b in itertools.pairwise(radii))
    assert stepped_radius(0.2, -3) == 0.2
    assert stepped_radius(100.0, 5) == 100.0
