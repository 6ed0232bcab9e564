"""Writes DICOM SEG objects of the images that a segmentation was drawn on, bit-packed or as a label map.

De-identified unless asked otherwise. Reading is next door (`dicom_seg`); what highdicom makes, it gets from headers
that hold nothing but geometry and references, so that nothing else can slip through.
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DS

from medseg_rl import __version__
from medseg_rl.errors import GeometryError, OutputError
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.imageio.dicom_colours import cielab_of
from medseg_rl.imageio.dicom_encoding import encode_frames
from medseg_rl.imageio.dicom_objects import LONGEST_TEXT, short_name
from medseg_rl.imageio.dicom_seg import TRACKING
from medseg_rl.imageio.dicom_sources import (
    NAMING,
    PRODUCT,
    Planes,
    Source,
    SourceImage,
    identity,
    made_by,
    origin_note,
    planes_of,
    source_of,
)
from medseg_rl.imageio.dicom_terms import TERMS, TISSUE, Terms
from medseg_rl.imageio.limits import MAX_VOXELS
from medseg_rl.imageio.masks import geometry_line
from medseg_rl.labels import BACKGROUND, Label, label_dtype, translation_table
from medseg_rl.segmentation import Segmentation, is_same_grid
from medseg_rl.volume import Volume

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

SegForm = Literal["BINARY", "LABELMAP"]
MOST_SEGMENTS = 65535


def write(
    path: Path,
    segmentation: Segmentation,
    *,
    like: Volume,
    form: SegForm = "BINARY",
    deidentified: bool = True,
    touched_by_model: Collection[int] = (),
    provenance: Mapping[str, object] | None = None,
) -> list[str]:
    """Writes one SEG file of the series that `like` was read from; returns what the user should know.

    `form`: BINARY counts segments from 1 and keeps the values in the tracking identifiers; LABELMAP keeps the values as
    they are, 1 to 65535, and holds no overlap. `deidentified`: leaves patient, dates and free text out; otherwise the
    patient module is copied. `touched_by_model`: values of the labels that a model had a hand in (SEMIAUTOMATIC).
    `provenance`: versions and hashes, written as text.
    Raises OutputError (not from DICOM, overlap, values, disk) and GeometryError (another grid).
    """
    if not is_same_grid(segmentation.grid, like):
        raise GeometryError(
            f"the segmentation is {geometry_line(segmentation.grid)} but its image is {geometry_line(like)};"
            " resample the segmentation first"
        )
    said = check_labels(path, segmentation, form)
    source = source_of(path, like)
    planes = planes_of(path, like, source)
    labels = segmentation.labels.labels
    if form == "LABELMAP":
        labels = tuple(sorted(labels, key=lambda label: label.value))
    numbers = {label.value: label.value if form == "LABELMAP" else n for n, label in enumerate(labels, 1)}
    terms = _terms_of(segmentation, deidentified)
    items = [
        _segment(numbers[label.value], label, label.value in touched_by_model, terms.get(label.value))
        for label in labels
    ]
    dataset = _assembled(path, segmentation, numbers, form, items, source, planes)
    made_by(dataset, source, "segmentation", origin_note(provenance))
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for name, value in identity(source, deidentified=deidentified):
        setattr(dataset, name, value)
    encode_frames(dataset)
    with atomic_path(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
    return said


def check_labels(path: Path, segmentation: Segmentation, form: SegForm) -> list[str]:
    """What the user should know of how values are kept. Raises OutputError where the form cannot hold the labels."""
    labels = segmentation.labels.labels
    if not labels:
        raise OutputError(f"cannot write {path}: there is no label; a DICOM SEG needs at least one")
    if form == "BINARY":
        if len(labels) > MOST_SEGMENTS:
            raise OutputError(f"cannot write {path}: {len(labels)} labels are more than a DICOM SEG can count")
        changed = [f"{label.value} is segment {n}" for n, label in enumerate(labels, 1) if label.value != n]
        if not changed:
            return []
        shown = ", ".join(changed[:8]) + (", ..." if len(changed) > 8 else "")
        return [f"BINARY counts segments from 1, so label {shown}; the values are in the tracking identifiers"]
    if lost := segmentation.overlap_voxels:
        raise OutputError(
            f"cannot write {path}: {lost} voxels lie in more than one label, which a LABELMAP cannot hold; write BINARY"
        )
    outside = [label.value for label in labels if not 1 <= label.value <= MOST_SEGMENTS]
    if outside:
        raise OutputError(f"cannot write {path}: a LABELMAP holds values 1 to {MOST_SEGMENTS}, not {outside[0]}")
    return []


def _terms_of(segmentation: Segmentation, deidentified: bool) -> dict[int, Terms]:
    known: Mapping[int, Terms] = segmentation.grid.source.get(TERMS, {})
    return {value: terms.published() if deidentified else terms for value, terms in known.items()}


def _segment(number: int, label: Label, by_model: bool, terms: Terms | None) -> SegmentDescription:
    import highdicom

    terms = terms or Terms(TISSUE, TISSUE)
    name = short_name(label.name) or f"Label {label.value}"
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=PRODUCT, family=Code("123110", "DCM", "Artificial Intelligence"), version=__version__
    )
    item = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=terms.category,
        segmented_property_type=terms.type,
        algorithm_type="SEMIAUTOMATIC" if by_model else "MANUAL",
        algorithm_identification=algorithm if by_model else None,
        tracking_uid=generate_uid(),
        tracking_id=TRACKING.format(value=label.value),
    )
    terms.describe(item)
    item.RecommendedDisplayCIELabValue = list(cielab_of(label.colour))
    if name != label.name:
        item.SegmentDescription = label.name[:LONGEST_TEXT]
    return item


def _assembled(
    path: Path,
    segmentation: Segmentation,
    numbers: Mapping[int, int],
    form: SegForm,
    items: list[SegmentDescription],
    source: Source,
    planes: Planes,
) -> pydicom.Dataset:
    import highdicom

    held = np.zeros(segmentation.shape[2], bool)
    for layer in segmentation.layers:
        held |= (layer.array != BACKGROUND).any(axis=(0, 1))
    kept = np.flatnonzero(held) if held.any() else np.array([0])  # an object without frames is none
    pixels = _label_map(segmentation, numbers, kept)
    if pixels is None:
        pixels = _stack(path, segmentation, kept)
    with _in_silence():
        made: pydicom.Dataset = highdicom.seg.Segmentation(
            source_images=_headers(source, planes),
            pixel_array=pixels,
            segmentation_type=form,
            segment_descriptions=items,
            series_instance_uid=generate_uid(),
            series_number=100,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=PRODUCT,
            manufacturer_model_name=PRODUCT,
            software_versions=__version__,
            device_serial_number="0",
            content_label="SEGMENTATION",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            pixel_measures=_measures(planes),
            plane_orientation=highdicom.PlaneOrientationSequence("PATIENT", planes.directions.ravel().tolist()),
            plane_positions=[
                highdicom.PlanePositionSequence("PATIENT", planes.positions[k].tolist()) for k in kept.tolist()
            ],
            specific_character_set="ISO_IR 192",
        )
    if source.is_multi_frame:
        _name_frames(made, source)
    return made


@contextlib.contextmanager
def _in_silence() -> Iterator[None]:
    """Without warnings, and without what highdicom logs: the identifiers of the images."""
    logger = logging.getLogger("highdicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _name_frames(made: pydicom.Dataset, source: Source) -> None:
    """The numbers of the frames in their file, where `_headers` counted those of the series."""
    for group in made.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence") or []:
            for item in derivation.SourceImageSequence:
                item.ReferencedFrameNumber = source.images[int(item.ReferencedFrameNumber) - 1].frame


def _label_map(
    segmentation: Segmentation, numbers: Mapping[int, int], kept: npt.NDArray[np.intp]
) -> npt.NDArray[Any] | None:
    """Segment numbers (plane, row, column); None where labels overlap."""
    if segmentation.overlap_voxels:
        return None
    dtype = np.uint8 if max(numbers.values()) <= 255 else np.uint16
    pixels = np.zeros((len(kept), *segmentation.shape[1::-1]), dtype)
    for layer in {label.layer for label in segmentation.labels.labels}:
        array = segmentation.layers[layer].array
        own = [label.value for label in segmentation.labels.in_layer(layer)]
        translated = _translation({value: numbers[value] for value in own}, array.dtype, dtype)
        for n, k in enumerate(kept.tolist()):
            pixels[n] |= translated(array[:, :, k].copy(order="K").T)
    return pixels


def _translation(
    numbers: Mapping[int, int], values: np.dtype[Any], dtype: type[np.unsignedinteger[Any]]
) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """From label values to segment numbers, 0 for all others."""
    if values.itemsize <= 2:
        table = translation_table(values, numbers, dtype)
        return lambda plane: table[plane]
    known = np.array(sorted({BACKGROUND, *numbers}), label_dtype(numbers))
    stored = np.array([numbers.get(int(value), 0) for value in known], dtype)

    def looked_up(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        place = np.searchsorted(known, plane).clip(max=len(known) - 1)
        return np.where(known[place] == plane, stored[place], 0).astype(dtype)

    return looked_up


def _stack(path: Path, segmentation: Segmentation, kept: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """True inside (plane, row, column, segment)."""
    labels = segmentation.labels.labels
    shape = (len(kept), *segmentation.shape[1::-1], len(labels))
    if math.prod(shape) > MAX_VOXELS:
        raise OutputError(
            f"cannot write {path}: {len(labels)} overlapping labels on {len(kept)} slices need too much memory; write"
            " .seg.nrrd, or fewer labels at a time"
        )
    pixels = np.zeros(shape, bool)
    for n, label in enumerate(labels):
        for plane, k in enumerate(kept.tolist()):
            pixels[plane, :, :, n] = (segmentation.layers[label.layer].array[:, :, k] == label.value).T
    return pixels


def _headers(source: Source, planes: Planes) -> list[pydicom.Dataset]:
    """What highdicom has to know of the images: places and references, nothing else."""
    if not source.is_multi_frame:
        return [_placed(image, source, planes) for image in source.images]
    header = _header(source.images[0], source)
    shared, orientation, frames = pydicom.Dataset(), pydicom.Dataset(), []
    orientation.ImageOrientationPatient = _decimals(source.directions.ravel())
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], _measures(planes)
    for image in source.images:
        position, frame = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = _decimals(image.position)
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    header.SharedFunctionalGroupsSequence, header.PerFrameFunctionalGroupsSequence = [shared], frames
    header.NumberOfFrames = len(frames)
    return [header]


def _placed(image: SourceImage, source: Source, planes: Planes) -> pydicom.Dataset:
    header = _header(image, source)
    header.PixelSpacing = _decimals(source.spacing[::-1])
    header.SliceThickness = DS(planes.gap, auto_format=True)
    if planes.is_even:
        header.SpacingBetweenSlices = header.SliceThickness
    header.ImageOrientationPatient = _decimals(source.directions.ravel())
    header.ImagePositionPatient = _decimals(image.position)
    return header


def _header(image: SourceImage, source: Source) -> pydicom.Dataset:
    header = pydicom.Dataset()
    header.SOPClassUID, header.SOPInstanceUID = image.sop_class, image.sop_instance
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(header, name, source.uid(name))
    for name in NAMING:
        setattr(header, name, "")
    header.Columns, header.Rows = source.size
    return header


def _measures(planes: Planes) -> Any:
    import highdicom

    return highdicom.PixelMeasuresSequence(
        pixel_spacing=planes.spacing[::-1],
        slice_thickness=planes.gap,
        spacing_between_slices=planes.gap if planes.is_even else None,
    )


def _decimals(numbers: Any) -> list[Any]:
    return [DS(float(number), auto_format=True) for number in numbers]
