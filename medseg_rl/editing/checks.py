"""What an edit may be given: numbers, points and planes, checked once where they come in, from a user or from JSON."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from medseg_rl.editing.grid import WORLD_AXES, Plane, Point
from medseg_rl.errors import EditError

MOST_POINTS = 30_000  # of one stroke: an hour of fast drawing; also bounds what a forged file can ask for


def as_number(value: Any, what: str, low: float, high: float) -> float:
    """A number from `low` to `high`, both included. Raises EditError."""
    if not _is_finite(value):
        raise EditError(f"the {what} must be a number from {low:g} to {high:g}, not {value!r:.40}")
    number = float(value)
    if not low <= number <= high:
        raise EditError(f"the {what} is {number:g}; it must lie between {low:g} and {high:g}")
    return number


def as_points(points: Any, what: str, *, at_least: int = 1) -> tuple[Point, ...]:
    """Points in RAS+ mm as a tuple of triples of floats. Raises EditError."""
    try:
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1:] != (3,) or not np.isfinite(array).all():
        raise EditError(f"the {what} must be points of three finite millimetres")
    if not at_least <= len(array) <= MOST_POINTS:
        raise EditError(f"the {what} has {len(array)} points; it takes {at_least} to {MOST_POINTS}")
    return tuple((float(x), float(y), float(z)) for x, y, z in array)


def as_point(point: Any, what: str) -> Point:
    """One point in RAS+ mm. Raises EditError."""
    return as_points([point], what)[0]


def as_plane(plane: Any) -> Plane:
    """The name of a plane. Raises EditError."""
    if plane not in tuple(WORLD_AXES):
        raise EditError(f"there is no plane {plane!r:.40}; there are {', '.join(sorted(WORLD_AXES))}")
    return cast(Plane, plane)


def as_plane_or_none(plane: Any) -> Plane | None:
    """The name of a plane, or None for all three dimensions. Raises EditError."""
    return None if plane is None else as_plane(plane)


def as_flag(value: Any, what: str) -> bool:
    """True or False. Raises EditError for anything else."""
    if not isinstance(value, bool):
        raise EditError(f"{what} is {value!r:.40}; it must be true or false")
    return value


def as_whole(value: Any, what: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included. Raises EditError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= int(value) <= high:
        raise EditError(f"the {what} is {value!r:.40}; it must be a whole number from {low} to {high}")
    return int(value)


def as_limit(value: Any, what: str) -> float | None:
    """A finite intensity that bounds a range, None for no bound. Raises EditError."""
    if value is None:
        return None
    if not _is_finite(value):
        raise EditError(f"the {what} must be a finite number, or left out, not {value!r:.40}")
    return float(value)


def _is_finite(value: Any) -> bool:
    """Whether it is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False
