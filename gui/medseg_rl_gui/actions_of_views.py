"""A part of the table of actions: slices, crosshair, overlay, layout, grey levels."""

from __future__ import annotations

from medseg_rl_gui.action_kinds import IMAGE, Action, Need, keys_of
from medseg_rl_gui.i18n import mark


def _scroll(name: str, text: str, keys: str, **presets: str) -> Action:
    tooltip = mark("Move through the slices of the view under the pointer")
    return Action(f"slice.{name}", text, tooltip, "", keys_of(keys, **presets), needs=IMAGE)


def _nudge(name: str, text: str, keys: str) -> Action:
    return Action(f"crosshair.{name}", text, mark("Move the crosshair by one voxel"), "", keys_of(keys), needs=IMAGE)


VIEW = (
    Action(
        "view.overlay",
        mark("Show labels"),
        mark("Show or hide all labels"),
        "view",
        keys_of("V", slicer="G", itksnap="S"),
        kind="toggle",
        needs=IMAGE,
        icon="overlay",
    ),
    Action(
        "view.outline",
        mark("Labels as outline"),
        mark("Outline or filled"),
        "view",
        keys_of("O"),
        kind="toggle",
        needs=IMAGE,
        icon="outline",
    ),
    Action(
        "view.fainter",
        mark("Fainter labels"),
        mark("Less opaque"),
        "view",
        keys_of("Ctrl+[", itksnap="A"),
        needs=IMAGE,
    ),
    Action(
        "view.stronger",
        mark("Stronger labels"),
        mark("More opaque"),
        "view",
        keys_of("Ctrl+]", itksnap="D"),
        needs=IMAGE,
    ),
    Action(
        "view.smooth",
        mark("Smooth image"),
        mark("Interpolate the image between voxels; labels never are"),
        "view",
        keys_of("Shift+I"),
        kind="toggle",
        needs=IMAGE,
    ),
    Action("view.reset", mark("Reset view"), mark("The whole slice in each view"), "view", keys_of("R"), needs=IMAGE),
    Action(
        "view.centre",
        mark("Centre on crosshair"),
        mark("Bring the crosshair into the middle of every view"),
        "view",
        keys_of("C"),
        needs=IMAGE,
    ),
    Action(
        "view.crosshair",
        mark("Show crosshair"),
        mark("Show or hide the crosshair"),
        "view",
        keys_of("X"),
        kind="toggle",
        needs=IMAGE,
        icon="crosshair",
    ),
    Action(
        "view.neurological",
        mark("Neurological convention"),
        mark("Patient's left on the left of the screen; radiological otherwise"),
        "view",
        kind="toggle",
    ),
    Action("view.layout", mark("Next layout"), mark("Four-up, 3+1, single"), "view", keys_of("\\"), icon="layout"),
    Action("view.maximise", mark("Maximise view"), mark("Maximise the view, or restore all"), "view", keys_of("M")),
    Action(
        "view.full_screen", mark("Full screen"), mark("Use the whole screen"), "view", keys_of("F11"), kind="toggle"
    ),
    Action(
        "view.context_menu", mark("Context menu"), mark("What can be done here"), "", keys_of("Shift+F10"), needs=IMAGE
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
    needs: tuple[Need, ...] = ("image", "hounsfield") if hounsfield else IMAGE
    return Action(f"window.{name}", text, mark("Set brightness and contrast"), "view", keys_of(keys), needs=needs)


WINDOWS = (
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
