"""Builders of small inputs that several unit tests share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

DecathlonFolder = Callable[..., Path]
DicomFolder = Callable[..., Path]
MARK = "Marked"  # stands in every text of a DICOM fixture that may not leave it
TEXTS = {
    "PatientName": f"{MARK}^Name",
    "PatientID": f"{MARK}ID",
    "PatientBirthDate": "19330303",
    "PatientSex": "F",
    "PatientAge": "093Y",
    "PatientComments": f"{MARK} comments",
    "OtherPatientIDs": f"{MARK} other",
    "AccessionNumber": f"{MARK}Acc",
    "StudyID": f"{MARK}Study",
    "StudyDate": "19440404",
    "StudyTime": "101112",
    "StudyDescription": f"{MARK} study",
    "SeriesDescription": f"{MARK} series",
    "ProtocolName": f"{MARK} protocol",
    "ReferringPhysicianName": f"{MARK}^Doctor",
    "OperatorsName": f"{MARK}^Operator",
    "InstitutionName": f"{MARK} hospital",
    "InstitutionAddress": f"{MARK} street",
    "StationName": f"{MARK}Station",
    "Manufacturer": f"{MARK} maker",
    "ManufacturerModelName": f"{MARK} model",
    "DeviceSerialNumber": f"{MARK}Serial",
    "ImageComments": f"{MARK} image",
    "PositionReferenceIndicator": f"{MARK} reference",
}


@pytest.fixture
def decathlon_folder(tmp_path: Path) -> DecathlonFolder:
    """Writes a data set in the layout of the Decathlon: a bright ball in noise, label 1 its lower half, 2 its upper."""

    def build(
        splits: Mapping[str, Any] | None,
        *,
        name: str = "balls",
        shape: tuple[int, int, int] = (20, 18, 16),
        groups: Mapping[str, str] | None = None,
        spacing: float = 1.0,
    ) -> Path:
        folder = tmp_path / name
        ids = [case_id for part in ("train", "val", "test") for case_id in (splits or {}).get(part, [])]
        ids = ids or [f"case_{k}" for k in range(10)]
        for part in ("imagesTr", "labelsTr"):
            (folder / part).mkdir(parents=True)
        for seed, case_id in enumerate(ids):
            rng = np.random.default_rng(seed)
            centre = np.asarray(shape) / 2 + rng.uniform(-2, 2, 3)
            grid = np.stack(np.meshgrid(*(np.arange(size) for size in shape), indexing="ij"), -1)
            ball = np.linalg.norm(grid - centre, axis=-1) < 4.5
            label = np.where(ball, np.where(grid[..., 2] < centre[2], 1, 2), 0).astype(np.uint8)
            image = (rng.normal(100, 10, shape) + 60 * ball).astype(np.float32)
            affine = np.diag([spacing, spacing, spacing, 1.0])
            nibabel.save(nibabel.Nifti1Image(image, affine), folder / "imagesTr" / f"{case_id}.nii.gz")
            nibabel.save(nibabel.Nifti1Image(label, affine), folder / "labelsTr" / f"{case_id}.nii.gz")
        description = {
            "name": name,
            "modality": {"0": "MRI"},
            "licence": "none needed",
            "labels": {"0": "background", "1": "lower", "2": "upper"},
            "numTraining": len(ids),
            "training": [
                {"image": f"./imagesTr/{case_id}.nii.gz", "label": f"./labelsTr/{case_id}.nii.gz"} for case_id in ids
            ],
        }
        (folder / "dataset.json").write_text(json.dumps(description))
        if splits is not None:
            (folder / "splits.json").write_text(json.dumps(dict(splits)))
        if groups is not None:
            entry = {"cases": [{"id": case_id, "group": group} for case_id, group in groups.items()]}
            (tmp_path / "index.json").write_text(json.dumps({"sets": {name: entry}}))
        return folder

    return build


@pytest.fixture
def dicom_folder(tmp_path: Path) -> DicomFolder:
    """Writes a CT series whose headers are full of marked texts (`TEXTS`); oblique and anisotropic.

    `depths`: of the slices, in steps of 2.5 mm, where they are not even. `tilt_mm`: along the columns at each step.
    """

    def build(
        name: str = "ct",
        *,
        shape: tuple[int, int, int] = (9, 7, 6),
        tilt_mm: float = 0.0,
        depths: tuple[float, ...] = (),
        upside_down: bool = False,
        **changes: Any,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        row, column = np.array([0.8, 0.6, 0.0]), np.array([0.0, 0.0, -1.0])
        if upside_down:
            row = -row
        step = 2.5 * np.cross(row, column) + tilt_mm * column
        for k, depth in enumerate(depths or range(shape[2])):
            image = pydicom.Dataset()
            image.SOPClassUID, image.Modality = CTImageStorage, "CT"
            image.SOPInstanceUID = generate_uid(entropy_srcs=[name, str(k)])
            image.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
            image.SeriesInstanceUID = generate_uid(entropy_srcs=[name])
            image.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame of reference"])
            image.Columns, image.Rows = shape[:2]
            image.PixelSpacing = [0.7, 0.5]
            image.ImageOrientationPatient = [*row, *column]
            image.ImagePositionPatient = [f"{p:.9g}" for p in np.array([10.0, 20.0, 30.0]) + depth * step]
            image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
            image.BitsAllocated = image.BitsStored = 16
            image.HighBit, image.PixelRepresentation = 15, 1
            image.PixelData = np.full(shape[1::-1], k, np.int16).tobytes()
            for keyword, value in {**TEXTS, **changes}.items():
                setattr(image, keyword, value)
            image.file_meta = FileMetaDataset()
            image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.save_as(folder / f"{shape[2] - k}.dcm", enforce_file_format=True)
        return folder

    return build
