"""Actions on the model as ids with JSON-ready parameters, and back: what events carry and a replay does again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg_rl.hints.click_files import WorldClick
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.session.entry import as_point, voxel_clicks
from medseg_rl.session.jobs import Action, DeleteClick, PlaceVoxelClicks, Refine, Start
from medseg_rl.volume import Volume


def done_again(image: Volume, action: Action) -> tuple[str, dict[str, Any]]:
    """Id and parameters of an action. Clicks give both their voxel in file order and their point in RAS+ mm."""
    if isinstance(action, Refine):
        return "refine", {}
    if isinstance(action, DeleteClick):
        return "delete_click", {"number": action.number}
    if isinstance(action, Start):
        return "start", {"name": action.name}
    clicks: list[dict[str, Any]] = []
    for given, click in zip(action.clicks, voxel_clicks(image, action.clicks), strict=True):
        point = given.point_mm if isinstance(given, WorldClick) else as_point(image.index_to_world(click.index))
        clicks.append(
            {"mm": [float(v) for v in point], "voxel": [int(i) for i in click.index], "label": int(click.label)}
        )
    return "click", {"clicks": clicks}


def action_of(name: str, parameters: Mapping[str, Any]) -> Action | None:
    """The action to run again; None for those that are no model action, and for a start, whose mask is not in there."""
    if name == "refine":
        return Refine()
    if name == "delete_click":
        return DeleteClick(int(parameters["number"]))
    if name != "click":
        return None
    found = []
    for click in parameters["clicks"]:
        i, j, k = (int(v) for v in click["voxel"])
        found.append(Click((i, j, k), ClickLabel(click["label"])))
    return PlaceVoxelClicks(tuple(found))
