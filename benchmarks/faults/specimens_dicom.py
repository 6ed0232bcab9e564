"""Small good DICOM inputs: plain, compressed, deflated and multi-frame series, SEG in both forms, RTSTRUCT."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
ROWS, COLUMNS, SLICES = 40, 36, 4


def dicom_specimens(folder: Path) -> list[tuple[str, str, str]]:
    """Writes each into a folder of its own; returns the folders' names, kinds, and which file a reader is given."""
    from benchmarks.faults.specimens import segmentation
    from medseg_rl.imageio import read_volume, write_segmentation

    made = [("plain series", "series", ""), ("deflated series", "series", "")]
    _series(folder / "plain series")
    _series(folder / "deflated series", DeflatedExplicitVRLittleEndian)
    for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        name = f"{syntax.keyword} series"
        _series(folder / name)
        for path in (folder / name).iterdir():
            _compress(path, syntax)
        made.append((name, "series", ""))
    (folder / "multi-frame").mkdir()
    _multi_frame(folder / "multi-frame" / "frames.dcm")
    made.append(("multi-frame", "series", "frames.dcm"))
    like = read_volume(folder / "plain series")
    for name, ending, options in (
        ("SEG binary", ".dcm", {}),
        ("SEG label map", ".dcm", {"form": "LABELMAP"}),
        ("RTSTRUCT", ".rtstruct.dcm", {}),
    ):
        (folder / name).mkdir()
        chosen: dict[str, Any] = dict(options)
        labels = segmentation(like, overlap=not chosen)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write_segmentation(folder / name / f"mask{ending}", labels, like=like, **chosen)
        made.append((name, "rtstruct" if name == "RTSTRUCT" else "seg", f"mask{ending}"))
    return made


def _slice(number: int) -> pydicom.Dataset:
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    stored = np.rint(900 * np.sin(x / 5 + number) + 700 * np.cos(y / 6)).astype(np.int16)
    image = pydicom.Dataset()
    image.SOPClassUID, image.Modality = CTImageStorage, "CT"
    image.SOPInstanceUID = generate_uid(entropy_srcs=["fault", str(number)])
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(image, keyword, generate_uid(entropy_srcs=["fault", keyword]))
    image.Rows, image.Columns, image.PixelSpacing = ROWS, COLUMNS, [0.7, 0.5]
    image.ImageOrientationPatient, image.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [10, 20, 2.5 * number]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 1
    image.RescaleSlope, image.RescaleIntercept = 1, -1000
    image.PixelData = stored.tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def _series(folder: Path, syntax: str = ExplicitVRLittleEndian) -> None:
    folder.mkdir()
    for number in range(SLICES):
        image = _slice(number)
        image.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        image.save_as(folder / f"{number}.dcm", enforce_file_format=True)


def _compress(path: Path, syntax: str) -> None:
    image = pydicom.dcmread(path)
    image.compress(syntax, generate_instance_uid=False)
    image.save_as(path)


def _multi_frame(path: Path) -> None:
    frames = [_slice(number) for number in range(SLICES)]
    image = _slice(0)
    for keyword in ("PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "RescaleSlope"):
        delattr(image, keyword)
    del image.RescaleIntercept
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = pydicom.uid.UID(ENHANCED_CT)
    image.NumberOfFrames, image.PixelData = SLICES, b"".join(frame.PixelData for frame in frames)
    image.SharedFunctionalGroupsSequence = [
        _item(
            PixelMeasuresSequence=[_item(PixelSpacing=[0.7, 0.5])],
            PlaneOrientationSequence=[_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelValueTransformationSequence=[_item(RescaleSlope=1, RescaleIntercept=-1000, RescaleType="HU")],
        )
    ]
    image.PerFrameFunctionalGroupsSequence = [
        _item(PlanePositionSequence=[_item(ImagePositionPatient=list(frame.ImagePositionPatient))]) for frame in frames
    ]
    image.save_as(path, enforce_file_format=True)


def _item(**values: Any) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset
