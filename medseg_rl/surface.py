"""The surface of a mask as triangles in world millimetres (RAS+): made, measured, smoothed, thinned out.

Draws nothing and opens no file: drawing is the window's, files are `imageio.meshes`. The iso-surface runs half-way
between the centres of neighbouring voxels, also at the edge of the volume, so it is closed whatever the mask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import AxisOrder, Box, FloatArray

TAUBIN_LAMBDA, TAUBIN_MU = 0.5, -0.53  # of Taubin (1995), a pass that shrinks and one that swells
FEWEST_TRIANGLES = 4  # a tetrahedron


@dataclass(frozen=True, eq=False)
class Surface:
    """`vertices` (n, 3): RAS+ mm. `triangles` (m, 3): vertex numbers, counter-clockwise seen from outside.

    `smoothing_passes`: Taubin passes done, 0 without. `triangles_before`: how many there were before they were thinned
    out, None where they were not.
    """

    vertices: FloatArray
    triangles: npt.NDArray[np.int32]
    smoothing_passes: int = 0
    triangles_before: int | None = None

    @cached_property
    def area(self) -> float:
        """mm2; sum of 0.5 |(b - a) x (c - a)| over the triangles."""
        a, b, c = self._corners
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2

    @cached_property
    def volume(self) -> float:
        """mm3; |sum a . (b x c)| / 6 over the triangles, by the divergence theorem."""
        a, b, c = self._corners
        return abs(float(np.einsum("ij,ij->", a, np.cross(b, c)))) / 6

    @property
    def is_closed(self) -> bool:
        """Whether every edge is run through as often in one direction as in the other."""
        pairs = np.concatenate([self.triangles[:, edge] for edge in ([0, 1], [1, 2], [2, 0])]).astype(np.int64)
        count = len(self.vertices)
        forth, back = pairs[:, 0] * count + pairs[:, 1], pairs[:, 1] * count + pairs[:, 0]
        return bool(np.array_equal(np.sort(forth), np.sort(back)))

    @property
    def _corners(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The three corners (m, 3) of every triangle, from an origin nearby, for the sake of rounding."""
        near = self.vertices - (self.vertices.mean(axis=0) if len(self.vertices) else 0)
        a, b, c = (near[self.triangles[:, corner]] for corner in range(3))
        return a, b, c


def iso_surface(mask: npt.NDArray[np.bool_], affine: FloatArray) -> Surface:
    """The 0.5 iso-surface of `mask` (x, y, z), not smoothed; without triangles where the mask is empty.

    Marching cubes of Lewiner et al. (2003) on the voxel grid, mapped by `affine` (4, 4) to mm, shear and all.
    """
    box = Box.around_mask(mask)
    if box is None:
        return Surface(np.zeros((0, 3)), np.zeros((0, 3), np.int32))
    from skimage.measure import marching_cubes  # takes a moment to load

    order = AxisOrder.of(affine)  # so that the order of the file does not decide how a twisted face is cut in two
    padded = np.pad(order.apply(mask[box.slices]), 1).astype(np.float32)
    turned, triangles, _, _ = marching_cubes(padded, 0.5, gradient_direction="ascent")  # type: ignore[no-untyped-call]
    indices = _file_order(turned.astype(np.float64) - 1, order, box)
    if np.linalg.det(_directions(affine, order)) < 0:  # a reflection turns every triangle inside out
        triangles = triangles[:, ::-1]
    vertices = indices @ affine[:3, :3].T + affine[:3, 3]
    return Surface(vertices, np.ascontiguousarray(triangles, dtype=np.int32))


def _directions(affine: FloatArray, order: AxisOrder) -> FloatArray:
    """The columns (3, 3) of an affine for an array in the axis order `order`."""
    signs = np.where(order.flipped, -1.0, 1.0)
    turned: FloatArray = affine[:3, list(order.permutation)] * signs
    return turned


def _file_order(turned: FloatArray, order: AxisOrder, box: Box) -> FloatArray:
    """Indices (n, 3) in the array that `order` made of `box`, back to indices in the whole array."""
    indices = np.empty_like(turned)
    for place, (axis, flipped) in enumerate(zip(order.permutation, order.flipped, strict=True)):
        along = turned[:, place]
        indices[:, axis] = (box.stop[axis] - 1 - along) if flipped else (box.start[axis] + along)
    return indices


def smoothed(surface: Surface, *, passes: int) -> Surface:
    """Rounds the steps of the voxels off with almost no loss of volume: `passes` times Taubin's pair of filters.

    Taubin, A signal processing approach to fair surface design, SIGGRAPH 1995, with equal weights for neighbours.
    """
    if passes < 0:
        raise ValueError(f"a surface is smoothed 0 times or more, not {passes}")
    if passes == 0 or not len(surface.triangles):
        return surface
    mean_of_neighbours = _neighbour_means(surface)
    points = surface.vertices
    for _ in range(passes):
        for step in (TAUBIN_LAMBDA, TAUBIN_MU):
            points = points + step * (mean_of_neighbours @ points - points)
    return replace(surface, vertices=points, smoothing_passes=surface.smoothing_passes + passes)


def thinned(surface: Surface, *, triangles: int) -> Surface:
    """At most about `triangles` triangles, those gone first that the form misses least; as it is where it has fewer.

    Quadric error metric of Garland and Heckbert (1997), by fast-simplification.
    """
    before = len(surface.triangles)
    if triangles < FEWEST_TRIANGLES:
        raise ValueError(f"a closed surface has {FEWEST_TRIANGLES} triangles or more, not {triangles}")
    if before <= triangles:
        return surface
    from fast_simplification import simplify

    origin = surface.vertices.mean(axis=0)  # it works in float32
    near = (surface.vertices - origin).astype(np.float32)
    points, kept = simplify(near, surface.triangles, target_count=triangles)
    return replace(
        surface,
        vertices=points.astype(np.float64) + origin,
        triangles=kept.astype(np.int32),
        triangles_before=surface.triangles_before or before,
    )


def _neighbour_means(surface: Surface) -> Any:
    """A sparse matrix (n, n) that turns points into the means of their neighbours."""
    from scipy.sparse import coo_matrix

    count = len(surface.vertices)
    pairs = np.concatenate([surface.triangles[:, edge] for edge in ([0, 1], [1, 2], [2, 0])])
    both = np.concatenate([pairs, pairs[:, ::-1]])
    joined = coo_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(count, count)).tocsr()
    joined.data[:] = 1  # each neighbour once, however many triangles share the edge
    degrees = np.asarray(joined.sum(axis=1)).ravel()
    return joined.multiply(1 / np.maximum(degrees, 1)[:, None]).tocsr()
