"""Where to look next: the slice that most needs a click. Suggests a place; never places a click.

A slice scores the sum over the free voxels of the region, times its pixel area, of what the critic still expects to
gain, max(V, 0), or without a value head of the uncertainty -(p log2 p + (1 - p) log2(1 - p)). The critic is heard
near the surface of the mask and where the model is undecided: its training hardly ever rewards a voxel elsewhere, and
what it says there, as at the corners of the region, means nothing. Errors that the model is sure of are not suggested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medseg_rl.editing import Grid, Plane
from medseg_rl.editing.distances import within
from medseg_rl.errors import Cancelled, MedSegError
from medseg_rl.hints.clicks import clicks_inside
from medseg_rl.interaction import filled
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, Percent, RefinementRequest, never_cancelled
from medseg_rl.session.case import Case
from medseg_rl.session.jobs import Cancel, Snapshot
from medseg_rl.session.preparing import copied, live
from medseg_rl.session.state import deduplicated, union_of
from medseg_rl.session.working import index_in_file_order
from medseg_rl.volume import Box, FloatArray, Index

SEEN_MM = 5.0  # slices nearer than this to one already suggested are skipped
MARGIN_MM = 10.0
HEARD_MM = 5.0  # from the surface of the mask: as far as the critic is heard where the model is sure
UNDECIDED = (10, 90)  # hundredths between which the model is not sure
PLANES: tuple[Plane, ...] = ("sagittal", "coronal", "axial")
Need = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Suggestion:
    """`point_mm`: RAS+ mm of the peak, `index` its voxel of the file. `slice_index`: of the file's axis `axis`, which
    runs through the slices of `plane`. `score`: in mm2 (times return, or bit). `measure`: what was summed.
    """

    plane: Plane
    axis: int
    slice_index: int
    point_mm: tuple[float, float, float]
    index: Index
    score: float
    measure: Literal["value", "uncertainty"]


@dataclass(frozen=True, eq=False)
class SuggestionJob:
    """On a snapshot; any thread may run it."""

    snapshot: Snapshot
    seen: tuple[Suggestion, ...]

    def run(self, cancel: Cancel = never_cancelled) -> Suggestion | None:
        """The best slice not yet seen; None where nothing is left to suggest."""
        snapshot, box = self.snapshot, region_of(self.snapshot)
        percent = filled(snapshot.percent[box.slices], snapshot.work.background)
        need = _expected_gain(snapshot, box, percent)
        if cancel():
            raise Cancelled("the suggestion was stopped")
        measure: Literal["value", "uncertainty"] = "value"
        if need is None:
            need, measure = uncertainty(percent), "uncertainty"
        else:
            need = np.where(heard(percent, snapshot.image.grid.affine), need, np.float32(0))
        locked = snapshot.locked(box)
        if locked is not None:
            need[locked] = 0
        grid = snapshot.image.grid
        for plane, at, score in ranked_slices(need, box, grid):
            if score <= 0:
                return None
            suggestion = self._at(plane, at, score, measure, need, box)
            if not any(_is_near(grid, suggestion, other) for other in self.seen):
                return suggestion
        return None

    def _at(
        self, plane: Plane, at: int, score: float, measure: Literal["value", "uncertainty"], need: Need, box: Box
    ) -> Suggestion:
        image = self.snapshot.image
        axis = image.grid.axis(plane)
        part = need.take(at - box.start[axis], axis=axis)
        peak = [int(n) for n in np.unravel_index(int(part.argmax()), part.shape)]
        peak.insert(axis, at - box.start[axis])
        index = (peak[0] + box.start[0], peak[1] + box.start[1], peak[2] + box.start[2])
        x, y, z = (float(v) for v in image.grid.affine[:3] @ (*index, 1))
        of_file = index_in_file_order(index, image.order, image.shape)
        file_axis = image.order.permutation[axis]
        return Suggestion(plane, file_axis, of_file[file_axis], (x, y, z), of_file, score, measure)


def region_of(snapshot: Snapshot) -> Box:
    """Mask, clicks and open proposal, with a margin. Raises MedSegError before the first step of the model."""
    work = snapshot.work
    if not work.clicks and not any(turn.kind in ("click", "refine", "start") for turn in work.turns):
        raise MedSegError(f"the model has not refined {snapshot.label_name} yet; click once, then ask where to look")
    parts = [snapshot.extent.box, work.open_box, *(Box.around_indices([click.index]) for click in work.clicks)]
    whole = union_of(box for box in parts if box is not None)
    assert whole is not None
    return whole.grown_mm(MARGIN_MM, snapshot.image.spacing, snapshot.image.shape)


def _expected_gain(snapshot: Snapshot, box: Box, percent: Percent) -> Need | None:
    """max(V, 0) over the region; None without a value head, and where the region is more than is refined at once."""
    if box.voxels > snapshot.config.roi_cap_voxels:
        return None
    work = snapshot.work
    new = work.turns[-1].clicks if work.turns else ()
    clicks, n_new = deduplicated(work.clicks[: len(work.clicks) - len(new)], new)
    request = RefinementRequest(
        image=snapshot.image.read(box),
        spacing=snapshot.image.spacing,
        percent=percent,
        clicks=clicks_inside(clicks, box),
        n_new_clicks=n_new,
        held_voxels=snapshot.locked(box),
    )
    gain = snapshot.refiner.expected_gain(request)
    return None if gain is None else np.maximum(gain, 0)


def heard(percent: Percent, affine: FloatArray) -> npt.NDArray[np.bool_]:
    """Where the critic is believed: near the surface of the mask, and where the model itself is undecided.

    `percent` in hundredths; distances in mm between voxel centres, under the 3 x 3 part of `affine`.
    """
    undecided: npt.NDArray[np.bool_] = (percent > UNDECIDED[0]) & (percent < UNDECIDED[1])
    mask, columns = percent > MASK_THRESHOLD, affine[:3, :3]
    return undecided | (within(mask, columns, HEARD_MM) & within(~mask, columns, HEARD_MM))


def uncertainty(percent: Percent) -> Need:
    """Bits that a voxel's probability leaves open, beyond those of the surest one there is."""
    hundredths = np.arange(256).clip(LOWEST, HIGHEST)
    table = np.minimum(hundredths, 100 - hundredths) / 100  # so that 1 and 99 differ in no bit
    bits = -(table * np.log2(table) + (1 - table) * np.log2(1 - table))
    floor = bits[1]  # the surest a state can be
    need: Need = (bits - floor).clip(0).astype(np.float32)[percent]
    return need


