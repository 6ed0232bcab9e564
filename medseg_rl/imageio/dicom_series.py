"""Sorts DICOM files into series. Judges nothing, and decodes no pixel.

Slices are ordered by their position along the normal, never by file name. What lies at one place twice is split by what
sets it apart, or offered as one stack a copy, so that a user chooses.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from medseg_rl.errors import Cancelled
from medseg_rl.imageio.dicom_slices import PLAIN, SEGMENTATION_CLASSES, SPLITTING_TAGS, Slice, slices_of
from medseg_rl.volume import FloatArray

__all__ = ["SEGMENTATION_CLASSES", "Scan", "Series", "Slice", "files_below", "scan"]

SAME_POSITION_MM = 0.01
MOST_COPIES = 64  # of one place; beyond that nobody could choose
PLANES = ("sagittal", "coronal", "axial")  # nearest to a normal along x, y, z


@dataclass(frozen=True, eq=False)
class Series:
    """Slices that belong together, sorted by position.

    `note`: what sets it apart where a series was split. `orientations`: groups of slices, this one included, that the
    series has in directions of their own. `doubled`: places where more than one image lies, one of which was taken.
    """

    slices: tuple[Slice, ...]
    note: str = ""
    orientations: int = 1
    doubled: int = 0

    @property
    def first(self) -> Slice:
        """The slice with the smallest depth."""
        return self.slices[0]

    @property
    def uid(self) -> str:
        """Series Instance UID."""
        return _uid(self.first)

    @property
    def modality(self) -> str:
        """As in the file, such as "CT"."""
        return str(self.first.header.get("Modality", ""))

    @property
    def description(self) -> str:
        """Series description and, where the series was split, the part."""
        return " ".join(f"{self.first.header.get('SeriesDescription') or ''} {self.note}".split())

    @property
    def files(self) -> int:
        """How many files hold its slices."""
        return len({s.path for s in self.slices})

    @property
    def could_be_volume(self) -> bool:
        """Whether a user may mean this one: several slices that lie somewhere."""
        return self.first.is_image and len(self.slices) > 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        return (*self.first.size, len(self.slices))

    @cached_property
    def depths(self) -> FloatArray:
        """Positions along the normal, from the first slice, mm (n)."""
        return _depths(self.slices) - _depths(self.slices[:1])

    @cached_property
    def gaps(self) -> FloatArray:
        """From each slice to the next along the normal, mm (n - 1)."""
        return np.diff(self.depths)

    def line(self) -> str:
        """One line for a list: CT "Portal venous", 512 x 512 x 298."""
        name = f' "{self.description}"' if self.description else ""
        kind = "" if self.first.kind == PLAIN else f" {self.first.kind}"
        shape = f", {' x '.join(str(n) for n in self.shape)}" if self.first.size[0] else ""
        return f"{self.modality}{kind}{name}{shape}"


@dataclass(frozen=True, eq=False)
class Scan:
    """What a folder holds. `damaged`: DICOM files that cannot be read. `others`: number of files that are no DICOM."""

    series: tuple[Series, ...]
    damaged: tuple[Path, ...]
    others: int


def scan(
    files: Iterable[Path],
    *,
    progress: Callable[[int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Scan:
    """Reads the headers of `files` and groups their slices by series UID, orientation, shape and in-plane spacing.

    `progress` hears the number of files read so far. Raises Cancelled once `cancel` says True.
    """
    groups: dict[tuple[object, ...], list[list[Slice]]] = defaultdict(list)
    damaged: list[Path] = []
    others = 0
    seen: set[str] = set()
    for number, path in enumerate(files, 1):
        if cancel is not None and cancel():
            raise Cancelled(f"the search was stopped after {number - 1} files")
        try:
            found = slices_of(path)
        except Exception:  # parsers of damaged headers raise whatever they like
            damaged.append(path)
            continue
        finally:
            if progress is not None:
                progress(number)
        if found is None:
            others += path.suffix.lower() != ".dcm"
            if path.suffix.lower() == ".dcm":
                damaged.append(path)
            continue
        uid = str(found[0].header.get("SOPInstanceUID") or path)
        if uid not in seen:  # else the same image twice, under two names
            seen.add(uid)
            for item in found:
                _put(groups, item)
    return Scan(tuple(_listed(groups.values())), tuple(damaged), others)


def files_below(folder: Path) -> Iterator[Path]:
    """Every file in `folder` and the folders in it, in a fixed order."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (path for path in (Path(parent) / name for name in sorted(names)) if path.is_file())


