"""A CT series in which everything that could give a patient away is marked, and the search for marks in any file."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

WORD, ROOT = "Zmarked", "1.2.826.0.1.777888999"  # in every text; every UID begins so
DATES = {"PatientBirthDate": "19330303", "StudyDate": "19440404", "SeriesDate": "19440405", "ContentDate": "19440406"}
DATES |= {"AcquisitionDate": "19440407", "InstanceCreationDate": "19440408"}
TIMES = {"StudyTime": "031415.926535", "SeriesTime": "031416.926536", "AcquisitionTime": "031417.926537"}
TEXTS = ("PatientName", "PatientID", "IssuerOfPatientID", "OtherPatientIDs", "OtherPatientNames", "AccessionNumber")
TEXTS += ("StudyID", "StudyDescription", "SeriesDescription", "ProtocolName", "ReferringPhysicianName", "OperatorsName")
TEXTS += ("PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "InstitutionName", "InstitutionAddress")
TEXTS += ("InstitutionalDepartmentName", "StationName", "Manufacturer", "ManufacturerModelName", "DeviceSerialNumber")
TEXTS += ("PatientComments", "ImageComments", "EthnicGroup", "Occupation", "AdditionalPatientHistory", "PatientAddress")
TEXTS += (
    "PatientMotherBirthName",
    "MedicalRecordLocator",
    "MilitaryRank",
    "CurrentPatientLocation",
    "BodyPartExamined",
)
TEXTS += ("PositionReferenceIndicator", "RequestedProcedureDescription", "ContrastBolusAgent", "SoftwareVersions")
MARKS = (WORD, WORD.upper(), ROOT, *DATES.values(), *(time.partition(".")[2] for time in TIMES.values()))


def write_series(folder: Path, shape: tuple[int, int, int] = (24, 22, 8)) -> Path:
    """Writes the series into a folder whose name is marked too, a scout beside it; a bright ball in noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    where = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1) - np.array([12, 11, 4])
    ball = np.linalg.norm(where * [1, 1, 2.0], axis=-1) < 6
    for k in range(shape[2]):
        pixels = (rng.normal(40, 8, shape[:2]) + 90 * ball[:, :, k]).astype(np.int16).T
        _image(k, pixels).save_as(folder / f"{WORD}_Otto_19330303_{k}.dcm", enforce_file_format=True)
    scout = _image(99, np.zeros((5, 6), np.int16))
    scout.SeriesInstanceUID = f"{ROOT}.7"
    scout.save_as(folder / f"{WORD}_scout.dcm", enforce_file_format=True)
    return folder


def _image(k: int, pixels: np.ndarray) -> pydicom.Dataset:
    image = pydicom.Dataset()
    for name in TEXTS:
        setattr(image, name, WORD.upper() if name == "BodyPartExamined" else f"{WORD} {name}"[:16])
    for name, value in {**DATES, **TIMES}.items():
        setattr(image, name, value)
    image.SOPClassUID, image.Modality = CTImageStorage, "CT"
    for number, name in enumerate(("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")):
        setattr(image, name, f"{ROOT}.{number}")
    image.SOPInstanceUID, image.InstanceNumber, image.SeriesNumber = f"{ROOT}.9.{k}", k + 1, 1
    image.PixelSpacing, image.SliceThickness = [1.0, 1.0], 2.0
    image.ImageOrientationPatient, image.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-12.0, -11.0, 2.0 * k]
    image.RescaleSlope, image.RescaleIntercept = 1, 0
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 1
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelData = 15, pixels.tobytes()
    block = image.private_block(0x0043, f"{WORD} PRIVATE", create=True)
    block.add_new(0x01, "LO", f"{WORD} private")
    request = pydicom.Dataset()
    request.AccessionNumber = f"{WORD} request"
    image.RequestAttributesSequence = [request]
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = (
        CTImageStorage,
        f"{ROOT}.9.{k}",
    )
    return image


def marks_in(content: bytes, *, besides: tuple[str, ...] = ()) -> list[str]:
    """The marks that stand in bytes, as UTF-8 or UTF-16, packed parts unpacked."""
    found = set()
    for part in _parts(content):
        found |= {mark for mark in MARKS for coding in ("utf-8", "utf-16-le") if mark.encode(coding) in part}
    return sorted(found - set(besides))


def _parts(content: bytes, depth: int = 0) -> Iterator[bytes]:
    """The bytes themselves and what is packed in them: zip members with their names, gzip and zlib streams."""
    yield content
    if depth > 3:
        return
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield archive.comment
            for entry in archive.infolist():
                yield entry.filename.encode() + entry.extra + entry.comment
                yield from _parts(archive.read(entry), depth + 1)
        return
    for start in (match.start() for match in re.finditer(rb"\x1f\x8b\x08", content)):
        try:
            yield from _parts(gzip.GzipFile(fileobj=io.BytesIO(content[start:])).read(), depth + 1)
        except (OSError, EOFError, zlib.error):
            continue
    for start in (match.start() for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", content)):
        try:
            unpacked = zlib.decompressobj().decompress(content[start:])
        except zlib.error:
            continue
        if unpacked:
            yield from _parts(unpacked, depth + 1)
