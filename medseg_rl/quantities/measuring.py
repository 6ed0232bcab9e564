"""The quantities of every label of a segmentation, in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from medseg_rl.errors import Cancelled, GeometryError
from medseg_rl.labels import listed
from medseg_rl.quantities.compared import DEFAULT_TOLERANCE_MM, compared
from medseg_rl.quantities.diameters import axial_diameters
from medseg_rl.quantities.intensity import intensities
from medseg_rl.quantities.quantity import LabelQuantities
from medseg_rl.quantities.region import regions_of
from medseg_rl.quantities.report import QuantityReport, hash_of
from medseg_rl.quantities.shape import shape_quantities
from medseg_rl.segmentation import Segmentation, is_same_grid
from medseg_rl.volume import Volume, content_hash


def _never() -> bool:
    return False


def quantities_of(
    segmentation: Segmentation,
    *,
    image: Volume | None = None,
    reference: Segmentation | None = None,
    values: Sequence[int] | None = None,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    cancel: Callable[[], bool] = _never,
    progress: Callable[[int, int], None] | None = None,
    provenance: Mapping[str, object] | None = None,
) -> QuantityReport:
    """All quantities of the labels `values`, or of every label of the segmentation and the reference.

    With `image` intensities too, with `reference` the comparison of labels of the same value; both lie on the grid of
    the segmentation. `cancel` is asked between labels, `progress` told the labels done and their number.
    `provenance`: where the mask comes from; what its file said, unless given.
    Raises GeometryError (another grid, a volume whose slices are known to be missing), Cancelled.
    """
    _check(segmentation, image, reference)
    names = {
        label.value: label.name
        for label in chain((reference or segmentation).labels.labels, segmentation.labels.labels)
    }
    chosen = list(dict.fromkeys(values if values is not None else chain(segmentation.labels.values, names)))
    own = regions_of(segmentation, chosen)
    others = regions_of(reference, chosen) if reference else {}
    found = []
    for value in chosen:
        if cancel():
            raise Cancelled("the quantities were stopped; nothing was changed")
        axial = axial_diameters(own[value])
        parts = [shape_quantities(own[value], axial)]
        if image is not None:
            parts.append(intensities(own[value], image))
        if reference is not None:
            parts.append(compared(own[value], others[value], tolerance_mm=tolerance_mm))
        name = names.get(value, f"Label {value}")
        found.append(LabelQuantities(value, name, tuple(chain(*parts)), own[value].cut_off, axial))
        if progress:
            progress(len(found), len(chosen))
    return QuantityReport(
        tuple(found),
        shape=segmentation.shape,
        spacing=segmentation.spacing,
        orientation=segmentation.grid.orientation,
        shear_degrees=segmentation.grid.shear_degrees if segmentation.grid.is_sheared else 0.0,
        image_sha256=content_hash(image) if image is not None else None,
        mask_sha256=hash_of(segmentation),
        reference_sha256=hash_of(reference) if reference else None,
        warnings=tuple(_warnings(segmentation, reference)),
        provenance=provenance or segmentation.grid.source.get("provenance", {}),
    )


def _check(segmentation: Segmentation, image: Volume | None, reference: Segmentation | None) -> None:
    volumes = [("mask", segmentation.grid), ("image", image), ("reference", reference.grid if reference else None)]
    for name, volume in volumes:
        if volume is None:
            continue
        if not is_same_grid(volume, segmentation.grid):
            raise GeometryError(
                f"the {name} is {volume.shape} voxels of {volume.orientation} but the mask {segmentation.shape} of"
                f" {segmentation.grid.orientation}, or it lies elsewhere; resample the mask to it first"
            )
        state = str(volume.source.get("quantities", ""))
        if state.startswith("disabled"):
            raise GeometryError(f"quantities of this {name} are {state}; load it again resampled to a regular grid")


def _warnings(segmentation: Segmentation, reference: Segmentation | None) -> list[str]:
    warnings = list(segmentation.warnings)
    if segmentation.grid.is_sheared:
        degrees = segmentation.grid.shear_degrees
        warnings.append(
            f"the grid is sheared by {degrees:.3g} degrees: volumes by the determinant, points by the affine"
        )
    if reference and not set(segmentation.labels.values) & set(reference.labels.values):
        own, other = listed(segmentation.labels.values), listed(reference.labels.values)
        warnings.append(
            f"mask and reference share no label value: {own} and {other}; give the reference the same values"
        )
    return warnings
