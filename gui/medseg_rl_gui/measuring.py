"""Quantities of the accepted masks, measured on the worker: numbers, plots, and a comparison with a mask file.

What was measured belongs to one version of the session: `is_stale` says when the work has gone on since. The worker
reads the labels as they lie; a change meanwhile ends the measuring, and nothing of it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PySide6.QtCore import QObject, Signal

from medseg_rl.errors import MedSegError
from medseg_rl.labels import LabelMap, label_dtype
from medseg_rl.quantities import DEFAULT_TOLERANCE_MM, QuantityReport, intensity_unit, quantities_of, regions_of
from medseg_rl.quantities.region import Region
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume
from medseg_rl_gui.desk import Desk
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.opening.masks import MaskFlow
from medseg_rl_gui.slice_geometry import PLANES, Plane, SliceGeometry
from medseg_rl_gui.worker import Rank, Task, reason_of

BINS = 64
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """How often values occur inside a mask. `edges` is one longer than `counts`."""

    counts: npt.NDArray[np.intp]
    edges: Numbers
    unit: str


@dataclass(frozen=True, eq=False)
class SliceAreas:
    """Area in mm2 of a mask on the slices of one plane, from the slice `first` of the file on."""

    plane: Plane
    first: int
    areas: Numbers


@dataclass(frozen=True, eq=False)
class LabelPlots:
    """What is plotted of one label; nothing where it is empty."""

    histogram: Histogram | None
    areas: Mapping[Plane, SliceAreas]


@dataclass(frozen=True, eq=False)
class Measured:
    """`version`: of the session that was measured. `report`: None where it could not be, for the reason in `problem`.

    `reference`: name of the mask file it was compared with, empty for none. `notes`: what to know of the comparison.
    """

    version: int
    report: QuantityReport | None
    plots: Mapping[int, LabelPlots]
    problem: str = ""
    reference: str = ""
    notes: tuple[str, ...] = ()


class Measuring(QObject):
    """`measured`: a `Measured`, or None when it went away. `busy_changed`: whether it is at work."""

    measured = Signal(object)
    busy_changed = Signal(bool)

    def __init__(self, desk: Desk, masks: MaskFlow) -> None:
        super().__init__(desk)
        self._desk, self._masks = desk, masks
        self._task: Task | None = None
        self._reference: Segmentation | None = None
        self._reference_name = ""
        self._notes: tuple[str, ...] = ()
        self.tolerance_mm = DEFAULT_TOLERANCE_MM
        self.latest: Measured | None = None
        desk.case_changed.connect(lambda _: self._forget())

    @property
    def is_busy(self) -> bool:
        """Whether it is measuring."""
        return self._task is not None

    @property
    def is_stale(self) -> bool:
        """Whether the work went on since the numbers were taken, or there are none yet."""
        case = self._desk.case
        return case is None or self.latest is None or self.latest.version != case.session.version

    @property
    def reference_name(self) -> str:
        """Of the mask that the labels are compared with; empty for none."""
        return self._reference_name

    def measure(self) -> bool:
        """Measures what is accepted now. False where it is measured already, or being measured."""
        case = self._desk.case
        if case is None or self.is_busy or not self.is_stale:
            return False
        session = case.session
        version, segmentation, image = session.version, session.segmentation, session.image
        reference, tolerance, provenance = self._reference, self.tolerance_mm, session.provenance()
        named = Measured(version, None, {}, "", self._reference_name, self._notes)

        def run(task: Task) -> Measured:
            report = quantities_of(
                segmentation,
                image=image,
                reference=reference,
                values=segmentation.labels.values,
                tolerance_mm=tolerance,
                provenance=provenance,
                cancel=lambda: task.is_stopped() or session.version != version,
            )
            return replace(named, report=report, plots=plots_of(segmentation, image))

        self._task = task = self._desk.worker.submit(
            run,
            rank=Rank.QUANTITIES,
            what=tr("Quantities"),
            done=lambda found: self._over(task, found),
            failed=lambda error: self._over(task, replace(named, problem=reason_of(error))),
            stopped=lambda: self._over(task, None),
        )
        self.busy_changed.emit(True)
        return True

    def _over(self, task: Task, found: Measured | None) -> None:
        if task is not self._task:
            return
        self._task, case = None, self._desk.case
        if found is not None and case is not None and found.version == case.session.version:
            self.latest = found
            self.measured.emit(found)
        self.busy_changed.emit(False)

    def again(self) -> None:
        """Measures anew, whatever there is."""
        self._stop()
        self.latest = None
        self.measure()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.stop()
            self._task = None
            self.busy_changed.emit(False)

    # --- comparison ---------------------------------------------------------------------------------------------------

    def compare_with(self, path: Path) -> bool:
        """Compares the labels with those of a mask file; asks where its grid is another. False when nothing came."""
        session = self._desk.session
        try:
            found = self._masks.read(path, session.image)
        except MedSegError as error:
            self._desk.window.dialogs.tell(tr("Not a mask of this image"), reason_of(error), tone="error")
            return False
        if found is None:
            return False
        self._reference, self._notes = matched(found, session.labels, session.active_label)
        self._reference_name = path.name
        self.again()
        return True

    def compare_with_nothing(self) -> None:
        """No comparison any more."""
        self._reference, self._reference_name, self._notes = None, "", ()
        self.again()

    def set_tolerance(self, mm: float) -> None:
        """How far apart surfaces may lie and still count as equal in NSD."""
        if mm != self.tolerance_mm:
            self.tolerance_mm = mm
            if self._reference is not None:
                self.again()

    def _forget(self) -> None:
        self._stop()
        self._reference, self._reference_name, self._notes, self.latest = None, "", (), None
        self.measured.emit(None)


def matched(reference: Segmentation, labels: LabelMap, active: int) -> tuple[Segmentation, tuple[str, ...]]:
    """A reference whose only label has a value that is not among the labels stands for the active one; and a note."""
    values = reference.labels.values
    if len(values) != 1 or values[0] in labels:
        return reference, ()
    array = np.where(reference.mask_of(values[0]), active, 0).astype(label_dtype([active]))
    moved = Segmentation((reference.grid.with_array(array),), LabelMap((replace(labels[active], layer=0),)))
    text = tr("Label {value} of the file is compared with {name}")
    return moved, (text.format(value=values[0], name=labels[active].name),)


# --- plots ------------------------------------------------------------------------------------------------------------


def plots_of(segmentation: Segmentation, image: Volume) -> dict[int, LabelPlots]:
    """What is plotted of every label."""
    regions = regions_of(segmentation, segmentation.labels.values)
    return {
        value: LabelPlots(histogram(region, image), slice_areas(region, image)) for value, region in regions.items()
    }


def histogram(region: Region, image: Volume) -> Histogram | None:
    """Of the values of `image` inside; whole numbers get bins of whole numbers. None for an empty mask."""
    if region.box is None:
        return None
    values: npt.NDArray[Any] = image.array[region.box.slices][region.mask]
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind in "iu":
        width = max(1, int(np.ceil((high - low + 1) / BINS)))
        edges = np.arange(low - 0.5, high + width + 0.5, width)
    else:
        edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    counts, edges = np.histogram(values, edges)
    return Histogram(counts, edges.astype(np.float64), intensity_unit(image))


def slice_areas(region: Region, image: Volume) -> dict[Plane, SliceAreas]:
    """Voxels on each slice times the area of a voxel's face, for the three planes; none for an empty mask."""
    if region.box is None:
        return {}
    found: dict[Plane, SliceAreas] = {}
    for plane in PLANES:
        through, first, second = SliceGeometry.of(image, plane).axes
        face = float(np.linalg.norm(np.cross(region.affine[:3, first], region.affine[:3, second])))
        counts = np.count_nonzero(region.mask, axis=(first, second))
        found[plane] = SliceAreas(plane, region.box.start[through], counts * face)
    return found
