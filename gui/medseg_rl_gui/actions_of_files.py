"""A part of the table of actions: files, editing, help."""

from __future__ import annotations

from medseg_rl_gui.action_kinds import IMAGE, Action, keys_of
from medseg_rl_gui.i18n import mark

FILE = (
    Action("file.open", mark("Open…"), mark("Open an image, mask or session"), "file", keys_of("Ctrl+O"), icon="open"),
    Action(
        "file.open_folder",
        mark("Open DICOM folder…"),
        mark("Search a folder for DICOM series and choose one"),
        "file",
        keys_of("Ctrl+Shift+O"),
        icon="folder",
    ),
    Action("file.open_sample", mark("Open sample"), mark("Open the small case that comes with the program"), "file"),
    Action("file.cases", mark("Case list…"), mark("A folder of cases and how far each is"), "file"),
    Action("file.load_mask", mark("Load mask…"), mark("Load labels onto this image"), "file", needs=IMAGE),
    Action(
        "file.save",
        mark("Save session"),
        mark("Save labels, clicks, proposal and undo stack"),
        "file",
        keys_of("Ctrl+S"),
        needs=IMAGE,
        icon="save",
    ),
    Action(
        "file.save_as",
        mark("Save session as…"),
        mark("Save the session under another name"),
        "file",
        keys_of("Ctrl+Shift+S"),
        needs=IMAGE,
    ),
    Action(
        "file.export",
        mark("Export…"),
        mark("Write the labels as DICOM SEG, RTSTRUCT, NIfTI, NRRD or surfaces"),
        "file",
        keys_of("Ctrl+E"),
        needs=IMAGE,
        icon="export",
    ),
    Action(
        "file.screenshot_view",
        mark("Screenshot of view…"),
        mark("Save the view under the pointer as PNG"),
        "file",
        needs=IMAGE,
    ),
    Action("file.screenshot_window", mark("Screenshot of window…"), mark("Save the whole window as PNG"), "file"),
    Action("file.close", mark("Close case"), mark("Close this case"), "file", keys_of("Ctrl+W"), needs=IMAGE),
    Action("file.quit", mark("Quit"), mark("Close the program"), "file", keys_of("Ctrl+Q")),
)

EDIT = (
    Action(
        "edit.undo",
        mark("Undo"),
        mark("Take the last action back"),
        "edit",
        keys_of("Ctrl+Z", slicer="Ctrl+Z Z"),
        needs=("undo",),
        icon="undo",
    ),
    Action(
        "edit.redo",
        mark("Redo"),
        mark("Do again what was undone"),
        "edit",
        keys_of("Ctrl+Shift+Z Ctrl+Y", slicer="Ctrl+Shift+Z Ctrl+Y Y"),
        needs=("redo",),
        icon="redo",
    ),
    Action(
        "proposal.accept",
        mark("Accept proposal"),
        mark("Write the proposal into the active label"),
        "edit",
        keys_of("Return Enter"),
        needs=("proposal",),
        icon="accept",
    ),
    Action(
        "proposal.discard",
        mark("Discard proposal"),
        mark("Drop the proposal and its clicks"),
        "edit",
        keys_of("Esc"),
        needs=("proposal",),
        icon="discard",
    ),
    Action(
        "click.delete_last",
        mark("Delete last click"),
        mark("Take the newest click out of the list"),
        "edit",
        keys_of("Backspace"),
        needs=("clicks",),
    ),
    Action(
        "click.delete",
        mark("Delete selected click"),
        mark("Take the click that is selected in the list out of it"),
        "edit",
        keys_of("Del"),
        needs=("clicks",),
        icon="delete",
    ),
    Action(
        "click.at_crosshair",
        mark("Click at crosshair"),
        mark("Place a click of the chosen sign where the crosshair stands"),
        "edit",
        keys_of("Ctrl+Return Ctrl+Enter"),
        needs=IMAGE,
    ),
    Action(
        "edit.fill_holes",
        mark("Fill holes"),
        mark("Fill what the active label encloses"),
        "edit",
        keys_of("F"),
        needs=("image", "mask"),
    ),
    Action(
        "edit.islands",
        mark("Islands"),
        mark("Keep the largest connected part of the active label"),
        "edit",
        keys_of("I"),
        needs=("image", "mask"),
    ),
    Action("edit.preferences", mark("Preferences…"), mark("Change how the program behaves"), "edit", keys_of("Ctrl+,")),
)

HELP = (
    Action("help.guide", mark("Guide"), mark("How to work with this program"), "help", keys_of("F1")),
    Action("help.sheet", mark("Shortcut sheet"), mark("All keys and mouse gestures"), "help", keys_of("?")),
    Action("help.shortcuts", mark("Change shortcuts…"), mark("Give actions other keys and gestures"), "help"),
    Action("help.notice", mark("Research-use notice"), mark("What this program may not be used for"), "help"),
    Action("help.about", mark("About MedSeg-RL"), mark("Versions and licences"), "help"),
)
