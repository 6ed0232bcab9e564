"""What an action is, and the words of presets, contexts, menus and needs. The actions themselves: `actions.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from medseg_rl_gui.i18n import mark

Preset = Literal["default", "slicer", "itksnap", "pacs"]
Context = Literal["view", "ranking", "lasso"]
Kind = Literal["press", "toggle", "hold"]
Need = Literal["image", "proposal", "clicks", "undo", "redo", "model", "suggestion", "mask", "hounsfield", "job"]
Menu = Literal["file", "edit", "tools", "view", "label", "model", "help", ""]

PRESETS: Mapping[Preset, str] = {
    "default": mark("Default"),
    "slicer": mark("Slicer"),
    "itksnap": mark("ITK-SNAP"),
    "pacs": mark("PACS"),
}
CONTEXTS: Mapping[Context, str] = {
    "view": mark("Window"),
    "ranking": mark("While ranking candidates"),
    "lasso": mark("While drawing a lasso"),
}
MENUS: Mapping[Menu, str] = {
    "file": mark("&File"),
    "edit": mark("&Edit"),
    "tools": mark("&Tools"),
    "view": mark("&View"),
    "label": mark("&Labels"),
    "model": mark("&Model"),
    "help": mark("&Help"),
}
REASONS: Mapping[Need, str] = {
    "image": mark("Open an image first"),
    "proposal": mark("There is no open proposal"),
    "clicks": mark("There is no click yet"),
    "undo": mark("There is nothing to undo"),
    "redo": mark("There is nothing to redo"),
    "model": mark("No model is chosen"),
    "suggestion": mark("The model must refine once before it can suggest"),
    "mask": mark("The active label is still empty"),
    "hounsfield": mark("Hounsfield windows are for CT only"),
    "job": mark("Nothing is running"),
}


@dataclass(frozen=True)
class Action:
    """One thing a user can ask for. `keys`: per preset; a preset without its own takes those of "default".

    `kind`: "press"; "toggle", which is on or off; "hold", which lasts while the key is down. `one_of`: a group of which
    one is on. `needs`: it is greyed, with the reason, until all of them are there. `icon`: a file in `icons/`.
    """

    id: str
    text: str
    tooltip: str
    menu: Menu = ""
    keys: Mapping[Preset, tuple[str, ...]] = field(default_factory=dict)
    context: Context = "view"
    kind: Kind = "press"
    needs: tuple[Need, ...] = ()
    icon: str = ""
    one_of: str = ""

    def keys_in(self, preset: Preset) -> tuple[str, ...]:
        """The shipped keys of a preset, in Qt's portable spelling."""
        return self.keys[preset] if preset in self.keys else self.keys.get("default", ())


def keys_of(default: str = "", **presets: str) -> dict[Preset, tuple[str, ...]]:
    """Keys apart by spaces, for each preset that has its own."""
    found: dict[Preset, tuple[str, ...]] = {"default": tuple(default.split())}
    for name, keys in presets.items():
        found[name] = tuple(keys.split())  # type: ignore[index]  # the keyword is a preset's name
    return found


IMAGE: tuple[Need, ...] = ("image",)
