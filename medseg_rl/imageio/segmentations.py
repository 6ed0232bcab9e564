"""Reads and writes segmentations of every format: which reader, which table, onto which grid, and what is lost.

The formats themselves are next door. Values, names and colours pass through; overlap is kept where the format can hold
it, and otherwise never lost without being asked for.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg_rl.errors import GeometryError, InputFileError, OutputError
from medseg_rl.imageio import label_tables, provenance
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.imageio.kinds import SEGMENTATION_KINDS, kind_of, output_kind, stem_of
from medseg_rl.imageio.masks import as_label_map, geometry_line, narrowed, on_grid_of
from medseg_rl.imageio.segment_table import TAGS
from medseg_rl.labels import LabelMap
from medseg_rl.segmentation import Segmentation, is_same_grid
from medseg_rl.volume import Volume

if TYPE_CHECKING:
    from medseg_rl.imageio.dicom_objects import ObjectKind

MANY_LABELS = 256  # without a table that names them: whole intensities are likelier than so many structures


def table_beside(path: Path) -> Path:
    """Where the label table of a format that holds none lies: mask.labels.json beside mask.nii.gz."""
    return path.parent / f"{stem_of(path)}.labels.json"


def read(
    path: Path,
    *,
    like: Volume | None = None,
    time_point: int | None = None,
    prefer: Literal["sform", "qform"] | None = None,
    accept_shift: bool = False,
    resample: bool = False,
    threshold: float | None = None,
    labels: LabelMap | None = None,
) -> Segmentation:
    """See `imageio.read_segmentation`."""
    kind = kind_of(path)
    if kind == "DICOM" and (found := object_kind(path)):
        segmentation = _read_object(path, found, like, threshold)
    elif kind == "NRRD" and time_point is None and prefer is None:
        segmentation = _read_nrrd(path, threshold)
    else:
        segmentation = _read_label_map(path, time_point=time_point, prefer=prefer, threshold=threshold)
    segmentation = _with_origin(path, segmentation)
    if labels is not None:
        segmentation = _under_table(segmentation, labels)
    if like is None or all(layer.affine is like.affine for layer in segmentation.layers):
        return segmentation
    part = kind == "DICOM" or TAGS in segmentation.grid.source  # their writers leave empty planes out
    layers = tuple(
        on_grid_of(path, layer, like, accept_shift=accept_shift, resample=resample, part=part)
        for layer in segmentation.layers
    )
    return Segmentation(layers, segmentation.labels)


def holds_labels(path: Path) -> bool:
    """Whether a file says itself that it is a segmentation: by its segment table, its kind, or a table beside it."""
    kind = kind_of(path)
    if kind == "NRRD":
        from medseg_rl.imageio.text_headers import read_promise

        if "segment0_id" in read_promise(path, kind, layered=True).fields:
            return True
    if kind == "DICOM" and object_kind(path):
        return True
    return table_beside(path).is_file()


def object_kind(path: Path) -> ObjectKind | None:
    """Whether a DICOM file is a SEG or an RTSTRUCT."""
    from medseg_rl.imageio import dicom_objects

    return dicom_objects.object_kind(path)


def _read_object(path: Path, kind: ObjectKind, like: Volume | None, threshold: float | None) -> Segmentation:
    if kind == "RTSTRUCT":
        from medseg_rl.imageio import rtstruct

        return rtstruct.read(path, like=like)
    from medseg_rl.imageio import dicom_seg

    return dicom_seg.read(path, like=like, threshold=threshold)


def _read_nrrd(path: Path, threshold: float | None) -> Segmentation:
    from medseg_rl.imageio import itk, segment_table

    layers, fields = itk.read_layers(path)
    try:
        segments = segment_table.read_segments(fields, len(layers))
    except ValueError as error:
        raise InputFileError(f"{path} has a damaged segment table: {error}; save it again") from error
    if segments:
        return segment_table.segmentation_of(tuple(as_label_map(path, layer) for layer in layers), segments)
    return _with_table_beside(path, as_label_map(path, layers[0], threshold=threshold))


def _read_label_map(path: Path, **choices: Any) -> Segmentation:
    from medseg_rl.imageio import read_stored

    threshold = choices.pop("threshold")
    mask = as_label_map(path, read_stored(path, float_type=np.float64, **choices), threshold=threshold)
    return _with_table_beside(path, mask)


def _with_table_beside(path: Path, mask: Volume) -> Segmentation:
    table, beside = LabelMap(), table_beside(path)
    if beside.is_file():
        try:
            table = label_tables.read_table(beside)
        except InputFileError as error:
            said = f"the label table beside the mask is left out: {str(error).replace(str(beside), 'it')}"
            mask = Volume(mask.array, mask.affine, mask.modality, _warned(mask, said))
    found = Segmentation.of_label_map(mask, table)
    if not table.labels and len(found.labels.values) > MANY_LABELS:
        said = f"it holds {len(found.labels.values)} values, which looks like an image, not like labels"
        found = Segmentation((replace(mask, source=_warned(mask, said)),), found.labels)
    return found


def _with_origin(path: Path, segmentation: Segmentation) -> Segmentation:
    """With what the file, or else the one beside it, says of where its labels come from."""
    grid = segmentation.grid
    said = grid.source.get(provenance.KEY) or (provenance.read_beside(path) if path.is_file() else {})
    layers = (replace(grid, source=provenance.into_source(grid.source, said)), *segmentation.layers[1:])
    return Segmentation(layers, segmentation.labels) if said else segmentation


def _warned(volume: Volume, said: str) -> dict[str, Any]:
    return {**volume.source, "warnings": [*volume.source.get("warnings", []), said]}


def _under_table(segmentation: Segmentation, table: LabelMap) -> Segmentation:
    """Names, colours and locks of a table for the values it has; the layers stay, and so do labels it does not have."""
    own = segmentation.labels
    given = {label.value: label for label in table.labels}
    known = [replace(given.get(label.value, label), layer=label.layer) for label in own.labels]
    absent = [replace(label, layer=0) for label in table.labels if label.value not in own]
    return segmentation.with_labels(LabelMap((*known, *absent)))


def single_map(path: Path, segmentation: Segmentation) -> Volume:
    """The one label map of a segmentation that was read from `path`. Raises InputFileError where labels overlap."""
    if lost := segmentation.overlap_voxels:
        raise InputFileError(
            f"{path} has {lost} voxels in more than one label, which a single label map cannot hold; read it as a"
            " segmentation, or convert it with --flatten, where the later label wins"
        )
    flat = segmentation.flattened()
    return Volume(flat.array, flat.affine, flat.modality, {**flat.source, "labels": segmentation.labels})


def write(
    path: Path,
    segmentation: Segmentation,
    *,
    like: Volume,
    flatten: bool = False,
    orthonormalise: bool = False,
    form: Literal["BINARY", "LABELMAP"] = "BINARY",
    **told: Any,
) -> list[str]:
    """See `imageio.write_segmentation`; `told`: what a DICOM object says of patient, model and origin."""
    kind = output_kind(path)
    if not is_same_grid(segmentation.grid, like):
        raise GeometryError(
            f"the segmentation is {geometry_line(segmentation.grid)} but its image is {geometry_line(like)};"
            " resample the segmentation first"
        )
    said: list[str] = []
    origin = provenance.completed(told.pop("provenance", None), like.source)
    if flatten or kind not in SEGMENTATION_KINDS or (kind == "DICOM SEG" and form == "LABELMAP"):
        segmentation, said = _in_one_map(path, segmentation, flatten)
    if kind == "SEG.NRRD":
        _write_seg_nrrd(path, segmentation, like, origin)
    elif kind == "RTSTRUCT":
        from medseg_rl.imageio import rtstruct_writing

        said += rtstruct_writing.write(path, segmentation, like=like, provenance=origin, **told)
    elif kind == "DICOM SEG":
        from medseg_rl.imageio import dicom_seg_writing

        said += dicom_seg_writing.write(path, segmentation, like=like, form=form, provenance=origin, **told)
    else:
        said += _write_with_table(path, segmentation, like, orthonormalise, origin)
    return said


def _in_one_map(path: Path, segmentation: Segmentation, flatten: bool) -> tuple[Segmentation, list[str]]:
    """For formats of one label map. Raises OutputError, with the count, where labels overlap and must not."""
    if len(segmentation.layers) == 1:
        return segmentation, []
    lost = segmentation.overlap_voxels
    if lost and not flatten:
        raise OutputError(
            f"cannot write {path}: {lost} voxels lie in more than one label, which a single label map cannot hold;"
            " flatten it (--flatten: the later label wins), or write .seg.nrrd or a binary DICOM SEG"
        )
    said = [f"{lost} voxels lay in more than one label; the later label of the table has them now"] if lost else []
    return Segmentation.of_label_map(segmentation.flattened(), segmentation.labels), said


def _write_seg_nrrd(path: Path, segmentation: Segmentation, like: Volume, origin: dict[str, Any]) -> None:
    from medseg_rl.imageio import itk, segment_table

    fields = {**segment_table.header_fields(segmentation), provenance.NRRD_FIELD: provenance.as_text(origin)}
    itk.write_nrrd(path, segment_table.as_one_array(segmentation), like, fields)


def _write_with_table(
    path: Path, segmentation: Segmentation, like: Volume, orthonormalise: bool, origin: dict[str, Any]
) -> list[str]:
    from medseg_rl.imageio import write_stored

    beside = table_beside(path)
    with contextlib.ExitStack() as stack:
        if not label_tables.is_default(segmentation.labels) or beside.exists():  # an old table would name new values
            table = stack.enter_context(atomic_path(beside))
            table.write_bytes(label_tables.table_content(beside, segmentation.labels))
        array = narrowed(segmentation.grid.array)
        return write_stored(path, like.with_array(array), orthonormalise=orthonormalise, origin=origin)
