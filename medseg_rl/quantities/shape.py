"""Volume, surface, place and diameters of one label, without any image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from medseg_rl.quantities.diameters import AxialDiameters, largest_diameter
from medseg_rl.quantities.quantity import Quantity, cut_off_note
from medseg_rl.quantities.region import Region
from medseg_rl.surface import iso_surface
from medseg_rl.volume import AxisOrder

EMPTY = "empty mask"
VOXELS = "N, voxels inside the mask"
VOLUME = "V = N |det A33|, A33 the 3 x 3 part of the affine"
SURFACE = "sum of 0.5 |(b - a) x (c - a)| over the triangles of the 0.5 iso-surface, world mm, no smoothing"
MESH = "|sum a . (b x c)| / 6 over the same triangles; a check, differs slightly from V"
CENTROID = "mean voxel index mapped by the affine, RAS+ mm"
EXTENT = "voxels of the bounding box along the axis times its spacing"
DIAMETER = "largest distance between hull vertices of the 0.5 iso-surface, world mm"
AXIAL = "longest chord between points of the 0.5 contour within one axial slice; the slice where it is largest"
ACROSS = "longest chord perpendicular to the longest one, in that slice"
SLICE = "number of that slice along its voxel axis, counted from 1 as in the views"


def shape_quantities(region: Region, axial: tuple[AxialDiameters, ...]) -> tuple[Quantity, ...]:
    """All of them in the order of the report; `axial`: the diameters of its slices.

    An empty mask has volume and surface 0, and neither place nor diameters. Where the mask touches the edge of the
    volume each says "cut off at S".
    """
    empty = region.box is None
    note = EMPTY if empty else cut_off_note(region.cut_off)
    return tuple(
        Quantity(key, name, value, unit, method, note)
        for part in (_sizes(region), _places(region), _diameters(region, axial))
        for key, name, value, unit, method in part
    )


Row = tuple[str, str, float | int | None, str, str]


def _sizes(region: Region) -> Iterator[Row]:
    voxels = region.voxels
    volume = voxels * float(abs(np.linalg.det(region.affine[:3, :3])))
    surface = iso_surface(region.mask, region.affine) if voxels else None  # where it lies in the grid does not count
    yield "voxels", "voxels", voxels, "", VOXELS
    yield "volume_mm3", "volume", volume, "mm3", VOLUME
    yield "volume_ml", "volume", volume / 1000, "mL", f"{VOLUME}; mL = mm3 / 1000"
    yield "surface_area", "surface area", surface.area if surface else 0.0, "mm2", SURFACE
    yield "mesh_volume", "mesh volume", surface.volume if surface else 0.0, "mm3", MESH


def _places(region: Region) -> Iterator[Row]:
    centre = None
    if region.box is not None:
        index = np.argwhere(region.mask).mean(axis=0) + region.box.start
        centre = region.affine[:3, :3] @ index + region.affine[:3, 3]
    for axis, side in enumerate("RAS"):
        place = None if centre is None else float(centre[axis])
        yield f"centroid_{side.lower()}", f"centroid {side}", place, "mm", CENTROID
    spacing = np.linalg.norm(region.affine[:3, :3], axis=0)
    names = _axis_names(region)
    for axis in range(3):
        extent = None if region.box is None else float(region.box.shape[axis] * spacing[axis])
        yield f"extent_{'ijk'[axis]}", f"extent along voxel axis {'ijk'[axis]} ({names[axis]})", extent, "mm", EXTENT


def _axis_names(region: Region) -> list[str]:
    order = AxisOrder.of(region.affine)
    names = [""] * 3
    for world, axis in enumerate(order.permutation):
        names[axis] = ("left-right", "front-back", "head-foot")[world]
    return names


def _diameters(region: Region, axial: tuple[AxialDiameters, ...]) -> Iterator[Row]:
    chord = largest_diameter(region)
    yield "largest_diameter", "largest diameter", chord.length_mm if chord else None, "mm", DIAMETER
    best = max(axial, key=lambda found: found.longest.length_mm, default=None)
    yield "axial_diameter", "largest axial diameter", best.longest.length_mm if best else None, "mm", AXIAL
    yield "axial_across", "axial diameter across it", best.across.length_mm if best else None, "mm", ACROSS
    yield "axial_slice", "slice of the axial diameters", best.slice_index + 1 if best else None, "", SLICE
