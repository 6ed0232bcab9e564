"""Every edit as a value, to JSON and back: what a journal writes down and a replay does again.

    edit = Brush([(12.0, -30.5, 44.0)], radius_mm=4, plane="axial").apply(context)

An operation reads an `EditContext` and returns an `Edit`; it writes nothing. Its parts are checked when it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from medseg_rl.editing.drawing import Brush, FillBox, GrowRegion, Lasso
from medseg_rl.editing.elsewhere import Combine, CopySlice, Interpolate
from medseg_rl.editing.separating import Islands, SplitIslands
from medseg_rl.editing.shaping import FillHoles, Margin, Smooth
from medseg_rl.editing.threshold import Threshold
from medseg_rl.errors import EditError

Operation = (
    Brush
    | Lasso
    | FillBox
    | GrowRegion
    | Islands
    | SplitIslands
    | FillHoles
    | Smooth
    | Margin
    | Interpolate
    | CopySlice
    | Combine
)
OPERATIONS: dict[str, type[Operation]] = {
    operation.kind: operation
    for operation in (
        Brush,
        Lasso,
        FillBox,
        GrowRegion,
        Islands,
        SplitIslands,
        FillHoles,
        Smooth,
        Margin,
        Interpolate,
        CopySlice,
        Combine,
    )
}


def to_json(operation: Operation) -> dict[str, Any]:
    """Its kind and fields, ready for JSON; a float keeps every digit."""
    return {"operation": operation.kind} | {
        field.name: _plain(getattr(operation, field.name)) for field in fields(operation)
    }


def from_json(data: Mapping[str, Any]) -> Operation:
    """The operation that `to_json` wrote. Raises EditError for what it could not have written."""
    given = dict(data)
    kind = given.pop("operation", None)
    operation = OPERATIONS.get(kind) if isinstance(kind, str) else None
    if operation is None:
        raise EditError(f"there is no operation {kind!r:.40}; there are {', '.join(OPERATIONS)}")
    if isinstance(given.get("threshold"), Mapping):
        given["threshold"] = _made(Threshold, given["threshold"])
    made: Operation = _made(operation, given)
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, Threshold):
        return {"low": value.low, "high": value.high, "inverted": value.inverted}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _made(kind: Any, given: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    if unknown := sorted(str(name) for name in given if name not in known):
        raise EditError(f"{kind.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    try:
        return kind(**given)
    except TypeError as error:
        raise EditError(f"{kind.__name__} lacks a part: {error}") from error
