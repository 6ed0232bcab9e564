"""THE table of actions: id, text, tooltip, keys in each preset, context, what it needs. Knows no widget, no handler.

Menus, toolbar, shortcut editor and the `?` sheet are built from it; no widget defines a shortcut. What an action does
is said by whoever hands a function to `ActionSet.connect_all` under its id. The mouse stands in `gestures.py`. In a
text field no key without Ctrl or Alt fires, so that context has no actions of its own.
"""

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


def _keys(default: str = "", **presets: str) -> dict[Preset, tuple[str, ...]]:
    """Keys apart by spaces, for each preset that has its own."""
    found: dict[Preset, tuple[str, ...]] = {"default": tuple(default.split())}
    for name, keys in presets.items():
        found[name] = tuple(keys.split())  # type: ignore[index]  # the keyword is a preset's name
    return found


_IMAGE: tuple[Need, ...] = ("image",)

_FILE = (
    Action("file.open", mark("Open…"), mark("Open an image, mask or session"), "file", _keys("Ctrl+O"), icon="open"),
    Action(
        "file.open_folder",
        mark("Open DICOM folder…"),
        mark("Search a folder for DICOM series and choose one"),
        "file",
        _keys("Ctrl+Shift+O"),
        icon="folder",
    ),
    Action("file.open_sample", mark("Open sample"), mark("Open the small case that comes with the program"), "file"),
    Action("file.cases", mark("Case list…"), mark("A folder of cases and how far each is"), "file"),
    Action("file.load_mask", mark("Load mask…"), mark("Load labels onto this image"), "file", needs=_IMAGE),
    Action(
        "file.save",
        mark("Save session"),
        mark("Save labels, clicks, proposal and undo stack"),
        "file",
        _keys("Ctrl+S"),
        needs=_IMAGE,
        icon="save",
    ),
    Action(
        "file.save_as",
        mark("Save session as…"),
        mark("Save the session under another name"),
        "file",
        _keys("Ctrl+Shift+S"),
        needs=_IMAGE,
    ),
    Action(
        "file.export",
        mark("Export…"),
        mark("Write the labels as DICOM SEG, RTSTRUCT, NIfTI, NRRD or surfaces"),
        "file",
        _keys("Ctrl+E"),
        needs=_IMAGE,
        icon="export",
    ),
    Action(
        "file.screenshot_view",
        mark("Screenshot of view…"),
        mark("Save the view under the pointer as PNG"),
        "file",
        needs=_IMAGE,
    ),
    Action("file.screenshot_window", mark("Screenshot of window…"), mark("Save the whole window as PNG"), "file"),
    Action("file.close", mark("Close case"), mark("Close this case"), "file", _keys("Ctrl+W"), needs=_IMAGE),
    Action("file.quit", mark("Quit"), mark("Close the program"), "file", _keys("Ctrl+Q")),
)

_EDIT = (
    Action(
        "edit.undo",
        mark("Undo"),
        mark("Take the last action back"),
        "edit",
        _keys("Ctrl+Z", slicer="Ctrl+Z Z"),
        needs=("undo",),
        icon="undo",
    ),
    Action(
        "edit.redo",
        mark("Redo"),
        mark("Do again what was undone"),
        "edit",
        _keys("Ctrl+Shift+Z Ctrl+Y", slicer="Ctrl+Shift+Z Ctrl+Y Y"),
        needs=("redo",),
        icon="redo",
    ),
    Action(
        "proposal.accept",
        mark("Accept proposal"),
        mark("Write the proposal into the active label"),
        "edit",
        _keys("Return Enter"),
        needs=("proposal",),
        icon="accept",
    ),
    Action(
        "proposal.discard",
        mark("Discard proposal"),
        mark("Drop the proposal and its clicks"),
        "edit",
        _keys("Esc"),
        needs=("proposal",),
        icon="discard",
    ),
    Action(
        "click.delete_last",
        mark("Delete last click"),
        mark("Take the newest click out of the list"),
        "edit",
        _keys("Backspace"),
        needs=("clicks",),
    ),
    Action(
        "click.delete",
        mark("Delete selected click"),
        mark("Take the click that is selected in the list out of it"),
        "edit",
        _keys("Del"),
        needs=("clicks",),
        icon="delete",
    ),
    Action(
        "click.at_crosshair",
        mark("Click at crosshair"),
        mark("Place a click of the chosen sign where the crosshair stands"),
        "edit",
        _keys("Ctrl+Return Ctrl+Enter"),
        needs=_IMAGE,
    ),
    Action(
        "edit.fill_holes",
        mark("Fill holes"),
        mark("Fill what the active label encloses"),
        "edit",
        _keys("F"),
        needs=("image", "mask"),
    ),
    Action(
        "edit.islands",
        mark("Islands"),
        mark("Keep the largest connected part of the active label"),
        "edit",
        _keys("I"),
        needs=("image", "mask"),
    ),
    Action("edit.preferences", mark("Preferences…"), mark("Change how the program behaves"), "edit", _keys("Ctrl+,")),
)


