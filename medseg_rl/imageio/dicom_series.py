"""A DICOM series as slices in order of their positions, and what it is split into where images share a place.

Order is by position along the normal, never by file name. What lies at one place twice is split by what sets it apart,
or offered as one stack a copy, so that a user chooses. Judges nothing; `dicom_scan` finds the slices.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from medseg_rl.imageio.dicom_slices import PLAIN, SEGMENTATION_CLASSES, Slice
from medseg_rl.imageio.dicom_tags import SPLITTING_TAGS
from medseg_rl.volume import FloatArray

SAME_POSITION_MM = 0.01
MOST_COPIES = 64  # of one place; beyond that nobody could choose


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
        return uid_of(self.first)

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


def uid_of(item: Slice) -> str:
    return str(item.header.get("SeriesInstanceUID", ""))


def split(group: tuple[Slice, ...]) -> list[Series]:
    """One series, or several where slices at the same place differ in acquisition, echo or time, or in nothing."""
    if group[0].kind in SEGMENTATION_CLASSES.values():
        return [Series((s,)) for s in group]
    if not group[0].is_image:
        return [Series(group)]
    group = _in_order(group)
    if not _doubled(group):
        return [Series(group)]
    most = max(len(place) for place in _places(group))
    varying = [tag for tag in SPLITTING_TAGS if len({s.tags.get(tag, "") for s in group}) > 1]
    for tags in (*((tag,) for tag in varying), *itertools.combinations(varying, 2)):
        parts: dict[tuple[str, ...], list[Slice]] = defaultdict(list)
        for item in group:
            parts[tuple(item.tags.get(tag, "") for tag in tags)].append(item)
        if _is_split(list(parts.values()), most):
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
    places = _places(group)
    most, doubled = max(len(place) for place in places), sum(len(place) > 1 for place in places)
    if most > MOST_COPIES or len(places) == 1:
        return [Series(group, doubled=doubled)]
    ordered = [sorted(place, key=_instance) for place in places]
    return [
        Series(tuple(place[min(n, len(place) - 1)] for place in ordered), f"copy {n + 1} of {most}", doubled=doubled)
        for n in range(most)
    ]


def _is_split(parts: list[list[Slice]], most: int) -> bool:
    """Whether no part has two images at one place, and the parts are stacks: a tag that counts slices splits nothing.

    `most`: images at one place of the whole.
    """
    few = len(parts) <= 2 * most and max(len(part) for part in parts) > 1
    return few and not any(_doubled(part) for part in parts)


def _places(group: Sequence[Slice]) -> list[list[Slice]]:
    """The images at each place, of a list sorted by depth."""
    places: list[list[Slice]] = []
    last = -math.inf
    for item, depth in zip(group, _depths(group).tolist(), strict=True):
        if depth - last < SAME_POSITION_MM:
            places[-1].append(item)
        else:
            places.append([item])
            last = depth
    return places


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
