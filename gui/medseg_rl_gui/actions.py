"""THE table of actions: id, text, tooltip, keys in each preset, context, what it needs. Knows no widget, no handler.

Menus, toolbar, shortcut editor and the `?` sheet are built from it; no widget defines a shortcut. What an action does
is said by whoever hands a function to `ActionSet.connect_all` under its id. The mouse stands in `gestures.py`. In a
text field no key without Ctrl or Alt fires, so that context has no actions of its own. Put together here from parts.
"""

from __future__ import annotations

from collections.abc import Mapping

from medseg_rl_gui.action_kinds import CONTEXTS, MENUS, PRESETS, REASONS, Action, Context, Kind, Menu, Need, Preset
from medseg_rl_gui.actions_of_files import EDIT, FILE, HELP
from medseg_rl_gui.actions_of_views import VIEW, WINDOWS
from medseg_rl_gui.actions_of_work import LABELS, LASSO, MODEL, RANKS, TOOL_ACTIONS

__all__ = [
    "ACTIONS",
    "BY_ID",
    "CONTEXTS",
    "MENUS",
    "PRESETS",
    "REASONS",
    "TOOLS",
    "Action",
    "Context",
    "Kind",
    "Menu",
    "Need",
    "Preset",
]

ACTIONS: tuple[Action, ...] = (
    *FILE,
    *EDIT,
    *TOOL_ACTIONS,
    *VIEW,
    *WINDOWS,
    *LABELS,
    *MODEL,
    *RANKS,
    *LASSO,
    *HELP,
)
BY_ID: Mapping[str, Action] = {action.id: action for action in ACTIONS}
TOOLS: tuple[str, ...] = tuple(action.id.removeprefix("tool.") for action in ACTIONS if action.one_of == "tool")
