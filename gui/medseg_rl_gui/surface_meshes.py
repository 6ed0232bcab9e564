"""From label arrays to triangles in world mm for drawing, again only where voxels changed. No Qt; draws nothing.

Made by VTK's filters and not by `medseg_rl.surface`, which is for measuring: these let the interface go on meanwhile.
A job reads the arrays of the session, which may be written while it does: that very change asks for the next job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import Cancelled
from medseg_rl.volume import Box, FloatArray, Index

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkPolyData

MOST_TRIANGLES = 150_000  # of one label
MOST_OF_ALL = 900_000  # together, so that a frame by the processor alone stays under a second
FEWEST_ALLOWED = 20_000
SMOOTHING_STEPS = 16
MOST_BINS = 16_000_000  # of the grid that thins out; 64 MB
_EDGES_PER_AREA = 2.2  # triangles that a bin of side 1 leaves of a surface of area 1, seen on spheres and organs


@dataclass(frozen=True)
class Shape:
    """The voxels of a label as last seen: the box around them, None without any, and their fingerprint."""

    box: Box | None
    fingerprint: bytes


@dataclass(frozen=True, eq=False)
class Mesh:
    """`vertices` (n, 3) RAS+ mm and `normals` (n, 3), float32. `triangles` (m, 3), counter-clockwise from outside.

    `triangles_before`: how many there were before they were thinned out.
    """

    vertices: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.int64]
    triangles_before: int


@dataclass(frozen=True, eq=False)
class Solid:
    """A label to be drawn: where `array` is `value`, but in `proposed_box`, if there is one, where `proposed` is True.

    `known`: what was drawn of it before, None if nothing. `changed`: where voxels were written since; None: anywhere.
    """

    value: int
    array: npt.NDArray[Any]
    known: Shape | None = None
    changed: Box | None = None
    proposed_box: Box | None = None
    proposed: npt.NDArray[np.bool_] | None = None

    def inside(self, region: Box) -> npt.NDArray[np.bool_]:
        """True in the label, over a region."""
        found: npt.NDArray[np.bool_] = self.array[region.slices] == self.value
        if self.proposed_box is not None and self.proposed is not None:
            shared = region.intersection(self.proposed_box)
            if shared.voxels:
                found[_within(shared, region)] = self.proposed[_within(shared, self.proposed_box)]
        return found


@dataclass(frozen=True, eq=False)
class Found:
    """What became of a label: its mesh, None where it has no voxels."""

    shape: Shape
    mesh: Mesh | None


Surfaces = Mapping[int, Found]  # by label value; those that are as they were are left out


@dataclass(frozen=True, eq=False)
class SurfaceJob:
    """The surfaces of some labels on one grid, made on any thread by `run`."""

    solids: tuple[Solid, ...]
    affine: FloatArray

    def run(self, cancel: Callable[[], bool]) -> Surfaces:
        """The meshes of the labels whose voxels are others than before. Raises `Cancelled` when `cancel` says so."""
        share = MOST_OF_ALL // max(len(self.solids), 1)
        most = min(MOST_TRIANGLES, max(FEWEST_ALLOWED, share))
        found = {}
        for solid in self.solids:
            if cancel():
                raise Cancelled("the surfaces were stopped")
            if (news := _looked_at(solid, self.affine, most)) is not None:
                found[solid.value] = news
        return found


def _looked_at(solid: Solid, affine: FloatArray, most: int) -> Found | None:
    """The mesh of a solid; None where its voxels are the same as before."""
    region = _where_to_look(solid)
    if region is None:
        return None
    inside = solid.inside(region)
    box = Box.around_mask(inside)
    shape, mask = _shape_of(inside, box, region.start)
    if shape == solid.known:
        return None
    if box is None or shape.box is None:
        return Found(shape, None)
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ shape.box.start
    return Found(shape, mesh_of(mask, shifted, most))


def _where_to_look(solid: Solid) -> Box | None:
    """The box that holds all its voxels, before and after; None where no change can have touched it."""
    known, changed = solid.known, solid.changed
    if known is None or changed is None:
        return Box.whole(_index(solid.array.shape))
    changed = changed.intersection(Box.whole(_index(solid.array.shape)))
    if changed.voxels == 0:
        return None
    touches = known.box is not None and known.box.intersection(changed).voxels > 0
    if not touches and not solid.inside(changed).any():
        return None
    return changed if known.box is None else changed.union(known.box)


def _shape_of(inside: npt.NDArray[np.bool_], box: Box | None, start: Index) -> tuple[Shape, npt.NDArray[np.bool_]]:
    """The shape of a mask that begins at voxel `start`, and the mask on its own box."""
    if box is None:
        return Shape(None, b""), inside[:0]
    mask = inside[box.slices]
    packed = np.packbits(mask)
    low, high = np.add(box.start, start), np.add(box.stop, start)
    return Shape(Box(_index(low), _index(high)), hashlib.blake2b(packed.tobytes(), digest_size=16).digest()), mask


def _within(box: Box, whole: Box) -> tuple[slice, slice, slice]:
    """For indexing an array over `whole`."""
    return box.shifted(_index(np.negative(whole.start))).slices


def _index(values: Any) -> Index:
    x, y, z = (int(v) for v in values)
    return x, y, z


# --- one mask ---------------------------------------------------------------------------------------------------------


def mesh_of(mask: npt.NDArray[np.bool_], affine: FloatArray, most: int = MOST_TRIANGLES) -> Mesh:
    """The smooth surface of a mask (x, y, z) that is not empty, of at most `most` triangles.

    Surface nets of Gibson (1998) on the voxel grid, mapped by `affine` to mm, shear and all, then vertices within one
    cell of a grid joined to their mean (Rossignac and Borrel, 1993), which loses no thin branch.
    """
    surface = _net(mask, affine)
    before = surface.GetNumberOfCells()
    surface = _thinned(surface, most)
    return _with_normals(surface, before)


def _net(mask: npt.NDArray[np.bool_], affine: FloatArray) -> vtkPolyData:
    """Triangles in mm, counter-clockwise seen from outside."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkSurfaceNets3D

    padded = np.zeros(np.add(mask.shape, 2), np.uint8)  # so that it is closed at the edge of the volume too
    padded[1:-1, 1:-1, 1:-1] = mask
    grid = vtkImageData()
    grid.SetDimensions(padded.shape[::-1])  # VTK's first axis is the one that runs fastest
    grid.GetPointData().SetScalars(numpy_to_vtk(padded.ravel(), deep=False))
    net = vtkSurfaceNets3D()
    net.SetInputData(grid)
    net.SetValue(0, 1)
    net.SmoothingOn()
    net.SetNumberOfIterations(SMOOTHING_STEPS)
    net.SetOutputMeshTypeToTriangles()
    net.Update()
    points, triangles = _arrays(net.GetOutput())
    world = (points[:, ::-1] - 1.0) @ affine[:3, :3].T + affine[:3, 3]
    if np.linalg.det(affine[:3, :3]) > 0:  # the axes above are in reverse order, which is a reflection
        triangles = triangles[:, ::-1]
    return _surface(world.astype(np.float32), _closed(triangles, len(points)))