def _tool(name: str, text: str, tooltip: str, keys: dict[Preset, tuple[str, ...]]) -> Action:
    return Action(f"tool.{name}", text, tooltip, "tools", keys, kind="toggle", needs=_IMAGE, icon=name, one_of="tool")


_TOOLS = (
    _tool("navigate", mark("Navigate"), mark("Move the crosshair; nothing is changed"), _keys("N")),
    _tool("point", mark("Point"), mark("Click inside the target; right-click what does not belong"), _keys("P")),
    _tool("brush", mark("Brush"), mark("Paint the active label"), _keys("D", itksnap="Shift+D")),
    _tool("eraser", mark("Eraser"), mark("Erase the active label"), _keys("E")),
    _tool("scribble", mark("Scribble"), mark("Draw a stroke of many clicks"), _keys("S", itksnap="Shift+S")),
    _tool("box", mark("Box"), mark("Draw a box that limits where the model works, or that is filled"), _keys("B")),
    _tool("lasso", mark("Lasso"), mark("Outline what is to be filled or erased"), _keys("L")),
    _tool("window", mark("Window"), mark("Drag for brightness and contrast"), _keys(slicer="Alt+W")),
    Action(
        "tool.swap",
        mark("Swap tools"),
        mark("Back to the tool used before"),
        "tools",
        _keys(slicer="Space"),
        needs=_IMAGE,
    ),
    Action(
        "tool.momentary",
        mark("Navigate while held"),
        mark("The Navigate tool as long as the key is down"),
        "",
        _keys("Space", slicer=""),
        kind="hold",
        needs=_IMAGE,
    ),
    Action(
        "view.window_hold",
        mark("Window while held"),
        mark("Dragging sets brightness and contrast as long as the key is down"),
        "",
        _keys("W", slicer="", pacs=""),
        kind="hold",
        needs=_IMAGE,
    ),
    Action(
        "click.polarity", mark("Change sign"), mark("Between adding and removing"), "tools", _keys("T"), icon="sign"
    ),
    Action(
        "brush.smaller",
        mark("Smaller brush"),
        mark("Reduce the radius"),
        "tools",
        _keys("[", slicer="-", itksnap="-"),
        needs=_IMAGE,
    ),
    Action(
        "brush.larger",
        mark("Larger brush"),
        mark("Enlarge the radius"),
        "tools",
        _keys("]", slicer="+", itksnap="+"),
        needs=_IMAGE,
    ),
)


def _scroll(name: str, text: str, keys: str, **presets: str) -> Action:
    tooltip = mark("Move through the slices of the view under the pointer")
    return Action(f"slice.{name}", text, tooltip, "", _keys(keys, **presets), needs=_IMAGE)


def _nudge(name: str, text: str, keys: str) -> Action:
    return Action(f"crosshair.{name}", text, mark("Move the crosshair by one voxel"), "", _keys(keys), needs=_IMAGE)