def ranked_slices(need: Need, box: Box, grid: Grid) -> Iterator[tuple[Plane, int, float]]:
    """Plane, slice and score in mm2, best first; of equal ones the sagittal, then the coronal."""
    found: list[tuple[float, Plane, int]] = []
    for plane in PLANES:
        axis = grid.axis(plane)
        first, second = (a for a in range(3) if a != axis)
        area = float(np.linalg.norm(np.cross(grid.affine[:3, first], grid.affine[:3, second])))
        sums = need.sum(axis=(first, second), dtype=np.float64) * area
        found += [(float(score), plane, box.start[axis] + n) for n, score in enumerate(sums)]
    for score, plane, at in sorted(found, key=lambda entry: -entry[0]):
        yield plane, at, score


def _is_near(grid: Grid, one: Suggestion, other: Suggestion) -> bool:
    """Whether two suggestions lie on slices of one plane less than 5 mm apart, measured across the slices."""
    if one.plane != other.plane:
        return False
    axis = grid.axis(one.plane)
    first, second = (a for a in range(3) if a != axis)
    normal = np.cross(grid.affine[:3, first], grid.affine[:3, second])
    normal = normal / np.linalg.norm(normal)
    return bool(abs(float(np.dot(np.subtract(one.point_mm, other.point_mm), normal))) < SEEN_MM)


def prepare_suggestion(session: Case, seen: Sequence[Suggestion]) -> SuggestionJob:
    """The job for the active label. Raises MedSegError before the first step of the model."""
    value = session.active_label
    snapshot = live(session, value)
    return SuggestionJob(copied(session, snapshot, region_of(snapshot)), tuple(seen))
