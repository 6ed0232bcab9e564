"""Presses, movements and wheel as what they mean: click, drag, stroke, notches. No Qt; what is done is the hearer's.

A click is press and release within 4 device-independent pixels in the same view; a longer way is a drag and never a
click. A click's place is that of the press.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from medseg_rl_gui.gestures import Form
from medseg_rl_gui.view_model import Button, Modifier, SlicePointer

CLICK_PIXELS = 4.0
NOTCH = 120  # eighths of a degree; trackpads send less at a time
AT_PRESS = ("mouse.paint", "mouse.erase")  # these begin with the press: one without movement paints

Meaning = Callable[[Form, Button | None, frozenset[Modifier]], str | None]


class Hearer(Protocol):
    """Who does what gestures mean; `meaning` is the id of a mouse action."""

    def clicked(self, meaning: str, pointer: SlicePointer) -> None:
        """A click, where it was pressed."""

    def drag_began(self, meaning: str, pointer: SlicePointer) -> None:
        """A drag or a stroke, where it was pressed."""

    def dragged(self, meaning: str, pointer: SlicePointer, before: SlicePointer) -> None:
        """It goes on; `before`: the place before this one."""

    def drag_ended(self, meaning: str, pointer: SlicePointer) -> None:
        """The button was let go."""

    def turned(self, meaning: str, pointer: SlicePointer, notches: int) -> None:
        """Whole notches of the wheel, positive away from the user."""

    def hovered(self, pointer: SlicePointer, meaning: str | None) -> None:
        """The pointer moves with no button down; `meaning` of moving with the keys that are held."""


class PointerReader:
    """Hears the signals of the views. `meaning_of`: looks up a gesture with the tool in hand."""

    def __init__(self, hearer: Hearer, meaning_of: Meaning) -> None:
        self._hearer, self._meaning_of = hearer, meaning_of
        self._pressed: SlicePointer | None = None
        self._last: SlicePointer | None = None
        self._drag: str | None = None  # None: may yet be a click; empty: a drag without a meaning
        self._wheel: tuple[str, str] = ("", "")
        self._units = 0
        self._shift_is_spent = False

    @property
    def is_down(self) -> bool:
        """Whether a button is down: no slice may change meanwhile."""
        return self._pressed is not None

    def forget(self) -> None:
        """Whatever was begun has no end: another case, or the window lost the mouse."""
        self._pressed = self._last = self._drag = None

    def pressed(self, pointer: SlicePointer) -> None:
        """A button goes down; a second one meanwhile means nothing."""
        if self._pressed is not None:
            return
        self._pressed = self._last = pointer
        self._drag = None
        self._shift_is_spent |= Modifier.SHIFT in pointer.modifiers
        meaning = self._meaning_of("drag", pointer.button, pointer.modifiers)
        if meaning in AT_PRESS:
            self._drag = meaning
            self._hearer.drag_began(meaning, pointer)

    def moved(self, pointer: SlicePointer) -> None:
        """With or without a button."""
        if self._pressed is None:
            self._hover(pointer)
            return
        if self._drag is None and _apart(self._pressed, pointer) > CLICK_PIXELS:
            self._drag = self._meaning_of("drag", self._pressed.button, self._pressed.modifiers) or ""
            if self._drag:
                self._hearer.drag_began(self._drag, self._pressed)
        if self._drag and self._last is not None:
            self._hearer.dragged(self._drag, pointer, self._last)
        self._last = pointer

    def _hover(self, pointer: SlicePointer) -> None:
        if Modifier.SHIFT not in pointer.modifiers:
            self._shift_is_spent = False
        meaning = None if self._shift_is_spent else self._meaning_of("move", None, pointer.modifiers)
        self._hearer.hovered(pointer, meaning)

    def released(self, pointer: SlicePointer) -> None:
        """The button that was pressed first goes up."""
        pressed, drag = self._pressed, self._drag
        if pressed is None or pointer.button != pressed.button:
            return
        self.forget()
        if drag:
            self._hearer.drag_ended(drag, pointer)
        elif drag is None and pointer.plane == pressed.plane and _apart(pressed, pointer) <= CLICK_PIXELS:
            meaning = self._meaning_of("click", pressed.button, pressed.modifiers)
            if meaning is not None:
                self._hearer.clicked(meaning, pressed)

    def scrolled(self, pointer: SlicePointer, units: int) -> None:
        """The wheel or a trackpad; small turns of one direction add up."""
        if self._pressed is not None:
            return
        self._shift_is_spent |= Modifier.SHIFT in pointer.modifiers
        meaning = self._meaning_of("wheel", None, pointer.modifiers)
        if meaning is None:
            return
        if self._wheel != (meaning, pointer.plane) or self._units * units < 0:
            self._wheel, self._units = (meaning, pointer.plane), 0
        self._units += units
        notches = int(self._units / NOTCH)
        if notches:
            self._units -= notches * NOTCH
            self._hearer.turned(meaning, pointer, notches)


def _apart(one: SlicePointer, other: SlicePointer) -> float:
    return math.dist(one.screen, other.screen)
