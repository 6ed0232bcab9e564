"""What the header of an image file says before any voxel is read: enough to ask the user, and to refuse by size.

Reads no voxels. What a whole file holds is `description`'s question, and a DICOM folder has its geometry reports.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from medseg_rl.imageio import nifti
from medseg_rl.imageio.kinds import kind_of
from medseg_rl.imageio.nifti_transforms import MM_PER_UNIT, forms_agree
from medseg_rl.imageio.text_headers import read_promise
from medseg_rl.volume import FloatArray, Index, corner_distance

WIDEST_VOXEL = 4  # bytes: real numbers are kept as float32


@dataclass(frozen=True, eq=False)
class HeaderFacts:
    """`kind`: as `kind_of` names it. `shape`: of one volume, in file order. `voxel_bytes`: of one voxel once read.

    `time_points`: volumes in the file. `whole_numbers`: whether voxels are integers without a scale. `affine`:
    of a NIfTI file, None for others. `forms_apart_mm`: how far the sform and the qform of a NIfTI file lie apart at the
    corners, where both are set and disagree; infinite for an impossible qform; None otherwise.
    """

    kind: str
    shape: Index
    voxel_bytes: int
    time_points: int = 1
    whole_numbers: bool = True
    affine: FloatArray | None = None
    forms_apart_mm: float | None = None

    @property
    def image_bytes(self) -> int:
        """Memory that the voxels of one volume take."""
        return math.prod(self.shape) * self.voxel_bytes


def header_facts(path: Path) -> HeaderFacts | None:
    """The facts of one file; None for DICOM. Raises InputFileError and GeometryError as reading it would."""
    kind = kind_of(path)
    if kind == "DICOM":
        return None
    if kind == "NIfTI":
        return _of_nifti(path)
    promise = read_promise(path, kind, layered=True)
    x, y, z = promise.shape[:3]
    return HeaderFacts(kind, (x, y, z), WIDEST_VOXEL)


def _of_nifti(path: Path) -> HeaderFacts:
    header = nifti.read_header(path)
    block, shape = header.block, (*header.shape, 1, 1, 1)
    slope, intercept = block.get_slope_inter()
    is_whole = header.dtype.kind in "iu" and (slope or 1.0, intercept or 0.0) == (1.0, 0.0)
    voxel_bytes = header.dtype.itemsize if is_whole else WIDEST_VOXEL
    mm = MM_PER_UNIT.get(int(block["xyzt_units"]) & 7, 1.0)
    volume_shape = (shape[0], shape[1], shape[2])
    affine, apart = _transforms(block, volume_shape)
    scale = np.array([[mm], [mm], [mm], [1.0]])
    return HeaderFacts(
        "NIfTI",
        volume_shape,
        voxel_bytes,
        header.time_points,
        is_whole,
        None if affine is None else affine * scale,
        None if apart is None else apart * mm,
    )


def _transforms(block: nib.Nifti1Header, shape: Index) -> tuple[FloatArray | None, float | None]:
    """The transform that counts first, and how far the other lies from it, in the unit of the header."""
    has_sform, has_qform = int(block["sform_code"]) > 0, int(block["qform_code"]) > 0
    qform = None
    try:
        qform = np.array(block.get_qform(), dtype=np.float64) if has_qform else None
    except (HeaderDataError, ValueError):
        qform = np.full((4, 4), np.inf)
    sform = np.array(block.get_sform(), dtype=np.float64) if has_sform else None
    if sform is None or qform is None or forms_agree(block):
        return (qform if sform is None else sform), None
    apart = corner_distance(sform, qform, shape) if np.isfinite(qform).all() else math.inf
    return sform, apart
