"""Writes a volume as a DICOM series, a file a slice, with a patient that nobody knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from medseg_rl.volume import Volume

CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}
PATIENT = {"PatientName": "Marked^Fixture", "PatientID": "MARKED-ID-77", "PatientBirthDate": "19500101"}
UIDS = ("StudyInstanceUID", "FrameOfReferenceUID")


def write_series(
    folder: Path,
    volume: Volume,
    *,
    description: str = "Portal venous",
    modality: str = "CT",
    number: int = 1,
    without: Collection[int] = (),
    sideways_mm: float = 0.0,
    window: Sequence[float] | None = None,
) -> Path:
    """One file a slice of the third axis. `without`: slices left out; `sideways_mm`: how far each moves, a tilt."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    columns, rows = affine[:3, 0] / spacing[0], affine[:3, 1] / spacing[1]
    for k in range(volume.shape[2]):
        if k in without:
            continue
        position = affine[:3, 3] + affine[:3, 2] * k + rows * sideways_mm * k
        dataset = _header(folder, modality, description, number, k)
        dataset.ImageOrientationPatient = [f"{v:.10g}" for v in (*columns, *rows)]
        dataset.ImagePositionPatient = [f"{v:.10g}" for v in position]
        dataset.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]
        dataset.SliceThickness = f"{spacing[2]:.6g}"
        if window is not None:
            dataset.WindowWidth, dataset.WindowCenter = window
        _put_pixels(dataset, volume.array[:, :, k].T.astype(np.int16))
        dataset.save_as(folder / f"im{volume.shape[2] - k:04d}", enforce_file_format=True)
    return folder


def _header(folder: Path, modality: str, description: str, number: int, k: int) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = CLASSES[modality]
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(folder), str(number), str(k)])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[str(folder), str(number)])
    for name in UIDS:
        setattr(dataset, name, generate_uid(entropy_srcs=[str(folder), name]))
    for name, value in PATIENT.items():
        setattr(dataset, name, value)
    dataset.Modality, dataset.SeriesDescription, dataset.SeriesNumber = modality, description, number
    dataset.InstanceNumber = k + 1
    dataset.StudyDate = "20200102"
    if modality == "CT":
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    dataset.file_meta = meta
    return dataset


def _put_pixels(dataset: pydicom.Dataset, pixels: np.ndarray) -> None:
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