_VIEW = (
    Action(
        "view.overlay",
        mark("Show labels"),
        mark("Show or hide all labels"),
        "view",
        _keys("V", slicer="G", itksnap="S"),
        kind="toggle",
        needs=_IMAGE,
        icon="overlay",
    ),
    Action(
        "view.outline",
        mark("Labels as outline"),
        mark("Outline or filled"),
        "view",
        _keys("O"),
        kind="toggle",
        needs=_IMAGE,
        icon="outline",
    ),
    Action(
        "view.fainter",
        mark("Fainter labels"),
        mark("Less opaque"),
        "view",
        _keys("Ctrl+[", itksnap="A"),
        needs=_IMAGE,
    ),
    Action(
        "view.stronger",
        mark("Stronger labels"),
        mark("More opaque"),
        "view",
        _keys("Ctrl+]", itksnap="D"),
        needs=_IMAGE,
    ),
    Action(
        "view.smooth",
        mark("Smooth image"),
        mark("Interpolate the image between voxels; labels never are"),
        "view",
        _keys("Shift+I"),
        kind="toggle",
        needs=_IMAGE,
    ),
    Action("view.reset", mark("Reset view"), mark("The whole slice in each view"), "view", _keys("R"), needs=_IMAGE),
    Action(
        "view.centre",
        mark("Centre on crosshair"),
        mark("Bring the crosshair into the middle of every view"),
        "view",
        _keys("C"),
        needs=_IMAGE,
    ),
    Action(
        "view.crosshair",
        mark("Show crosshair"),
        mark("Show or hide the crosshair"),
        "view",
        _keys("X"),
        kind="toggle",
        needs=_IMAGE,
        icon="crosshair",
    ),
    Action(
        "view.neurological",
        mark("Neurological convention"),
        mark("Patient's left on the left of the screen; radiological otherwise"),
        "view",
        kind="toggle",
    ),
    Action("view.layout", mark("Next layout"), mark("Four-up, 3+1, single"), "view", _keys("\\"), icon="layout"),
    Action("view.maximise", mark("Maximise view"), mark("Maximise the view, or restore all"), "view", _keys("M")),
    Action("view.full_screen", mark("Full screen"), mark("Use the whole screen"), "view", _keys("F11"), kind="toggle"),
    Action(
        "view.context_menu", mark("Context menu"), mark("What can be done here"), "", _keys("Shift+F10"), needs=_IMAGE
    ),
    _scroll("up", mark("Next slice"), "Up PgUp", slicer="Up PgUp Right"),
    _scroll("down", mark("Previous slice"), "Down PgDown", slicer="Down PgDown Left"),
    _scroll("up5", mark("Five slices on"), "Shift+Up Shift+PgUp", slicer="Shift+Up Shift+PgUp Shift+Right"),
    _scroll("down5", mark("Five slices back"), "Shift+Down Shift+PgDown", slicer="Shift+Down Shift+PgDown Shift+Left"),
    _scroll("first", mark("First slice"), "Home"),
    _scroll("last", mark("Last slice"), "End"),
    _nudge("left", mark("Crosshair left"), "Alt+Left"),
    _nudge("right", mark("Crosshair right"), "Alt+Right"),
    _nudge("up", mark("Crosshair up"), "Alt+Up"),
    _nudge("down", mark("Crosshair down"), "Alt+Down"),
)


def _window(name: str, text: str, keys: str, *, hounsfield: bool = True) -> Action:
    needs: tuple[Need, ...] = ("image", "hounsfield") if hounsfield else _IMAGE
    return Action(f"window.{name}", text, mark("Set brightness and contrast"), "view", _keys(keys), needs=needs)


_WINDOWS = (
    _window("soft_tissue", mark("Soft tissue 400/40"), "Alt+1"),
    _window("lung", mark("Lung 1500/-600"), "Alt+2"),
    _window("bone", mark("Bone 2000/300"), "Alt+3"),
    _window("brain", mark("Brain 80/40"), "Alt+4"),
    _window("stroke", mark("Stroke 40/40"), "Alt+5"),
    _window("mediastinum", mark("Mediastinum 350/40"), "Alt+6"),
    _window("liver", mark("Liver 150/60"), "Alt+7"),
    _window("angiography", mark("Angiography 600/150"), "Alt+8"),
    _window("full", mark("Full range"), "Alt+9", hounsfield=False),
    _window("auto", mark("Automatic"), "Alt+0 Ctrl+J", hounsfield=False),
)

_LABELS = (
    Action(
        "label.previous",
        mark("Previous label"),
        mark("Make the label before this one the active one"),
        "label",
        _keys(",", slicer="Q", itksnap="<"),
        needs=_IMAGE,
    ),
    Action(
        "label.next",
        mark("Next label"),
        mark("Make the label after this one the active one"),
        "label",
        _keys(".", slicer="W", itksnap=">"),
        needs=_IMAGE,
    ),
    Action(
        "label.new",
        mark("New label"),
        mark("Add a label and make it the active one"),
        "label",
        _keys("Ctrl+L"),
        needs=_IMAGE,
        icon="add",
    ),
    Action(
        "label.lock",
        mark("Lock label"),
        mark("Close or open the padlock of the active label"),
        "label",
        _keys("Ctrl+Shift+L"),
        kind="toggle",
        needs=_IMAGE,
        icon="lock",
    ),
)

