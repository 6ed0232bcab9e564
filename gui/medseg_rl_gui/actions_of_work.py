"""A part of the table of actions: tools, labels, the model, ranking, lasso."""

from __future__ import annotations

from medseg_rl_gui.action_kinds import IMAGE, Action, Preset, keys_of
from medseg_rl_gui.i18n import mark


def _tool(name: str, text: str, tooltip: str, keys: dict[Preset, tuple[str, ...]]) -> Action:
    return Action(f"tool.{name}", text, tooltip, "tools", keys, kind="toggle", needs=IMAGE, icon=name, one_of="tool")


TOOL_ACTIONS = (
    _tool("navigate", mark("Navigate"), mark("Move the crosshair; nothing is changed"), keys_of("N")),
    _tool("point", mark("Point"), mark("Click inside the target; right-click what does not belong"), keys_of("P")),
    _tool("brush", mark("Brush"), mark("Paint the active label"), keys_of("D", itksnap="Shift+D")),
    _tool("eraser", mark("Eraser"), mark("Erase the active label"), keys_of("E")),
    _tool("scribble", mark("Scribble"), mark("Draw a stroke of many clicks"), keys_of("S", itksnap="Shift+S")),
    _tool("box", mark("Box"), mark("Draw a box that limits where the model works, or that is filled"), keys_of("B")),
    _tool("lasso", mark("Lasso"), mark("Outline what is to be filled or erased"), keys_of("L")),
    _tool("window", mark("Window"), mark("Drag for brightness and contrast"), keys_of(slicer="Alt+W")),
    Action(
        "tool.swap",
        mark("Swap tools"),
        mark("Back to the tool used before"),
        "tools",
        keys_of(slicer="Space"),
        needs=IMAGE,
    ),
    Action(
        "tool.momentary",
        mark("Navigate while held"),
        mark("The Navigate tool as long as the key is down"),
        "",
        keys_of("Space", slicer=""),
        kind="hold",
        needs=IMAGE,
    ),
    Action(
        "view.window_hold",
        mark("Window while held"),
        mark("Dragging sets brightness and contrast as long as the key is down"),
        "",
        keys_of("W", slicer="", pacs=""),
        kind="hold",
        needs=IMAGE,
    ),
    Action(
        "click.polarity", mark("Change sign"), mark("Between adding and removing"), "tools", keys_of("T"), icon="sign"
    ),
    Action(
        "brush.smaller",
        mark("Smaller brush"),
        mark("Reduce the radius"),
        "tools",
        keys_of("[", slicer="-", itksnap="-"),
        needs=IMAGE,
    ),
    Action(
        "brush.larger",
        mark("Larger brush"),
        mark("Enlarge the radius"),
        "tools",
        keys_of("]", slicer="+", itksnap="+"),
        needs=IMAGE,
    ),
)

LABELS = (
    Action(
        "label.previous",
        mark("Previous label"),
        mark("Make the label before this one the active one"),
        "label",
        keys_of(",", slicer="Q", itksnap="<"),
        needs=IMAGE,
    ),
    Action(
        "label.next",
        mark("Next label"),
        mark("Make the label after this one the active one"),
        "label",
        keys_of(".", slicer="W", itksnap=">"),
        needs=IMAGE,
    ),
    Action(
        "label.new",
        mark("New label"),
        mark("Add a label and make it the active one"),
        "label",
        keys_of("Ctrl+L"),
        needs=IMAGE,
        icon="add",
    ),
    Action(
        "label.lock",
        mark("Lock label"),
        mark("Close or open the padlock of the active label"),
        "label",
        keys_of("Ctrl+Shift+L"),
        kind="toggle",
        needs=IMAGE,
        icon="lock",
    ),
)

MODEL = (
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
        keys_of("K"),
        needs=("image", "model"),
    ),
    Action(
        "model.suggest_next",
        mark("Next suggestion"),
        mark("Go to the slice where a click helps most"),
        "model",
        keys_of("J"),
        needs=("image", "suggestion"),
    ),
    Action(
        "model.suggest_previous",
        mark("Previous suggestion"),
        mark("Back to the suggestion before"),
        "model",
        keys_of("Shift+J"),
        needs=("image", "suggestion"),
    ),
    Action(
        "model.guard",
        mark("Locality guard"),
        mark("A click changes nothing farther away than the guard's radius"),
        "model",
        keys_of("Shift+G"),
        kind="toggle",
        needs=IMAGE,
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
RANKS = (
    *(
        Action(f"rank.{n}", text, mark("Best first"), keys=keys_of(f"{n}"), context="ranking")
        for n, text in enumerate(_RANK_TEXTS, start=1)
    ),
    Action("rank.tie", mark("Tie"), mark("The next one is as good as the last"), keys=keys_of("0"), context="ranking"),
    Action("rank.none", mark("None usable"), mark("No candidate is usable"), keys=keys_of("U"), context="ranking"),
    Action(
        "rank.back",
        mark("Take rank back"),
        mark("Take the last rank back"),
        keys=keys_of("Backspace"),
        context="ranking",
    ),
    Action(
        "rank.submit",
        mark("Submit ranking"),
        mark("The best becomes the proposal"),
        keys=keys_of("Return Enter"),
        context="ranking",
    ),
    Action(
        "rank.cancel", mark("Leave ranking"), mark("Keep what was there before"), keys=keys_of("Esc"), context="ranking"
    ),
)

LASSO = (
    Action(
        "lasso.close", mark("Close lasso"), mark("Fill or erase inside"), keys=keys_of("Return Enter"), context="lasso"
    ),
    Action(
        "lasso.back", mark("Remove last point"), mark("Of the open lasso"), keys=keys_of("Backspace"), context="lasso"
    ),
    Action("lasso.clear", mark("Clear lasso"), mark("Drop the open lasso"), keys=keys_of("Esc"), context="lasso"),
)
