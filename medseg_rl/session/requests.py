"""Every action as an id with JSON-ready parameters, and done again from them: what events carry and a replay needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medseg_rl.editing import from_json
from medseg_rl.hints.click_files import WorldClick
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.interaction import InteractionConfig, Stroke, Strokes, Variation
from medseg_rl.labels import Colour
from medseg_rl.session.entry import as_point, voxel_clicks
from medseg_rl.session.jobs import Action, DeleteClick, Job, PlaceVoxelClicks, Refine, Start
from medseg_rl.session.writing import DEFAULT_OVERWRITE
from medseg_rl.volume import Box, Volume

if TYPE_CHECKING:
    from medseg_rl.session.case import Case
    from medseg_rl.session.segmentation import SegmentationSession

Parameters = Mapping[str, Any]


def done_again(image: Volume, action: Action) -> tuple[str, dict[str, Any]]:
    """Id and parameters of an action. Clicks give both their voxel in file order and their point in RAS+ mm."""
    if isinstance(action, Refine):
        return _refinement(action)
    if isinstance(action, DeleteClick):
        return "delete_click", {"number": action.number}
    if isinstance(action, Start):
        return "start", {"name": action.name}
    clicks: list[dict[str, Any]] = []
    for given, click in zip(action.clicks, voxel_clicks(image, action.clicks), strict=True):
        point = given.point_mm if isinstance(given, WorldClick) else as_point(image.index_to_world(click.index))
        voxel = [int(i) for i in click.index]
        clicks.append({"mm": [float(v) for v in point], "voxel": voxel, "label": int(click.label)})
    return "scribble" if action.scribble else "click", {"clicks": clicks}


def _refinement(action: Refine) -> tuple[str, dict[str, Any]]:
    varied = action.variation
    if varied is not None:
        given = {"seed": varied.seed, "step_factor": varied.step_factor, "lean": varied.lean}
        return "candidate", {"variation": given}
    if action.command != Refine().command:
        return "command", {"command": action.command}
    return "refine", {}


def action_of(name: str, parameters: Parameters) -> Action | None:
    """The action of the model to run again; None for other actions, and for a start, whose mask is not in there."""
    if name == "refine":
        return Refine()
    if name == "command":
        return Refine(command=str(parameters["command"]))
    if name == "candidate":
        return Refine(variation=Variation(**parameters["variation"]))
    if name == "delete_click":
        return DeleteClick(int(parameters["number"]))
    if name not in ("click", "scribble"):
        return None
    found = []
    for click in parameters["clicks"]:
        i, j, k = (int(v) for v in click["voxel"])
        found.append(Click((i, j, k), ClickLabel(click["label"])))
    return PlaceVoxelClicks(tuple(found), scribble=name == "scribble")


def bounds(session: Case) -> dict[str, Any]:
    """What the session sets an action of the model besides its own parameters, where it is not the usual."""
    found: dict[str, Any] = {}
    if session.overwrite != DEFAULT_OVERWRITE:
        found["overwrite"] = session.overwrite
    if session.config.edit_radius_mm != InteractionConfig().edit_radius_mm:
        found["edit_radius_mm"] = session.config.edit_radius_mm
    if session.limit is not None:
        found["limit"] = [list(session.limit.start), list(session.limit.stop)]
    return found


@contextlib.contextmanager
def bounded(session: Case, parameters: Parameters) -> Iterator[None]:
    """The session with the bounds of parameters; afterwards it has its own again."""
    own = session.overwrite, session.config, session.limit
    session.overwrite = parameters.get("overwrite", DEFAULT_OVERWRITE)
    radius = parameters.get("edit_radius_mm", InteractionConfig().edit_radius_mm)
    session.config = replace(session.config, edit_radius_mm=None if radius is None else float(radius))
    limit = parameters.get("limit")
    session.limit = None if limit is None else Box.around_indices([limit[0], [n - 1 for n in limit[1]]])
    try:
        yield
    finally:
        session.overwrite, session.config, session.limit = own


def job_of(session: SegmentationSession, name: str, parameters: Parameters) -> Job | None:
    """The job of an action of the model on the active label, strokes into it included; None for other actions."""
    from medseg_rl.session.editing_actions import stroke_into

    action = action_of(name, parameters)
    if action is None:
        return None
    with bounded(session, parameters):
        job = session.prepare(action)
    given = []
    for stroke in parameters.get("interventions", ()):
        found = stroke_into(job, from_json(stroke["operation"]))
        if found is not None:
            given.append((Stroke(found[0].painted, int(stroke["after_step"])), found[1]))
    return replace(job, strokes=Strokes(given), name=name, parameters=_without_strokes(parameters))


def do_again(session: SegmentationSession, name: str, parameters: Parameters) -> bool:
    """Do an action on the active label as its parameters say; False for a start, whose mask is not in there.

    Raises what the action raises.
    """
    job = job_of(session, name, parameters)
    if job is not None:
        session.apply(job.run())
        return True
    policy, session.overwrite = session.overwrite, parameters.get("overwrite", session.overwrite)
    try:
        return _by_hand(session, name, parameters)
    finally:
        session.overwrite = policy


def _by_hand(session: SegmentationSession, name: str, given: Parameters) -> bool:
    """What is no action of the model; False where there is no such action."""
    again: dict[str, Callable[[], object]] = {
        "edit": lambda: session.edit(from_json(given["operation"])),
        "accept": session.accept,
        "discard": session.discard,
        "add_label": lambda: session.add_label(given["name"], int(given["value"]), _colour(given["colour"])),
        "rename_label": lambda: session.rename_label(int(given["value"]), given["name"]),
        "recolour_label": lambda: session.recolour_label(int(given["value"]), _colour(given["colour"])),
        "lock_label": lambda: session.set_lock(int(given["value"]), given["locked"]),
        "delete_label": lambda: session.delete_label(int(given["value"])),
    }
    if name not in again:
        return False
    again[name]()
    return True


def _colour(parts: Sequence[int]) -> Colour:
    red, green, blue = (int(part) for part in parts)
    return red, green, blue


def _without_strokes(parameters: Parameters) -> dict[str, Any]:
    return {key: given for key, given in parameters.items() if key != "interventions"}