_MODEL = (
    Action(
        "model.start",
        mark("Automatic start"),
        mark("Let the model's own network propose a first mask"),
        "model",
        needs=("image", "model"),
    ),
    Action(
        "model.refine",
        mark("Refine again"),
        mark("More refinement steps without a new click"),
        "model",
        needs=("image", "model"),
    ),
    Action(
        "model.candidates",
        mark("Candidates"),
        mark("Several refinements to rank"),
        "model",
        _keys("K"),
        needs=("image", "model"),
    ),
    Action(
        "model.suggest_next",
        mark("Next suggestion"),
        mark("Go to the slice where a click helps most"),
        "model",
        _keys("J"),
        needs=("image", "suggestion"),
    ),
    Action(
        "model.suggest_previous",
        mark("Previous suggestion"),
        mark("Back to the suggestion before"),
        "model",
        _keys("Shift+J"),
        needs=("image", "suggestion"),
    ),
    Action(
        "model.guard",
        mark("Locality guard"),
        mark("A click changes nothing farther away than the guard's radius"),
        "model",
        _keys("Shift+G"),
        kind="toggle",
        needs=_IMAGE,
        icon="guard",
    ),
    Action("model.cancel", mark("Stop"), mark("Stop what is running"), "model", needs=("job",)),
)

_RANK_TEXTS = (
    mark("Rank candidate 1"),
    mark("Rank candidate 2"),
    mark("Rank candidate 3"),
    mark("Rank candidate 4"),
    mark("Rank candidate 5"),
    mark("Rank candidate 6"),
    mark("Rank candidate 7"),
    mark("Rank candidate 8"),
    mark("Rank candidate 9"),
)
_RANKS = (
    *(
        Action(f"rank.{n}", text, mark("Best first"), keys=_keys(f"{n}"), context="ranking")
        for n, text in enumerate(_RANK_TEXTS, start=1)
    ),
    Action("rank.tie", mark("Tie"), mark("The next one is as good as the last"), keys=_keys("0"), context="ranking"),
    Action("rank.none", mark("None usable"), mark("No candidate is usable"), keys=_keys("U"), context="ranking"),
    Action(
        "rank.back", mark("Take rank back"), mark("Take the last rank back"), keys=_keys("Backspace"), context="ranking"
    ),
    Action(
        "rank.submit",
        mark("Submit ranking"),
        mark("The best becomes the proposal"),
        keys=_keys("Return Enter"),
        context="ranking",
    ),
    Action(
        "rank.cancel", mark("Leave ranking"), mark("Keep what was there before"), keys=_keys("Esc"), context="ranking"
    ),
)

_LASSO = (
    Action(
        "lasso.close", mark("Close lasso"), mark("Fill or erase inside"), keys=_keys("Return Enter"), context="lasso"
    ),
    Action(
        "lasso.back", mark("Remove last point"), mark("Of the open lasso"), keys=_keys("Backspace"), context="lasso"
    ),
    Action("lasso.clear", mark("Clear lasso"), mark("Drop the open lasso"), keys=_keys("Esc"), context="lasso"),
)

_HELP = (
    Action("help.guide", mark("Guide"), mark("How to work with this program"), "help", _keys("F1")),
    Action("help.sheet", mark("Shortcut sheet"), mark("All keys and mouse gestures"), "help", _keys("?")),
    Action("help.shortcuts", mark("Change shortcuts…"), mark("Give actions other keys and gestures"), "help"),
    Action("help.notice", mark("Research-use notice"), mark("What this program may not be used for"), "help"),
    Action("help.about", mark("About MedSeg-RL"), mark("Versions and licences"), "help"),
)

ACTIONS: tuple[Action, ...] = (
    *_FILE,
    *_EDIT,
    *_TOOLS,
    *_VIEW,
    *_WINDOWS,
    *_LABELS,
    *_MODEL,
    *_RANKS,
    *_LASSO,
    *_HELP,
)
BY_ID: Mapping[str, Action] = {action.id: action for action in ACTIONS}
TOOLS: tuple[str, ...] = tuple(action.id.removeprefix("tool.") for action in ACTIONS if action.one_of == "tool")
