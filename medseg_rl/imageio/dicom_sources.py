"""The images that an export refers to: which they are, where each lies, whose they are, and what of that may be told.

Only for volumes that were read from DICOM. Reads headers, writes nothing; de-identifying is leaving out, so that a tag
nobody thought of stays out too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from medseg_rl import __version__
from medseg_rl.errors import MedSegError, OutputError
from medseg_rl.imageio import dicom, provenance
from medseg_rl.imageio.dicom_objects import LONGEST_TEXT, readable
from medseg_rl.imageio.dicom_series import Series
from medseg_rl.imageio.dicom_slices import parsed
from medseg_rl.volume import FloatArray, Volume

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0])
SAME_PLANE = 0.1  # of the smallest spacing
SAME_DIRECTION = 1e-3
PRODUCT = "MedSeg-RL"
DESCRIPTION = "RESEARCH"  # every series description starts with it
REMOVED = "Identity, dates, free text left out; image references kept"  # LO: at most 64 characters
NAMING = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName"]
NAMING += ["StudyID", "StudyDate", "StudyTime"]  # type 2: empty where they are not told
ARCHIVED = [
    *NAMING,
    "IssuerOfPatientID",
    "OtherPatientIDs",
    "EthnicGroup",
    "PatientComments",
    "PatientSpeciesDescription",
]
ARCHIVED += ["PatientAge", "PatientSize", "PatientWeight", "StudyDescription"]


@dataclass(frozen=True, eq=False)
class SourceImage:
    """One plane of the series. `frame`: its number from 1 in a multi-frame file. `position`: LPS mm."""

    sop_class: str
    sop_instance: str
    frame: int | None
    position: FloatArray


@dataclass(frozen=True, eq=False)
class Source:
    """A series. `header`: of its first file, without pixels. `directions`: unit rows and columns (2, 3), LPS."""

    header: pydicom.Dataset
    images: tuple[SourceImage, ...]
    size: tuple[int, int]
    spacing: tuple[float, float]
    directions: FloatArray

    @property
    def is_multi_frame(self) -> bool:
        """Whether one file holds all planes."""
        return self.images[0].frame is not None

    def uid(self, name: str) -> str:
        """A unique identifier of the header; a new one where it has none, the same for every call."""
        found = str(self.header.get(name) or "")
        return found or str(generate_uid(entropy_srcs=[name, self.images[0].sop_instance]))


@dataclass(frozen=True, eq=False)
class Planes:
    """The planes of a volume in DICOM's terms, LPS mm. `images`: which source image each lies on, or None.

    `directions`: unit rows and columns (2, 3). `spacing`: between columns, between rows. `gap`: along the normal, the
    mean one where `is_even` is False.
    """

    positions: FloatArray
    images: tuple[SourceImage | None, ...]
    directions: FloatArray
    spacing: tuple[float, float]
    gap: float

    @property
    def is_even(self) -> bool:
        """Whether all gaps are the same."""
        depths = self.positions @ np.cross(self.directions[0], self.directions[1])
        return bool(np.abs(np.abs(np.diff(depths)) - self.gap).max(initial=0) <= SAME_PLANE * self.gap)


def source_of(path: Path, like: Volume) -> Source:
    """The series that `like` was read from. Raises OutputError, naming the output `path`, where there is none."""
    series_uid, origin = like.source.get("series_uid"), like.source.get("path")
    if not series_uid or not origin:
        raise OutputError(
            f"cannot write {path}: its image did not come from DICOM, so there is nothing to refer to; write .seg.nrrd"
            " or NIfTI instead"
        )
    number = like.source.get("geometry", {}).get("number")  # tells parts of a series apart that lie at one place
    try:
        listed = list(enumerate(dicom.scan_path(Path(origin)).series, 1))
        found = [s for n, s in sorted(listed, key=lambda pair: pair[0] != number) if s.uid == series_uid]
        sources = [_source(s) for s in found if s.first.is_image]
    except (MedSegError, OSError) as error:
        raise OutputError(f"cannot write {path}: the images it refers to cannot be read again ({error})") from error
    if not sources:
        raise OutputError(f"cannot write {path}: the images it refers to are no longer where they were; put them back")
    return max(sources, key=lambda source: sum(image is not None for image in planes_of(path, like, source).images))


def _source(series: Series) -> Source:
    """One series; of several multi-frame files only the first, since an export can refer to the frames of one."""
    first = series.first
    with readable(first.path):
        header = parsed(first.path, stop_before_pixels=True)
        slices = series.slices if first.frame is None else [s for s in series.slices if s.path == first.path]
        images = tuple(
            SourceImage(
                str(s.header.SOPClassUID),
                str(s.header.SOPInstanceUID),
                None if s.frame is None else s.frame + 1,
                s.position,
            )
            for s in slices
        )
    return Source(header, images, first.size, first.spacing, first.directions)


def planes_of(path: Path, like: Volume, source: Source) -> Planes:
    """Where the planes of `like` (columns, rows, slices) lie, the true positions of its images where it has not moved.

    Raises OutputError where rows and columns do not stand at right angles, which DICOM cannot say.
    """
    axes = (RAS_FROM_LPS @ like.affine[:3, :3]).T
    between_columns, between_rows, _ = like.spacing
    directions = axes[:2] / np.array([[between_columns], [between_rows]])
    if abs(float(directions[0] @ directions[1])) > SAME_DIRECTION:
        raise OutputError(f"cannot write {path}: rows and columns of the image are sheared, which DICOM cannot hold")
    normal = np.cross(directions[0], directions[1])
    gap = abs(float(axes[2] @ normal))
    positions = (RAS_FROM_LPS @ like.index_to_world([(0, 0, k) for k in range(like.shape[2])]).T).T
    images: tuple[SourceImage | None, ...] = (None,) * like.shape[2]
    in_place = (
        source.size == like.shape[:2]
        and np.allclose(source.spacing, (between_columns, between_rows), rtol=1e-4)
        and np.abs(source.directions - directions).max() < SAME_DIRECTION
    )
    if in_place:
        images = _by_place(positions, source, SAME_PLANE * min(like.spacing))
        moved = None in images and any(images) and not like.source.get("resampled")
        if moved and len(source.images) == len(images):  # a whole series, kept in spite of its uneven gaps
            along = np.array([image.position for image in source.images]) @ normal * (axes[2] @ normal)
            images = tuple(source.images[n] for n in np.argsort(along).tolist())
        positions = np.array(
            [p if image is None else image.position for p, image in zip(positions, images, strict=True)]
        )
    return Planes(positions, images, directions, (between_columns, between_rows), gap)


def _by_place(positions: FloatArray, source: Source, tolerance: float) -> tuple[SourceImage | None, ...]:
    """The image at each position, None where there is none."""
    places = np.array([image.position for image in source.images])
    nearest = [int(np.argmin(np.linalg.norm(places - position, axis=1))) for position in positions]
    return tuple(
        source.images[n] if np.linalg.norm(places[n] - position) <= tolerance else None
        for n, position in zip(nearest, positions, strict=True)
    )


def true_positions(like: Volume) -> FloatArray | None:
    """First pixel of each slice (n, 3), LPS mm, where a series was loaded although its slices lie unevenly; else None.

    The affine of such a volume says where the slices would lie if they were even.
    """
    known = like.source.get("geometry", {}).get("uneven") or like.source.get("quantities")
    if not known or like.source.get("resampled") or not like.source.get("path"):
        return None
    origin = Path(like.source["path"])
    try:
        planes = planes_of(origin, like, source_of(origin, like))
    except OutputError:
        return None
    return planes.positions if all(planes.images) else None


def identity(source: Source, *, deidentified: bool) -> Iterator[tuple[str, Any]]:
    """Patient and study, keyword and value: empty where DICOM insists on the tag; for an archive, as in the images."""
    if deidentified:
        yield from ((name, "") for name in NAMING)
        yield "PatientIdentityRemoved", "YES"
        yield "DeidentificationMethod", REMOVED
        return
    for name in ARCHIVED:
        value = source.header.get(name)
        if value is not None or name in NAMING:
            yield name, "" if value is None else value


def origin_note(origin: Mapping[str, object] | None) -> str:
    """Where the labels come from, for the one tag that takes such a text."""
    said = provenance.completed(origin, {})
    return f"{provenance.NOTICE} {provenance.as_text(said, LONGEST_TEXT - len(provenance.NOTICE) - 1)}"


def origin_of(dataset: pydicom.Dataset) -> dict[str, Any]:
    """What `origin_note` wrote, for `Volume.source`; nothing for an object of another program."""
    for item in dataset.get("ContributingEquipmentSequence") or []:
        note = str(item.get("ContributionDescription") or "")
        if str(item.get("Manufacturer") or "") == PRODUCT and note.startswith(provenance.NOTICE):
            said = provenance.parsed(note.removeprefix(provenance.NOTICE).strip())
            return {provenance.KEY: said} if said else {}
    return {}


def made_by(dataset: pydicom.Dataset, source: Source, description: str, note: str) -> None:
    """Series, equipment and time of a new object; nothing of the images but the study and the frame of reference."""
    now = datetime.now()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.StudyInstanceUID = source.uid("StudyInstanceUID")
    dataset.SeriesInstanceUID, dataset.SOPInstanceUID = generate_uid(), generate_uid()
    dataset.SeriesNumber, dataset.InstanceNumber = 100, 1
    dataset.SeriesDescription = f"{DESCRIPTION} {description}"
    dataset.Manufacturer = dataset.ManufacturerModelName = PRODUCT
    dataset.SoftwareVersions, dataset.DeviceSerialNumber = __version__, "0"
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    equipment = pydicom.Dataset()
    equipment.PurposeOfReferenceCodeSequence = [code("109102", "DCM", "Processing Equipment")]
    equipment.Manufacturer = equipment.ManufacturerModelName = PRODUCT
    equipment.SoftwareVersions, equipment.ContributionDescription = __version__, note
    dataset.ContributingEquipmentSequence = [equipment]


def code(value: str, scheme: str, meaning: str) -> pydicom.Dataset:
    """An item of a code sequence."""
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
