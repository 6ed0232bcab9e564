"""Writes RTSTRUCT objects: contours along the borders of the voxels, so that reading them gives the same mask again.

Holes are contours of their own within the outer one (XOR). De-identified unless asked otherwise. Reading is next door.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from medseg_rl.errors import GeometryError, OutputError
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.imageio.dicom_objects import LONGEST_TEXT, short_name
from medseg_rl.imageio.dicom_sources import (
    DESCRIPTION,
    Planes,
    Source,
    SourceImage,
    identity,
    made_by,
    origin_note,
    planes_of,
    source_of,
)
from medseg_rl.imageio.masks import geometry_line
from medseg_rl.imageio.polygons import borders
from medseg_rl.labels import Label
from medseg_rl.segmentation import Segmentation, is_same_grid
from medseg_rl.volume import Box, FloatArray, Volume

STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, retired, which RTSTRUCT still asks for
CONTOUR_DATA = Tag(0x30060050)
LARGEST_NUMBER = 2**31 - 1


def write(
    path: Path,
    segmentation: Segmentation,
    *,
    like: Volume,
    deidentified: bool = True,
    touched_by_model: Collection[int] = (),
    provenance: Mapping[str, object] | None = None,
) -> list[str]:
    """Writes one structure set of the series that `like` was read from; ROI numbers are the label values.

    The choices are those of `dicom_seg_writing.write`; labels may overlap. Returns what the user should know.
    Raises OutputError (not from DICOM, values, disk) and GeometryError (another grid).
    """
    if not is_same_grid(segmentation.grid, like):
        raise GeometryError(
            f"the segmentation is {geometry_line(segmentation.grid)} but its image is {geometry_line(like)};"
            " resample the segmentation first"
        )
    for label in segmentation.labels.labels:
        if not 0 < label.value <= LARGEST_NUMBER:
            raise OutputError(f"cannot write {path}: an RTSTRUCT holds values 1 to {LARGEST_NUMBER}, not {label.value}")
    source = source_of(path, like)
    planes = planes_of(path, like, source)
    dataset = _structure_set(source, origin_note(provenance))
    for name, value in identity(source, deidentified=deidentified):
        setattr(dataset, name, value)
    labels = segmentation.labels.labels
    dataset.StructureSetROISequence = [
        _region(label, source, by_model=label.value in touched_by_model) for label in labels
    ]
    dataset.ROIContourSequence = [_contours(segmentation, label, planes) for label in labels]
    dataset.RTROIObservationsSequence = [_observation(n, label) for n, label in enumerate(labels, 1)]
    with atomic_path(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
    return []


def _structure_set(source: Source, note: str) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    made_by(dataset, source, "structure set", note)
    dataset.SOPClassUID, dataset.Modality = RTStructureSetStorage, "RTSTRUCT"
    dataset.StructureSetLabel, dataset.StructureSetName = DESCRIPTION, DESCRIPTION
    dataset.StructureSetDate, dataset.StructureSetTime = dataset.InstanceCreationDate, dataset.InstanceCreationTime
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = source.uid("FrameOfReferenceUID"), ""
    series, study, frame = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    series.SeriesInstanceUID = source.uid("SeriesInstanceUID")
    images = source.images[:1] if source.is_multi_frame else source.images
    series.ContourImageSequence = [_reference(image, with_frame=False) for image in images]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = STUDY_CLASS, source.uid("StudyInstanceUID")
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = source.uid("FrameOfReferenceUID")
    frame.RTReferencedStudySequence = [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # an explicit DS ends at 64 KB, a contour need not
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _reference(image: SourceImage, *, with_frame: bool = True) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.sop_class, image.sop_instance
    if with_frame and image.frame is not None:
        item.ReferencedFrameNumber = image.frame
    return item


def _region(label: Label, source: Source, *, by_model: bool) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ROINumber = label.value
    item.ReferencedFrameOfReferenceUID = source.uid("FrameOfReferenceUID")
    item.ROIName = short_name(label.name) or f"Label {label.value}"
    if item.ROIName != label.name:
        item.ROIDescription = label.name[:LONGEST_TEXT]
    item.ROIGenerationAlgorithm = "SEMIAUTOMATIC" if by_model else "MANUAL"
    return item


def _observation(number: int, label: Label) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ObservationNumber, item.ReferencedROINumber = number, label.value
    item.RTROIInterpretedType = item.ROIInterpreter = ""
    return item


def _contours(segmentation: Segmentation, label: Label, planes: Planes) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ROIDisplayColor, item.ReferencedROINumber = list(label.colour), label.value
    mask = segmentation.mask_of(label.value)
    box = Box.around_mask(mask)
    if box is not None:
        part = mask[box.slices]
        item.ContourSequence = [
            _contour(polygon + box.start[:2], planes, k)
            for k in range(box.start[2], box.stop[2])
            for polygon in borders(part[:, :, k - box.start[2]])
        ]
    return item


def _contour(polygon: FloatArray, planes: Planes, k: int) -> pydicom.Dataset:
    """`polygon`: columns and rows (n, 2) of slice `k`, in pixels."""
    item = pydicom.Dataset()
    image = planes.images[k]
    if image is not None:
        item.ContourImageSequence = [_reference(image)]
    item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", len(polygon)
    points = planes.positions[k] + polygon @ (planes.directions * np.array(planes.spacing)[:, None])
    text = "\\".join(f"{number:.9g}" for number in np.round(points, 6).ravel().tolist()).encode()
    text += b" " * (len(text) % 2)
    item[CONTOUR_DATA] = RawDataElement(CONTOUR_DATA, "DS", len(text), text, 0, True, True)  # no object for each number
    return item
