"""What each mouse gesture means, in each preset: the mouse half of the table in `actions.py`. Sees no events.

A gesture is written "Ctrl+left-drag", "right-click", "Shift+wheel" or "W+left-drag", where a letter is a key held down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from medseg_rl_gui.actions import TOOLS, Preset
from medseg_rl_gui.i18n import mark
from medseg_rl_gui.view_model import Button, Modifier

Form = Literal["click", "drag", "wheel", "move"]
FORMS: tuple[Form, ...] = ("click", "drag", "wheel", "move")
_ORDER = (Modifier.CTRL, Modifier.SHIFT, Modifier.ALT)


@dataclass(frozen=True)
class Gesture:
    """`button`: None for the wheel and for moving. `held`: whether the key of "Window while held" is down as well."""

    form: Form
    button: Button | None = None
    modifiers: frozenset[Modifier] = frozenset()
    held: bool = False

    @classmethod
    def of(cls, text: str) -> Self:
        """From its spelling. Raises ValueError, which says what cannot be read."""
        *before, last = text.strip().split("+")
        held = "W" in before
        names = [name.lower() for name in before if name != "W"]
        unknown = [name for name in names if name not in set(Modifier)]
        button, _, form = last.lower().rpartition("-")
        if unknown or form not in FORMS or (button and button not in set(Button)):
            raise ValueError(f'"{text}" is no gesture; write such as Ctrl+left-drag, right-click, Shift+wheel')
        if bool(button) != (form in ("click", "drag")):
            raise ValueError(f'"{text}" is no gesture; clicks and drags need a button, wheel and move have none')
        chosen = Button(button) if button else None
        return cls(form, chosen, frozenset(Modifier(name) for name in names), held)

    def __str__(self) -> str:
        modifiers = [modifier.value.capitalize() for modifier in _ORDER if modifier in self.modifiers]
        main = self.form if self.button is None else f"{self.button.value}-{self.form}"
        return "+".join([*(["W"] if self.held else []), *modifiers, main])


@dataclass(frozen=True)
class MouseAction:
    """What a gesture does. `tools`: with which it works; `gestures`: per preset, "default" for those without own."""

    id: str
    text: str
    gestures: Mapping[Preset, tuple[str, ...]]
    tools: frozenset[str] = frozenset(TOOLS)
    other_tools: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def gestures_in(self, preset: Preset) -> tuple[str, ...]:
        """The shipped gestures of a preset."""
        return self.gestures.get(preset, self.gestures["default"])

    def tools_for(self, gesture: str) -> frozenset[str]:
        """The tools with which a gesture means this; a shipped gesture may be for fewer than the action itself."""
        return self.other_tools.get(gesture, self.tools)


def _of(default: str, **presets: str) -> dict[Preset, tuple[str, ...]]:
    found: dict[Preset, tuple[str, ...]] = {"default": tuple(default.split())}
    for name, gestures in presets.items():
        found[name] = tuple(gestures.split())  # type: ignore[index]  # the keyword is a preset's name
    return found


_PAINTING = frozenset({"brush", "eraser", "scribble"})
_DRAWING = _PAINTING | {"box", "lasso"}

MOUSE_ACTIONS: tuple[MouseAction, ...] = (
    MouseAction("mouse.scroll", mark("Scroll slices"), _of("wheel")),
    MouseAction(
        "mouse.zoom",
        mark("Zoom"),
        _of("Ctrl+wheel right-drag", itksnap="Ctrl+wheel right-drag Ctrl+left-drag", pacs="Ctrl+wheel Ctrl+right-drag"),
    ),
    MouseAction(
        "mouse.pan",
        mark("Pan"),
        _of("middle-drag Shift+left-drag", itksnap="middle-drag Alt+left-drag", pacs="middle-drag Shift+right-drag"),
    ),
    MouseAction(
        "mouse.window",
        mark("Brightness and contrast"),
        _of("W+left-drag", slicer="left-drag", pacs="right-drag"),
        other_tools={"left-drag": frozenset({"window"})},
    ),
    MouseAction(
        "mouse.window_box",
        mark("Brightness and contrast from a box"),
        _of("W+Ctrl+left-drag", slicer="Ctrl+left-drag", itksnap="W+right-drag", pacs="Ctrl+Shift+right-drag"),
        other_tools={"Ctrl+left-drag": frozenset({"window"})},
    ),
    MouseAction(
        "mouse.crosshair",
        mark("Crosshair"),
        _of("Shift+move left-click"),
        other_tools={"left-click": frozenset({"navigate"})},
    ),
    MouseAction("mouse.positive", mark("Positive click"), _of("left-click"), frozenset({"point"})),
    MouseAction(
        "mouse.negative",
        mark("Negative click"),
        _of("right-click Ctrl+left-click", itksnap="right-click"),
        frozenset({"point"}),
    ),
    MouseAction("mouse.paint", mark("Paint or draw"), _of("left-drag"), _DRAWING),
    MouseAction(
        "mouse.erase",
        mark("Erase"),
        _of("right-drag Ctrl+left-drag", slicer="Ctrl+left-drag", itksnap="right-drag", pacs="Ctrl+left-drag"),
        _DRAWING,
        {"right-drag": _PAINTING},
    ),
    MouseAction("mouse.radius", mark("Brush radius"), _of("Shift+wheel")),
    MouseAction("mouse.pick", mark("Pick label under the pointer"), _of("Ctrl+Shift+left-click")),
)
MOUSE_BY_ID: Mapping[str, MouseAction] = {action.id: action for action in MOUSE_ACTIONS}


def meaning(
    bound: Mapping[str, Iterable[str]],
    *,
    form: Form,
    button: Button | None,
    modifiers: frozenset[Modifier],
    tool: str,
    held: bool = False,
) -> str | None:
    """The id of what a gesture means with a tool in hand; `bound`: gestures by id, as `Bindings.gestures` has them.

    Of two meanings that of fewer tools goes first: with the brush a right-drag erases, with other tools it zooms.
    """
    sought = str(Gesture(form, button, modifiers, held))
    found = [
        MOUSE_BY_ID[id_]
        for id_, gestures in bound.items()
        if sought in gestures and tool in MOUSE_BY_ID[id_].tools_for(sought)
    ]
    return min(found, key=lambda action: len(action.tools_for(sought))).id if found else None


def clash(one: MouseAction, other: MouseAction, gesture: str) -> bool:
    """Whether a gesture could not be told apart: they share tools, and neither is for fewer of them."""
    mine, theirs = one.tools_for(gesture), other.tools_for(gesture)
    return bool(mine & theirs) and not (mine < theirs or theirs < mine)
