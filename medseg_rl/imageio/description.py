"""What `medseg-rl info` prints: the geometry, voxels and warnings of a file, or the series of a DICOM folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import medseg_rl.imageio as imageio
from medseg_rl.errors import InputFileError, MedSegError
from medseg_rl.imageio import segmentations
from medseg_rl.imageio.kinds import kind_of
from medseg_rl.imageio.masks import as_label_map
from medseg_rl.volume import Volume

if TYPE_CHECKING:
    from medseg_rl.imageio.dicom_geometry import GeometryReport

MOST_LABELS = 256  # an image of integers with more distinct values than this is no label map


def describe(path: Path) -> dict[str, Any]:
    """Numbers and strings only. `usable` is False, and `problem` says why, where the file is known but not opened.

    Raises InputFileError for what is no image at all.
    """
    kind = kind_of(path)
    facts: dict[str, Any] = {"path": str(path), "format": kind}
    if kind == "DICOM":
        facts |= _dicom_facts(path)
    elif kind == "NIfTI":
        facts |= _nifti_facts(path)
    try:
        if kind == "DICOM" and segmentations.object_kind(path) == "RTSTRUCT":
            return facts | _contour_facts(path)
        if segmentations.holds_labels(path):
            return facts | _segmentation_facts(path)
        volume = imageio.read_volume(path, replace_nonfinite=math.nan)
    except MedSegError as error:
        return facts | {"usable": False, "problem": str(error)}
    nonfinite = np.count_nonzero(~np.isfinite(volume.array)) if volume.array.dtype.kind == "f" else 0
    facts |= {"usable": nonfinite == 0} | _volume_facts(path, volume)
    if nonfinite:
        facts["problem"] = f"{nonfinite} voxels are NaN or infinite; say which value replaces them, or mend the file"
    return facts


def _grid_facts(volume: Volume) -> dict[str, Any]:
    return {
        "shape": list(volume.shape),
        "spacing_mm": [round(s, 6) for s in volume.spacing],
        "orientation": volume.orientation,
        "oblique_degrees": [round(d, 3) for d in _obliquity(volume)],
        "shear_degrees": round(volume.shear_degrees, 3),
        "voxel_volume_mm3": volume.voxel_volume,
        "affine": volume.affine.tolist(),
    }


def _ban(volume: Volume) -> dict[str, Any]:
    """Why nothing may be measured on it, where that is so."""
    disabled = volume.source.get("quantities")
    return {"quantities": disabled} if disabled else {}


def _segmentation_facts(path: Path) -> dict[str, Any]:
    segmentation = imageio.read_segmentation(path)
    return {
        "usable": True,
        **_grid_facts(segmentation.grid),
        **_ban(segmentation.grid),
        "dtype": str(segmentation.grid.array.dtype),
        "layers": len(segmentation.layers),
        "overlap_voxels": segmentation.overlap_voxels,
        "segments": segmentation.facts(),
        "provenance": segmentation.grid.source.get("provenance", {}),
        "warnings": segmentation.warnings,
    }


def _contour_facts(path: Path) -> dict[str, Any]:
    """The ROIs of a structure set: contours in space, which become voxels on the image they were drawn on only."""
    from medseg_rl.imageio import rtstruct

    regions, warnings = rtstruct.read_regions(path)
    listed = [
        {
            "value": region.label.value,
            "name": region.label.name,
            "colour": list(region.label.colour),
            "contours": len(region.contours),
            "points": sum(len(points) for points in region.contours),
            "by_model": region.by_model,
        }
        for region in regions
    ]
    said = [*warnings, *(note for region in regions for note in region.notes)]
    return {"usable": True, "needs": "the image it was drawn on (--like)", "regions": listed, "warnings": said}


def _volume_facts(path: Path, volume: Volume) -> dict[str, Any]:
    finite = volume.array[np.isfinite(volume.array)] if volume.array.dtype.kind == "f" else volume.array
    facts: dict[str, Any] = {
        **_grid_facts(volume),
        **_ban(volume),
        "modality": volume.modality,
        "dtype": str(volume.array.dtype),
        "range": [float(finite.min()), float(finite.max())] if finite.size else None,
        "labels": _labels(path, volume),
        "warnings": [w for w in volume.source.get("warnings", []) if "replaced by nan" not in w],
    }
    if volume.source.get("units"):
        facts["units"] = volume.source["units"]
    if volume.is_sheared and "geometry" not in volume.source:  # the report of a DICOM series says so itself
        facts["warnings"].append(f"the voxel axes are sheared by {volume.shear_degrees:.3g} degrees; this is kept")
    if finite.size and finite.min() == finite.max():
        facts["warnings"].append(f"every voxel is {float(finite.min()):g}: a constant image")
    return facts


def _obliquity(volume: Volume) -> list[float]:
    """Angle in degrees between each voxel axis and the patient axis nearest to it."""
    cosines = np.abs(volume.affine[:3, :3] / np.asarray(volume.spacing)).max(axis=0)
    return [float(d) for d in np.degrees(np.arccos(np.clip(cosines, 0, 1)))]


def _labels(path: Path, volume: Volume) -> dict[str, int] | None:
    """Voxels of each value but 0, where the file could be a label map: few, whole, and not spread like intensities."""
    try:
        array = as_label_map(path, volume).array
    except InputFileError:
        return None
    values, counts = np.unique(array, return_counts=True)
    if len(values) > MOST_LABELS or values[0] < 0:
        return None
    return {str(v): int(n) for v, n in zip(values.tolist(), counts.tolist(), strict=True) if v != 0}


def _nifti_facts(path: Path) -> dict[str, Any]:
    from medseg_rl.imageio import nifti

    header = nifti.read_header(path)
    return {
        "stored_shape": list(header.shape),
        "stored_dtype": str(header.dtype),
        "time_points": header.time_points,
        "components": header.components,
        "sform_code": int(header.block["sform_code"]),
        "qform_code": int(header.block["qform_code"]),
    }


def _dicom_facts(path: Path) -> dict[str, Any]:
    from medseg_rl.imageio import dicom
    from medseg_rl.imageio.dicom_geometry import refusal_of, report_of

    found, series = dicom.scan_path(path), []
    for number, item in enumerate(found.series, 1):
        report = report_of(item, number)
        problem = report.problem or (str(refusal_of(item, report)) if report.is_broken else None)
        series.append(_series_facts(report, problem))
    return {"series": series, "damaged_files": [str(p) for p in found.damaged], "other_files": found.others}


def _series_facts(report: GeometryReport, problem: str | None) -> dict[str, Any]:
    spacing = report.spacing
    return {
        "number": report.number,
        "uid": report.uid,
        "modality": report.modality,
        "description": report.description,
        "kind": report.kind,
        "files": report.files,
        "shape": [*report.matrix, report.images],
        "pixel_spacing_mm": list(spacing[:2]) if spacing else None,
        "slice_gap_mm": round(spacing[2], 5) if spacing else None,
        "verdict": report.verdict,
        "report": list(report.lines),
        "uneven_gaps": list(report.file_lines()),
        "usable": problem is None,
        "problem": problem,
    }
