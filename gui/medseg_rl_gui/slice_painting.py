"""From voxels to the pixels and contours of one slice: windowing, label colours, outlines. NumPy alone, no Qt.

A *plane array* is (rows, columns): from top to bottom and from side to side in array order; flips are the transform's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.labels import BACKGROUND, LabelMap, values_in
from medseg_rl.volume import Box, Index
from medseg_rl_gui.view_model import Mask, Overlay, ProposalView, Window

PlaneArray = npt.NDArray[Any]
Grey = npt.NDArray[np.uint8]
Pixels = npt.NDArray[np.uint32]  # 0xAARRGGBB, colour parts already multiplied by alpha
Contour = npt.NDArray[np.intp]  # (n, 2) corners x, y in voxel edges; closed, inside on the right hand when y runs down
Part = tuple[slice, slice]  # rows, columns

LONGEST_TABLE = 1 << 16  # label values up to here are looked up directly, in one pass


def plane_array(array: npt.NDArray[Any], axes: Index, index: int) -> PlaneArray:
    """One slice as a view; `axes` as those of `SliceGeometry`."""
    through, across, down = axes
    plane: PlaneArray = array.transpose(through, down, across)[index]
    return plane


def gathered(plane: PlaneArray) -> PlaneArray:
    """A copy that lies together. In the order of memory: a slice through scattered voxels is fetched three times as
    fast as from row to row, and turning it afterwards costs little.
    """
    return plane.copy(order="K")


def part_of(box: Box, axes: Index, index: int) -> Part | None:
    """Rows and columns of a box on one slice; None where the slice does not meet it."""
    through, across, down = axes
    if not box.start[through] <= index < box.stop[through] or box.voxels == 0:
        return None
    return slice(box.start[down], box.stop[down]), slice(box.start[across], box.stop[across])


def windowed(plane: PlaneArray, window: Window) -> Grey:
    """`clip((x - (L - W/2)) / W, 0, 1)` as grey levels 0 to 255; what is not a number is black."""
    width = max(window.width, 1e-6)
    grey = plane.astype(np.float32)
    grey -= window.level - width / 2
    grey *= 255 / width
    np.clip(grey, 0, 255, out=grey)
    grey += 0.5
    if plane.dtype.kind == "f":
        np.nan_to_num(grey, copy=False)
    return np.ascontiguousarray(grey.astype(np.uint8))


def opaque(grey: Grey) -> Pixels:
    """Grey levels as colours: Qt draws these twice as fast."""
    pixels = grey.astype(np.uint32)
    pixels *= 0x010101
    pixels |= 0xFF000000
    return pixels


@dataclass(frozen=True, eq=False)
class ColourTable:
    """One premultiplied colour for each label value; `values` rising, `colours` one longer: the last is for no label.

    `direct` takes a value from 0 to its length - 1 straight to its colour; None where values are too large for it.
    """

    values: npt.NDArray[np.int64]
    colours: Pixels
    direct: Pixels | None

    @classmethod
    def of(cls, labels: LabelMap, overlay: Overlay) -> ColourTable:
        """Clear for background, for values without a label and for hidden ones."""
        shown = sorted(
            (label.value, premultiplied(label.colour, overlay.opacity))
            for label in labels.labels
            if label.value not in overlay.hidden
        )
        values = np.array([value for value, _ in shown], np.int64)
        colours = np.array([*(colour for _, colour in shown), 0], np.uint32)
        if values.size and (values[0] < 0 or values[-1] >= LONGEST_TABLE - 1):
            return cls(values, colours, None)
        direct = np.zeros(int(values[-1]) + 2 if values.size else 1, np.uint32)  # the last entry is clear as well
        direct[values] = colours[:-1]
        return cls(values, colours, direct)

    def paint(self, plane: PlaneArray) -> Pixels:
        """The colour of every voxel."""
        if plane.dtype == np.uint64:
            plane = plane.astype(np.int64)  # NumPy looks nothing up by unsigned numbers of that length
        if self.direct is not None:
            return np.take(self.direct, plane, mode="clip")
        places = np.searchsorted(self.values, plane).clip(max=len(self.values) - 1)
        return self.colours[np.where(self.values[places] == plane, places, len(self.values))]


def premultiplied(colour: tuple[int, int, int], opacity: float) -> int:
    """A colour (0-255) and its opacity (0 to 1) as one number."""
    alpha = round(255 * min(max(opacity, 0.0), 1.0))
    red, green, blue = (round(part * alpha / 255) for part in colour)
    return alpha << 24 | red << 16 | green << 8 | blue


Layers = tuple[npt.NDArray[Any], ...]


def label_planes(layers: Layers, axes: Index, index: int) -> list[PlaneArray]:
    """One slice of every layer, copied together: it is read more than once, and may lie scattered in memory."""
    return [np.ascontiguousarray(gathered(plane_array(layer, axes, index))) for layer in layers]


def renew_part(planes: list[PlaneArray], part: Part, layers: Layers, axes: Index, index: int) -> None:
    """Takes over a part of a slice, in which voxels were written."""
    for plane, layer in zip(planes, layers, strict=True):
        plane[part] = plane_array(layer, axes, index)[part]


def blend_labels(planes: list[PlaneArray], table: ColourTable) -> Pixels:
    """The labels of one slice, by the planes of its layers; where they overlap the later one is seen."""
    pixels = np.zeros(planes[0].shape, np.uint32)
    blend_part(pixels, (slice(None), slice(None)), planes, table)
    return pixels


def blend_part(pixels: Pixels, part: Part, planes: list[PlaneArray], table: ColourTable) -> None:
    """The same, written into a part of `pixels` alone."""
    painted = pixels[part]  # a view
    painted[...] = 0
    for plane in planes:
        if plane[part].any():  # most slices of most layers are empty
            above = table.paint(plane[part])
            np.copyto(painted, above, where=above != 0)


def inside_label(planes: list[PlaneArray], value: int) -> Mask:
    """True inside a label on one slice, in any layer."""
    inside: Mask = planes[0] == value
    for plane in planes[1:]:
        inside |= plane == value
    return inside


def values_on(planes: list[PlaneArray]) -> set[int]:
    """Label values that occur on one slice, without background."""
    return {value for plane in planes for value in values_in(plane)} - {BACKGROUND}


@dataclass(frozen=True, eq=False)
class ProposalPlane:
    """One slice of a proposal: True where it lies, where it adds to the accepted mask, where it removes from it."""

    inside: Mask
    added: Mask
    removed: Mask


def proposal_plane(proposal: ProposalView, planes: list[PlaneArray], axes: Index, index: int) -> ProposalPlane:
    """A proposal on one slice, given the planes of the layers there; outside its box it is the accepted mask."""
    accepted = inside_label(planes, proposal.label)
    inside = accepted.copy()
    part = part_of(proposal.box, axes, index)
    if part is not None:
        inside[part] = plane_array(proposal.inside, axes, index - proposal.box.start[axes[0]])
    return ProposalPlane(inside, inside & ~accepted, accepted & ~inside)


# --- contours ---------------------------------------------------------------------------------------------------------

_STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])  # x, y: right, down, left, up; one further is a turn to the right


def contours(inside: Mask) -> list[Contour]:
    """The edges between inside and outside as closed polygons, holes too. Voxels that touch by a corner stay apart."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if rows.size == 0:
        return []
    top, left = int(rows[0]), int(columns[0])
    starts, directions, width = _edges(inside[top : rows[-1] + 1, left : columns[-1] + 1])
    following = _following(starts, directions, width)
    corners = np.stack([starts % width + left, starts // width + top], axis=1)
    turns = directions[following] != directions  # the edge after this one goes another way
    return [_corners_of(loop, corners, turns, following) for loop in _loops(following.tolist())]


def _edges(inside: Mask) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], int]:
    """Start (number of a grid point) and direction of each edge of a voxel towards outside; grid points in a row."""
    framed = np.pad(inside, 1)
    width = inside.shape[1] + 1
    starts, directions = [], []
    # Direction, neighbour outside (row, column), start of the edge relative to its voxel (row, column).
    for direction, (dy, dx), (row, column) in (
        (0, (-1, 0), (0, 0)),
        (1, (0, 1), (0, 1)),
        (2, (1, 0), (1, 1)),
        (3, (0, -1), (1, 0)),
    ):
        beyond = framed[1 + dy : framed.shape[0] - 1 + dy, 1 + dx : framed.shape[1] - 1 + dx]
        y, x = np.nonzero(inside & ~beyond)
        starts.append((y + row) * width + x + column)
        directions.append(np.full(y.size, direction))
    return np.concatenate(starts), np.concatenate(directions), width


