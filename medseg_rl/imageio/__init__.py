"""The only place that opens image files. Everything leaves it as a `Volume` in RAS+ millimetres, in file order.

    image = read_volume("ct.nii.gz")
    mask = read_mask("liver.nrrd", like=image)
    write_mask("out.nii.gz", mask, like=image)
    labels = read_segmentation("organs.seg.nrrd", like=image)
    write_segmentation("organs.nii.gz", labels, like=image)

What a file is, is decided by its content and not by its name. Label values are never renumbered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg_rl.errors import GeometryError, InputFileError, NonFiniteError, OutputError
from medseg_rl.imageio.atomic import atomic_path, check_output_path
from medseg_rl.imageio.kinds import OUTPUT_SUFFIXES, READ_SUFFIXES, SEGMENTATION_KINDS, kind_of, output_kind
from medseg_rl.imageio.label_tables import TABLE_SUFFIXES
from medseg_rl.imageio.limits import within_memory
from medseg_rl.imageio.masks import LoadCheck, check_load, geometry_line, narrowed
from medseg_rl.labels import LabelMap
from medseg_rl.segmentation import Segmentation, is_same_grid
from medseg_rl.volume import Volume

if TYPE_CHECKING:
    from medseg_rl.imageio.dicom_geometry import GeometryReport
    from medseg_rl.imageio.file_facts import HeaderFacts

__all__ = [
    "OUTPUT_SUFFIXES",
    "READ_SUFFIXES",
    "TABLE_SUFFIXES",
    "LoadCheck",
    "atomic_path",
    "check_load",
    "check_output",
    "describe",
    "geometry_reports",
    "header_facts",
    "holds_labels",
    "patient_words",
    "read_label_table",
    "read_mask",
    "read_segmentation",
    "read_volume",
    "write_label_table",
    "write_mask",
    "write_segmentation",
    "write_volume",
]

FloatType = type[np.floating[Any]]
AnyPath = str | PathLike[str]
MissingChoice = Literal["refuse", "resample", "keep"]
TiltChoice = Literal["keep", "resample"]
UnitChoice = Literal["suv", "stored"]


@within_memory
def read_volume(
    path: AnyPath,
    *,
    time_point: int | None = None,
    prefer: Literal["sform", "qform"] | None = None,
    series: str | int | None = None,
    missing: MissingChoice = "refuse",
    tilt: TiltChoice = "keep",
    units: UnitChoice = "suv",
    slices: tuple[int, int] | None = None,
    replace_nonfinite: float | None = None,
) -> Volume:
    """An image as (x, y, z) in file order: integers as stored, scaled values and all real numbers as float32.

    `path`: a file, or a folder with DICOM images. `time_point`: from 0, where a file holds several volumes. `prefer`:
    the NIfTI transform to use where both are set. `series`: number in the list of `describe`, or UID, where a folder
    holds several. `replace_nonfinite`: takes the place of NaN and infinite voxels, which are refused otherwise, because
    what they stand for differs from file to file. `slices`: first and one past the last along the third axis: only they
    take memory (NIfTI and DICOM). What the user should know is in `source["warnings"]`.
    Of DICOM series alone: `missing`: where slices are missing or out of place, refuse, "resample" to a regular grid
    (linear), or "keep" the slices, which disables quantities (`source["quantities"]` says why). `tilt`: "keep" a tilted
    gantry as shear, or "resample" to an upright grid. `units`: PET as "suv" where its tags allow, or as "stored".
    Raises InputFileError and GeometryError.
    """
    path = Path(path)
    volume = read_stored(
        path,
        time_point=time_point,
        prefer=prefer,
        series=series,
        missing=missing,
        tilt=tilt,
        units=units,
        slices=slices,
        float_type=np.float32,
    )
    return _finite(path, _marked(path, volume), replace_nonfinite)


@within_memory
def read_mask(
    path: AnyPath,
    *,
    like: Volume | None = None,
    time_point: int | None = None,
    prefer: Literal["sform", "qform"] | None = None,
    accept_shift: bool = False,
    resample: bool = False,
    threshold: float | None = None,
) -> Volume:
    """A label map as integers, values as in the file; on the grid of `like` where that is given.

    Another axis order or flips are undone without loss. `accept_shift`: takes a mask of the same shape that lies up to
    one voxel off. `resample`: nearest neighbour where the world boxes overlap by at least 90 %. `threshold`: for a map
    of probabilities; what lies above it becomes 1.
    Raises InputFileError (not whole numbers), GeometryError (another grid, both printed).
    """
    from medseg_rl.imageio import segmentations

    path = Path(path)
    segmentation = segmentations.read(
        path,
        like=like,
        time_point=time_point,
        prefer=prefer,
        accept_shift=accept_shift,
        resample=resample,
        threshold=threshold,
    )
    return segmentations.single_map(path, segmentation)


@within_memory
def read_segmentation(
    path: AnyPath,
    *,
    like: Volume | None = None,
    time_point: int | None = None,
    prefer: Literal["sform", "qform"] | None = None,
    accept_shift: bool = False,
    resample: bool = False,
    threshold: float | None = None,
    labels: LabelMap | None = None,
) -> Segmentation:
    """Labels with names and colours, overlapping ones in layers of their own; the choices are those of `read_mask`.

    Names come from the file where its format holds them, else from a table beside it (mask.labels.json of mask.nii.gz),
    else they are "Label 3". `labels`: a table that goes before both. A grid cut out of that of `like` is put in its
    place where the format crops by design. Warnings are in the result's `warnings`. Raises as `read_mask` does.
    """
    from medseg_rl.imageio import segmentations

    return segmentations.read(
        Path(path),
        like=like,
        time_point=time_point,
        prefer=prefer,
        accept_shift=accept_shift,
        resample=resample,
        threshold=threshold,
        labels=labels,
    )


def holds_labels(path: AnyPath) -> bool:
    """Whether a file says itself that it is a segmentation: by its kind, a segment table, or a table beside it."""
    from medseg_rl.imageio import segmentations

    return segmentations.holds_labels(Path(path))


def patient_words(image: Volume) -> dict[str, str]:
    """What the DICOM files of an image say of its patient, by keyword, for the screen alone; empty for other images."""
    from medseg_rl.imageio import dicom_patient

    path, series = image.source.get("path"), image.source.get("series_uid")
    return dicom_patient.patient_words(Path(path), str(series)) if path and series else {}


def read_label_table(path: AnyPath) -> LabelMap:
    """A label table of ITK-SNAP, 3D Slicer (.csv, .ctbl) or JSON. Raises InputFileError."""
    from medseg_rl.imageio.label_tables import read_table

    return read_table(Path(path))


def write_label_table(path: AnyPath, table: LabelMap) -> None:
    """Writes a label table: .json, .csv (3D Slicer), .label or .txt (ITK-SNAP). Raises OutputError."""
    from medseg_rl.imageio.label_tables import write_table

    write_table(Path(path), table)


def write_mask(path: AnyPath, mask: Volume, *, like: Volume, orthonormalise: bool = False) -> list[str]:
    """Writes a label map (bool or integers) so that it overlays the image `like` in every viewer.

    A NIfTI mask of a NIfTI image gets both transforms and both codes of that image. A failure leaves the old file.
    `orthonormalise`: whether a MetaImage file may get right-angled axes in place of sheared ones. Returns what the user
    should know, mostly nothing.
    Raises GeometryError (another grid), OutputError (full disk, read-only, another writer, unknown ending).
    """
    if not is_same_grid(mask, like):
        raise GeometryError(
            f"mask is {geometry_line(mask)} but image is {geometry_line(like)}; resample the mask first"
        )
    if mask.array.dtype.kind not in ("b", "u", "i"):
        raise ValueError(f"a mask holds bool or integers, this one {mask.array.dtype}")
    narrow = like.with_array(narrowed(mask.array))
    if output_kind(Path(path)) in SEGMENTATION_KINDS:
        return write_segmentation(path, Segmentation.of_label_map(narrow), like=like)
    return write_stored(Path(path), narrow, orthonormalise=orthonormalise)


def write_segmentation(
    path: AnyPath,
    segmentation: Segmentation,
    *,
    like: Volume,
    flatten: bool = False,
    orthonormalise: bool = False,
    form: Literal["BINARY", "LABELMAP"] = "BINARY",
    deidentified: bool = True,
    touched_by_model: Collection[int] = (),
    provenance: Mapping[str, object] | None = None,
) -> list[str]:
    """Writes labels with their names and colours, as `write_mask` in all else; returns what the user should know.

    Formats of a single label map get a table beside them where it says more than default names. `flatten`: makes one
    map of overlapping labels, where the later one wins; without it such a format refuses them. The rest is for DICOM,
    where `like` must come from DICOM: `form` of a SEG (.dcm); `deidentified`: patient, dates and free text left out of
    a SEG or RTSTRUCT (.rtstruct.dcm); `touched_by_model`: labels a model had a hand in. `provenance`: where the labels
    come from, JSON-ready; in the file where its format has a place for it, else beside it (mask.provenance.json).
    Raises GeometryError (another grid) and OutputError (overlap, shear, values, no DICOM image, disk).
    """
    from medseg_rl.imageio import segmentations

    told = {"deidentified": deidentified, "touched_by_model": touched_by_model, "provenance": provenance}
    return segmentations.write(
        Path(path), segmentation, like=like, flatten=flatten, orthonormalise=orthonormalise, form=form, **told
    )


def write_volume(path: AnyPath, volume: Volume, *, orthonormalise: bool = False) -> list[str]:
    """Writes an image; as `write_mask` in all else."""
    if output_kind(Path(path)) in SEGMENTATION_KINDS:
        raise OutputError(f"cannot write {path}: that ending is for segmentations, this is an image; choose another")
    array = volume.array
    if array.dtype == np.bool_ or array.dtype == np.float16:  # no file format here has these
        array = array.astype(np.uint8 if array.dtype == np.bool_ else np.float32)
    return write_stored(Path(path), volume.with_array(array), orthonormalise=orthonormalise)


def check_output(path: AnyPath) -> None:
    """Raises OutputError before any work is done when `path` could not be written or its ending is none of ours."""
    output_kind(Path(path))
    check_output_path(Path(path))


def describe(path: AnyPath) -> dict[str, Any]:
    """What is known of a file or DICOM folder, ready for JSON; a file that is recognised but unusable says why."""
    from medseg_rl.imageio.description import describe as describe_path

    return describe_path(Path(path))


def header_facts(path: AnyPath) -> HeaderFacts | None:
    """Shape, time points, and whether the two transforms of a NIfTI file agree; no voxel is read. None for DICOM."""
    from medseg_rl.imageio.file_facts import header_facts as facts_of

    return facts_of(Path(path))


def geometry_reports(
    path: AnyPath,
    *,
    progress: Callable[[int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> tuple[GeometryReport, ...]:
    """The series of a DICOM folder, or of one of its files, each with the geometry of its slices and a verdict.

    `progress` hears the number of files searched so far. Raises Cancelled once `cancel` says True.
    """
    from medseg_rl.imageio import dicom

    return dicom.reports_of(Path(path), progress=progress, cancel=cancel)


def read_stored(
    path: Path,
    *,
    float_type: FloatType,
    time_point: int | None = None,
    prefer: Literal["sform", "qform"] | None = None,
    series: str | int | None = None,
    missing: MissingChoice = "refuse",
    tilt: TiltChoice = "keep",
    units: UnitChoice = "suv",
    slices: tuple[int, int] | None = None,
) -> Volume:
    """For the rooms of this package: voxels as stored, non-finite ones included."""
    kind = kind_of(path)
    if kind == "NIfTI":
        from medseg_rl.imageio import nifti

        _check_choices(path, kind, missing, tilt)
        return nifti.read(path, time_point=time_point, prefer=prefer, slices=slices, float_type=float_type)
    if time_point is not None:
        raise InputFileError(f"{path} is {kind}; a time point can be chosen in NIfTI files only")
    if prefer is not None:
        raise InputFileError(f"{path} is {kind}; only NIfTI files have a sform and a qform to prefer")
    if kind == "DICOM":
        from medseg_rl.imageio import dicom

        return dicom.read(
            path, series=series, missing=missing, tilt=tilt, units=units, slices=slices, float_type=float_type
        )
    if slices is not None:
        raise InputFileError(f"{path} is {kind}; a part of the slices can be read of NIfTI and DICOM only")
    _check_choices(path, kind, missing, tilt)
    from medseg_rl.imageio import itk

    return itk.read(path, kind, float_type=float_type)


def _check_choices(path: Path, kind: str, missing: MissingChoice, tilt: TiltChoice) -> None:
    if missing != "refuse" or tilt != "keep":
        raise InputFileError(f"{path} is {kind}; missing slices and tilt are choices for DICOM series only")


def write_stored(
    path: Path, volume: Volume, *, orthonormalise: bool = False, origin: Mapping[str, Any] | None = None
) -> list[str]:
    """For the rooms of this package: writes an array of the types that the formats know.

    `origin`: what the file says of where it comes from, in it or beside it; the program alone unless given.
    """
    from medseg_rl.imageio import provenance

    check_output(path)
    kind, said = output_kind(path), dict(origin or provenance.completed(None, volume.source))
    with contextlib.ExitStack() as stack:
        beside = provenance.beside(path)
        if kind != "NRRD" and (set(said) != {"program"} or beside.exists()):  # an old one would speak of other voxels
            stack.enter_context(atomic_path(beside)).write_bytes(provenance.file_content(said))
        if kind == "NIfTI":
            from medseg_rl.imageio import nifti

            with atomic_path(path) as temporary:
                nifti.write(temporary, volume, description=provenance.as_line(said, nifti.LONGEST_DESCRIPTION))
            return []
        from medseg_rl.imageio import itk

        return itk.write(path, kind, volume, said, orthonormalise=orthonormalise)


def _marked(path: Path, volume: Volume) -> Volume:
    """With the ban on measuring that the file, or the one beside it, states."""
    from medseg_rl.imageio import provenance

    known = volume.source.get(provenance.KEY) or (provenance.read_beside(path) if path.is_file() else {})
    disabled = known.get(provenance.QUANTITIES)
    return replace(volume, source={**volume.source, provenance.QUANTITIES: disabled}) if disabled else volume


def _finite(path: Path, volume: Volume, replacement: float | None) -> Volume:
    if volume.array.dtype.kind != "f":
        return volume
    bad = ~np.isfinite(volume.array)
    count = int(np.count_nonzero(bad))
    if count == 0:
        return volume
    not_a_number = int(np.count_nonzero(np.isnan(volume.array)))
    said = f"{not_a_number} NaN and {count - not_a_number} infinite voxels of {bad.size}"
    if replacement is None:
        raise NonFiniteError(f"{path} holds {said}; say which value replaces them (such as the background), or mend it")
    array = np.where(bad, np.asarray(replacement, dtype=volume.array.dtype), volume.array)
    warnings = [*volume.source.get("warnings", []), f"{said} were replaced by {replacement:g}"]
    return replace(volume, array=array, source={**volume.source, "warnings": warnings})
