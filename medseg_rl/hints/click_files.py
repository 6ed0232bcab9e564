"""Clicks as files, in world millimetres, so that they fit any image of the same patient space. Knows no image files.

Our own form, UTF-8 JSON; `point_mm` counts in RAS+, `target` (a structure's name or label value) may be left out:

    {"format": "medseg-rl clicks", "version": 1, "coordinates": "RAS+ mm",
     "clicks": [{"point_mm": [-12.5, 30.0, 4.25], "label": "foreground", "target": "tumour"},
                {"point_mm": [-10.0, 28.0, 4.25], "label": "background"}]}

3D Slicer's point lists (`.mrk.json`) are read and written too; `coordinateSystem` LPS (Slicer's own default) or RAS
is followed. A point list knows no object and background, so words decide: those of the point's description, else of
its label, else of the list's name, else of the file's name. Background, outside, exclude, negative, neg, bg, minus
make a background click; foreground, object, inside, include, positive, pos, fg, plus, or no such word, an object
click.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from medseg_rl.errors import ClickError, InputFileError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.volume import Volume

Point = tuple[float, float, float]

FORMAT, VERSION = "medseg-rl clicks", 1
SLICER_SUFFIX = ".mrk.json"
SLICER_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
LARGEST_FILE = 50_000_000  # bytes; a million clicks
LABELS = {
    "foreground": ClickLabel.FOREGROUND,
    "object": ClickLabel.FOREGROUND,
    "background": ClickLabel.BACKGROUND,
}
WORDS = {
    ClickLabel.FOREGROUND: {"foreground", "object", "inside", "include", "positive", "pos", "fg", "plus"},
    ClickLabel.BACKGROUND: {"background", "outside", "exclude", "negative", "neg", "bg", "minus"},
}


@dataclass(frozen=True)
class WorldClick:
    """`point_mm`: RAS+ millimetres. `label`: what is there. `target`: the structure meant, where the file says."""

    point_mm: Point
    label: ClickLabel
    target: str | int | None = None


def read_clicks(path: str | PathLike[str]) -> list[WorldClick]:
    """Clicks of a file in their order, ours or 3D Slicer's, told apart by content.

    Raises InputFileError when it cannot be read, ClickError when it is not such a file or a click in it is none.
    """
    path = Path(path)
    content = _load(path)
    if isinstance(content, dict) and "markups" in content:
        return _from_slicer(content, path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ClickError(f'{path} is no click file: it has neither "format": "{FORMAT}" nor the "markups" of 3D Slicer')
    if content.get("version") != VERSION:
        raise ClickError(f"{path} is of version {content.get('version')!r}, this program reads version {VERSION}")
    if content.get("coordinates", "RAS+ mm") != "RAS+ mm":
        raise ClickError(f'{path} counts in {content["coordinates"]!r}; this form knows "RAS+ mm" only')
    return [_click(entry, f"{path}, click {n}") for n, entry in enumerate(_list(content, "clicks", str(path)), 1)]


def write_clicks(path: str | PathLike[str], clicks: Iterable[WorldClick | tuple[Point, ClickLabel]]) -> None:
    """Writes WorldClicks or (RAS+ mm, label) pairs; a name that ends in .mrk.json makes a file for 3D Slicer.

    Replaces the file in one step or leaves it alone. Raises OutputError when it cannot be written.
    """
    from medseg_rl.imageio.atomic import atomic_path

    path = Path(path)
    given = [c if isinstance(c, WorldClick) else WorldClick(c[0], c[1]) for c in clicks]
    content = _for_slicer(given) if path.name.lower().endswith(SLICER_SUFFIX) else _ours(given)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def to_index(volume: Volume, clicks: Sequence[WorldClick]) -> tuple[Click, ...]:
    """The nearest voxel of each click, in their order. Raises ClickError where a click lies outside the volume."""
    return tuple(_voxel_click(volume, click, n) for n, click in enumerate(clicks, 1))


def _voxel_click(volume: Volume, click: WorldClick, number: int) -> Click:
    position = volume.world_to_index(click.point_mm)
    nearest = np.floor(position + 0.5)
    if np.isfinite(position).all() and np.all(nearest >= 0) and np.all(nearest < volume.shape):
        i, j, k = (int(n) for n in nearest)
        return Click((i, j, k), click.label)
    inside = volume.index_to_world(np.clip(position, 0, np.asarray(volume.shape) - 1))
    away = float(np.linalg.norm(inside - click.point_mm))
    corners = volume.index_to_world(np.array(np.meshgrid(*((0, n - 1) for n in volume.shape))).reshape(3, -1).T)
    extent = ", ".join(
        f"{axis} {low:.1f} to {high:.1f}"
        for axis, low, high in zip("xyz", corners.min(axis=0), corners.max(axis=0), strict=True)
    )
    raise ClickError(
        f"click {number} at {_mm(click.point_mm)} mm lies outside the volume, {away:.1f} mm from its nearest voxel; "
        f"the volume spans {extent} mm (RAS+){_lps_hint(volume, click)}"
    )


def _lps_hint(volume: Volume, click: WorldClick) -> str:
    x, y, z = click.point_mm
    nearest = np.floor(volume.world_to_index((-x, -y, z)) + 0.5)
    if np.all(nearest >= 0) and np.all(nearest < volume.shape):
        return "; with x and y negated it would be inside, so the file may hold LPS coordinates"
    return ""


# ---- reading ---------------------------------------------------------------------------------------------------------


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ClickError(f"{path} has {path.stat().st_size} bytes, too many for a click file")
        data = path.read_bytes()
    except OSError as error:
        raise InputFileError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        what = "is empty" if not data.strip() else f"is no JSON, or was cut off, at line {error.lineno}: {error.msg}"
        raise ClickError(f"{path} {what}; save it again") from error
    except UnicodeDecodeError as error:
        raise ClickError(f"{path} is no UTF-8 text at byte {error.start}, so no click file") from error
    except (RecursionError, ValueError) as error:
        raise ClickError(f"{path} is no click file: nested too deep, or a number too long") from error


def _list(content: dict[str, Any], key: str, where: str) -> list[Any]:
    entries = content.get(key)
    if not isinstance(entries, list):
        raise ClickError(f'{where}: "{key}" must be a list, and is {_shown(entries)}')
    return entries


def _click(entry: Any, where: str) -> WorldClick:
    if not isinstance(entry, dict):
        raise ClickError(f'{where}: must be an object with "point_mm" and "label", and is {_shown(entry)}')
    label = entry.get("label")
    if not isinstance(label, str) or label.lower() not in LABELS:
        raise ClickError(f'{where}: "label" must be "foreground" or "background", and is {_shown(label)}')
    target = entry.get("target")
    if isinstance(target, bool) or not isinstance(target, str | int | None):
        raise ClickError(f'{where}: "target" must be a name or a label value, and is {_shown(target)}')
    return WorldClick(_point(entry.get("point_mm"), f'{where}: "point_mm"'), LABELS[label.lower()], target)


def _point(values: Any, where: str) -> Point:
    numbers = values if isinstance(values, list) and len(values) == 3 else []
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in numbers) or not numbers:
        raise ClickError(f"{where} must be three numbers in mm, and is {_shown(values)}")
    try:
        x, y, z = (float(v) for v in numbers)
    except OverflowError as error:
        raise ClickError(f"{where} holds a number too large for millimetres") from error
    if not all(math.isfinite(v) for v in (x, y, z)):
        raise ClickError(f"{where} must be finite, and is {_shown(values)}")
    return x, y, z


def _from_slicer(content: dict[str, Any], path: Path) -> list[WorldClick]:
    clicks: list[WorldClick] = []
    for number, markup in enumerate(_list(content, "markups", str(path)), 1):
        where = f"{path}, list {number}"
        if not isinstance(markup, dict):
            raise ClickError(f"{where}: must be an object, and is {_shown(markup)}")
        if markup.get("type", "Fiducial") not in ("Fiducial", "PointList"):
            raise ClickError(f"{where}: is a {_shown(markup['type'])}; only point lists can be clicks")
        system = markup.get("coordinateSystem", "LPS")
        if system not in ("LPS", "RAS"):
            raise ClickError(f'{where}: "coordinateSystem" must be LPS or RAS, and is {_shown(system)}')
        units = markup.get("coordinateUnits", "mm")
        if any(unit != "mm" for unit in (units if isinstance(units, list) else [units])):
            raise ClickError(f'{where}: "coordinateUnits" must be mm, and is {_shown(units)}')
        for n, point in enumerate(_list(markup, "controlPoints", where), 1):
            spot = f"{where}, point {n}"
            if not isinstance(point, dict):
                raise ClickError(f"{spot}: must be an object, and is {_shown(point)}")
            if point.get("positionStatus", "defined") != "defined":
                continue  # a point prepared in Slicer, but never placed
            x, y, z = _point(point.get("position"), f'{spot}: "position"')
            label = _label_by_words(
                [point.get("description"), point.get("label"), markup.get("name"), path.name.split(".")[0]], spot
            )
            clicks.append(WorldClick((x, y, z) if system == "RAS" else (-x, -y, z), label))
    return clicks


def _label_by_words(texts: Sequence[Any], where: str) -> ClickLabel:
    for text in texts:
        words = set(re.findall(r"[a-z]+", text.lower())) if isinstance(text, str) else set()
        found = [label for label, known in WORDS.items() if words & known]
        if len(found) > 1:
            raise ClickError(f"{where}: {_shown(text)} says object and background at once; keep one of the two words")
        if found:
            return found[0]
    return ClickLabel.FOREGROUND


# ---- writing ---------------------------------------------------------------------------------------------------------


def _ours(clicks: Sequence[WorldClick]) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for click in clicks:
        entry: dict[str, Any] = {"point_mm": [float(v) for v in click.point_mm], "label": _name(click.label)}
        entries.append(entry if click.target is None else {**entry, "target": click.target})
    return {"format": FORMAT, "version": VERSION, "coordinates": "RAS+ mm", "clicks": entries}


def _for_slicer(clicks: Sequence[WorldClick]) -> dict[str, Any]:
    points = []
    for n, click in enumerate(clicks, 1):
        x, y, z = (float(v) for v in click.point_mm)
        name = _name(click.label)
        points.append(
            {
                "id": str(n),
                "label": f"{name}-{n}",
                "description": name,
                "position": [-x, -y, z],
                "positionStatus": "defined",
            }
        )
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
    return {"@schema": SLICER_SCHEMA, "markups": [markup]}


def _name(label: ClickLabel) -> str:
    return ClickLabel(label).name.lower()


def _mm(point: Point) -> str:
    return "(" + ", ".join(f"{v:.1f}" for v in point) + ")"


def _shown(value: Any) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
