"""Finds the DICOM images of a folder and sorts them into series. Reads headers only, and judges nothing."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medseg_rl.errors import Cancelled
from medseg_rl.imageio.dicom_series import Series, split, uid_of
from medseg_rl.imageio.dicom_slices import Slice, slices_of

PLANES = ("sagittal", "coronal", "axial")  # nearest to a normal along x, y, z


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
    """Every file in `folder` and the folders in it, in a fixed order; links into places nobody may look at are not."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(parent) / name for name in sorted(names)):
            with contextlib.suppress(OSError):
                if path.is_file():
                    yield path


def _put(groups: dict[tuple[object, ...], list[list[Slice]]], item: Slice) -> None:
    key = (uid_of(item), item.kind, item.size)
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
        known = directions[uid_of(first)]
        if not any(first.is_parallel(other) for other in known):
            known.append(first)
    series = []
    for group in groups:
        number = len(directions[uid_of(group[0])]) if group[0].is_image else 1
        plane = PLANES[int(np.abs(group[0].normal).argmax())] if number > 1 else ""
        for part in split(group):
            series.append(replace(part, note=f"{plane} {part.note}".strip(), orientations=number))
    series.sort(key=lambda s: (not s.could_be_volume, _series_number(s), s.uid))
    return series


def _series_number(series: Series) -> int:
    number = str(series.first.header.get("SeriesNumber") or "")
    return int(number) if number.isdecimal() else 0