def _put(groups: dict[tuple[object, ...], list[list[Slice]]], item: Slice) -> None:
    key = (_uid(item), item.kind, item.size)
    group = next((g for g in groups[key] if g[0].lies_like(item)), None)
    if group is None:
        groups[key].append([item])
    else:
        group.append(item)


def _listed(alike: Iterable[list[list[Slice]]]) -> list[Series]:
    """Every group as one series or more, those that could be volumes first."""
    groups = [tuple(group) for family in alike for group in family]
    directions: dict[str, list[Slice]] = defaultdict(list)  # one slice of each direction of a series
    for first in (group[0] for group in groups if group[0].is_image):
        known = directions[_uid(first)]
        if not any(first.is_parallel(other) for other in known):
            known.append(first)
    series = []
    for group in groups:
        number = len(directions[_uid(group[0])]) if group[0].is_image else 1
        plane = PLANES[int(np.abs(group[0].normal).argmax())] if number > 1 else ""
        for part in _split(group):
            series.append(replace(part, note=f"{plane} {part.note}".strip(), orientations=number))
    series.sort(key=lambda s: (not s.could_be_volume, _series_number(s), s.uid))
    return series


def _uid(item: Slice) -> str:
    return str(item.header.get("SeriesInstanceUID", ""))


def _series_number(series: Series) -> int:
    number = str(series.first.header.get("SeriesNumber") or "")
    return int(number) if number.isdecimal() else 0


def _split(group: tuple[Slice, ...]) -> list[Series]:
    """One series, or several where slices at the same place differ in acquisition, echo or time, or in nothing."""
    if group[0].kind in SEGMENTATION_CLASSES.values():
        return [Series((s,)) for s in group]
    if not group[0].is_image:
        return [Series(group)]
    group = _in_order(group)
    if not _doubled(group):
        return [Series(group)]
    varying = [tag for tag in SPLITTING_TAGS if len({s.tags.get(tag, "") for s in group}) > 1]
    for tags in (*((tag,) for tag in varying), *itertools.combinations(varying, 2)):
        parts: dict[tuple[str, ...], list[Slice]] = defaultdict(list)
        for item in group:
            parts[tuple(item.tags.get(tag, "") for tag in tags)].append(item)
        if not any(_doubled(part) for part in parts.values()):
            return [Series(tuple(parts[values]), _part_note(tags, values)) for values in sorted(parts, key=_rank)]
    return _copies(group)


def _part_note(tags: Sequence[str], values: Sequence[str]) -> str:
    return " ".join(f"{tag} {value or 'absent'}" for tag, value in zip(tags, values, strict=True))


def _rank(values: Sequence[str]) -> list[tuple[float, str]]:
    """Sorts numbers as numbers and before all else."""
    ranks = []
    for value in values:
        try:
            ranks.append((float(value), ""))
        except ValueError:
            ranks.append((math.inf, value))
    return ranks


def _copies(group: tuple[Slice, ...]) -> list[Series]:
    """One whole stack a copy: the n-th image of each place by instance number, the last one where there are fewer."""
    places: list[list[Slice]] = []
    for item, depth in zip(group, _depths(group), strict=True):
        if places and depth - _depths(places[-1][:1])[0] < SAME_POSITION_MM:
            places[-1].append(item)
        else:
            places.append([item])
    most, doubled = max(len(place) for place in places), sum(len(place) > 1 for place in places)
    if most > MOST_COPIES or len(places) == 1:
        return [Series(group, doubled=doubled)]
    ordered = [sorted(place, key=_instance) for place in places]
    return [
        Series(tuple(place[min(n, len(place) - 1)] for place in ordered), f"copy {n + 1} of {most}", doubled=doubled)
        for n in range(most)
    ]


def _instance(item: Slice) -> tuple[int, int, Path]:
    number = item.tags.get("InstanceNumber") or str(item.header.get("InstanceNumber") or "")
    return (int(number) if number.isdecimal() else 0, item.frame or 0, item.path)


def _in_order(group: Sequence[Slice]) -> tuple[Slice, ...]:
    ranked = sorted(zip(_depths(group).tolist(), group, strict=True), key=lambda pair: (pair[0], pair[1].path))
    return tuple(item for _, item in ranked)


def _doubled(group: Sequence[Slice]) -> bool:
    """Whether, in a list sorted by depth, two neighbours lie at the same place."""
    return bool((np.diff(_depths(group)) < SAME_POSITION_MM).any())


def _depths(group: Sequence[Slice]) -> FloatArray:
    """Positions along the one normal of the group in mm (n): normals of their own would add their rounding."""
    return np.array([s.position for s in group]) @ group[0].normal