def _closed(triangles: npt.NDArray[Any], points: int) -> npt.NDArray[Any]:
    """With the small holes filled that the net has where two sheets of it touch, as in a pit of one voxel."""
    after: dict[int, list[int]] = {}
    for tail, head in _open_edges(triangles, points).tolist():
        after.setdefault(head, []).append(tail)  # the other way round: what fills the hole lies on the other side
    fans = []
    while after:
        start = next(iter(after))
        ring = [start]
        while after.get(ring[-1]):
            there = after[ring[-1]].pop()
            if not after[ring[-1]]:
                del after[ring[-1]]
            if there == start:
                fans += [(start, one, other) for one, other in pairwise(ring[1:])]
                break
            ring.append(there)
        else:
            after.pop(ring[-1], None)
    return np.concatenate([triangles, np.array(fans, triangles.dtype).reshape(-1, 3)]) if fans else triangles


def _open_edges(triangles: npt.NDArray[Any], points: int) -> npt.NDArray[np.int64]:
    """The directed edges (n, 2) whose opposite no triangle has; none in a closed surface.

    At a vertex where every edge has its opposite the numbers drawn for those it leads to and comes from sum alike.
    """
    tail, head = triangles.ravel().astype(np.int64), np.roll(triangles, -1, axis=1).ravel().astype(np.int64)
    drawn = np.random.default_rng(0).integers(2**32, size=points).astype(np.float64)  # sums of them are exact
    out, back = (np.bincount(one, drawn[other], points) for one, other in ((tail, head), (head, tail)))
    rim = (out != back)[tail]
    rim &= (out != back)[head]
    tail, head = tail[rim], head[rim]
    alone = ~np.isin(tail * points + head, head * points + tail)
    return np.column_stack([tail[alone], head[alone]])


