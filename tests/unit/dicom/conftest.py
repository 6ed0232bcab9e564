"""Builders of small DICOM series, written as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS, COLUMNS = 5, 4
SERIES = generate_uid(entropy_srcs=["one"])


def _pixels(number: int) -> np.ndarray:
    """Stored values (row, column) of slice `number`: every voxel of a stack differs."""
    return (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) + 100 * number).astype(np.int16)


def _dicom_file(path: Path, z: float, number: int = 0, stored: np.ndarray | None = None, **changes: object) -> Path:
    """One CT slice at (10, 20, z) LPS, 0.5 mm between columns and 0.7 mm between rows; `changes` set or drop (None)."""
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    dataset.SeriesInstanceUID = SERIES
    dataset.Modality = "CT"
    dataset.SeriesDescription = "Portal"
    dataset.SeriesNumber = 1
    stored = _pixels(number) if stored is None else stored
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelSpacing = [0.7, 0.5]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [10, 20, z]
    dataset.SliceThickness = 9  # wrong on purpose: positions count
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1000
    dataset.PatientName = "Nobody^Known"
    dataset.PixelData = stored.tobytes()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = changes.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for name, value in changes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _series(folder: Path, depths: tuple[float, ...] = (0, 2, 4, 6), **changes: object) -> Path:
    """Slices whose names run against their positions; slice number n is the n-th from below."""
    order = np.argsort(np.argsort(depths))
    for name, (z, number) in enumerate(zip(depths, order, strict=True)):
        _dicom_file(folder / f"{90 - name}", z, int(number), **changes)
    return folder


@pytest.fixture
def pixels() -> Callable[[int], np.ndarray]:
    return _pixels


@pytest.fixture
def dicom_file() -> Callable[..., Path]:
    return _dicom_file


@pytest.fixture
def series() -> Callable[..., Path]:
    return _series