def _following(starts: npt.NDArray[np.intp], directions: npt.NDArray[np.intp], width: int) -> npt.NDArray[np.intp]:
    """For each edge the one that goes on where it ends; of two the one to the right, so that corners do not join."""
    keys = starts * 4 + directions
    order = np.argsort(keys)
    ordered = keys[order]
    ends = starts + _STEPS[directions] @ np.array([1, width])
    following = np.full(starts.size, -1, np.intp)
    for turn in (3, 0, 1):  # left, straight on, right: the last that exists stays
        wanted = ends * 4 + (directions + turn) % 4
        place = np.searchsorted(ordered, wanted).clip(max=ordered.size - 1)
        found = ordered[place] == wanted
        following[found] = order[place[found]]
    return following


def _loops(following: list[int]) -> list[list[int]]:
    """The edges of each closed walk."""
    seen = bytearray(len(following))
    loops = []
    for first in range(len(following)):
        if seen[first]:
            continue
        loop, edge = [], first
        while not seen[edge]:
            seen[edge] = 1
            loop.append(edge)
            edge = following[edge]
        loops.append(loop)
    return loops


def _corners_of(
    loop: list[int], corners: Contour, turns: npt.NDArray[np.bool_], following: npt.NDArray[np.intp]
) -> Contour:
    """Where a walk turns."""
    edges = np.array(loop)
    found: Contour = corners[following[edges[turns[edges]]]]
    return found