def _thinned(surface: vtkPolyData, most: int) -> vtkPolyData:
    """At most `most` triangles; the same where it has no more."""
    if surface.GetNumberOfCells() <= most:
        return surface
    from vtkmodules.vtkFiltersCore import vtkBinnedDecimation, vtkMassProperties

    measure = vtkMassProperties()
    measure.SetInputData(surface)
    extent = np.diff(np.reshape(surface.GetBounds(), (3, 2)), axis=1).ravel()
    side = max(float(np.sqrt(_EDGES_PER_AREA * measure.GetSurfaceArea() / most)), _finest(extent))
    while True:
        bins = vtkBinnedDecimation()
        bins.SetInputData(surface)
        bins.AutoAdjustNumberOfDivisionsOff()
        bins.SetNumberOfDivisions(*(max(1, int(np.ceil(length / side))) for length in extent))
        bins.SetPointGenerationModeToBinAverages()
        bins.Update()
        if bins.GetOutput().GetNumberOfCells() <= most:
            thin: vtkPolyData = bins.GetOutput()
            return thin
        side *= 1.1


def _finest(extent: FloatArray) -> float:
    """The side of the smallest bins that are not too many."""
    return float(np.cbrt(np.prod(np.maximum(extent, 1e-3)) / MOST_BINS))


def _with_normals(surface: vtkPolyData, before: int) -> Mesh:
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkFiltersCore import vtkPolyDataNormals

    normals = vtkPolyDataNormals()
    normals.SetInputData(surface)
    normals.SplittingOff()
    normals.ConsistencyOff()  # they are consistent, and to look for it takes long
    normals.Update()
    points, triangles = _arrays(normals.GetOutput())
    directions = vtk_to_numpy(normals.GetOutput().GetPointData().GetNormals())
    return Mesh(np.array(points, np.float32), np.array(directions, np.float32), np.array(triangles, np.int64), before)


def _arrays(surface: vtkPolyData) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Points (n, 3) and triangles (m, 3), seen in place: the surface must outlive them."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    if surface.GetNumberOfCells() == 0:
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64)
    points = vtk_to_numpy(surface.GetPoints().GetData())
    corners = vtk_to_numpy(surface.GetPolys().GetConnectivityArray())
    return points, corners.reshape(-1, 3)


def _surface(points: npt.NDArray[np.float32], triangles: npt.NDArray[Any]) -> vtkPolyData:
    return poly_data(points, np.ascontiguousarray(triangles, np.int64))


def poly_data(
    points: npt.NDArray[np.float32],
    triangles: npt.NDArray[np.int64],
    normals: npt.NDArray[np.float32] | None = None,
) -> vtkPolyData:
    """Arrays as VTK takes them, copied."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

    places = vtkPoints()
    places.SetData(numpy_to_vtk(np.ascontiguousarray(points), deep=True))
    cells = vtkCellArray()
    starts = np.arange(0, 3 * len(triangles) + 1, 3, dtype=np.int64)
    cells.SetData(numpy_to_vtkIdTypeArray(starts, deep=True), numpy_to_vtkIdTypeArray(triangles.ravel(), deep=True))
    surface = vtkPolyData()
    surface.SetPoints(places)
    surface.SetPolys(cells)
    if normals is not None:
        surface.GetPointData().SetNormals(numpy_to_vtk(np.ascontiguousarray(normals), deep=True))
    return surface
