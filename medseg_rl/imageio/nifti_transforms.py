"""Which of the two transforms of a NIfTI header counts, and whether they agree. Keeps shear."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from medseg_rl.errors import GeometryError
from medseg_rl.imageio.limits import check_affine, times
from medseg_rl.volume import FloatArray, Index, corner_distance

Form = Literal["sform", "qform"]

MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: unknown, metre, millimetre, micrometre
UNIT_NAMES = {1: "metres", 3: "micrometres"}
QUATERNION_TOLERANCE, PIXDIM_TOLERANCE, OFFSET_TOLERANCE_MM = 1e-6, 1e-5, 1e-3


def choose_affine(
    path: Path, block: nib.Nifti1Header, shape: Index, prefer: Form | None
) -> tuple[FloatArray, str, list[str]]:
    """The affine in millimetres, the name of where it comes from, and what the user should know about it.

    Raises GeometryError: an impossible spacing or transform, or a preferred one that is not set.
    """
    has_sform, has_qform = int(block["sform_code"]) > 0, int(block["qform_code"]) > 0
    if prefer is not None and not {"sform": has_sform, "qform": has_qform}[prefer]:
        raise GeometryError(f"{path} has no {prefer} (its code is 0); leave the choice of transform open")
    form = prefer or ("sform" if has_sform else "qform" if has_qform else "spacing")
    spacing = np.array(block["pixdim"][1:4], dtype=float)
    if not (np.isfinite(spacing) & (spacing > 0)).all() and prefer != "sform":
        way_out = "; prefer the sform to use it as it is" if has_sform else ""
        raise GeometryError(f"{path} says its spacing is {times(spacing)} mm; correct its header{way_out}")
    unit = int(block["xyzt_units"]) & 7
    mm = MM_PER_UNIT.get(unit, 1.0)
    warnings = [] if mm == 1.0 else [f"the header is in {UNIT_NAMES[unit]}; turned into millimetres"]
    affine = _transform(path, block, form)
    if form == "spacing":
        warnings.append("the file has neither sform nor qform: left and right, and its place in the world, are unknown")
    elif prefer is None and has_sform and has_qform and not forms_agree(block):
        warnings.append(f"{_disagreement(block, affine, shape, mm)}; the sform is used")
    affine = affine * np.array([[mm], [mm], [mm], [1.0]])
    check_affine(path, affine)
    return affine, form, warnings


def _disagreement(block: nib.Nifti1Header, sform: FloatArray, shape: Index, mm: float) -> str:
    try:
        shift = corner_distance(sform, np.array(block.get_qform(), dtype=float), shape) * mm
    except (HeaderDataError, ValueError):
        return "the qform is impossible"
    return f"sform and qform disagree by up to {shift:.3g} mm at the corners"


def _transform(path: Path, block: nib.Nifti1Header, form: str) -> FloatArray:
    try:
        if form == "sform":
            return np.array(block.get_sform(), dtype=float)
        if form == "qform":
            return np.array(block.get_qform(), dtype=float)
    except (HeaderDataError, ValueError) as error:
        raise GeometryError(
            f"{path} has an impossible {form}: {' '.join(str(error).split())}; correct its header"
        ) from error
    return np.diag([*np.array(block["pixdim"][1:4], dtype=float), 1.0])  # method 1 of the NIfTI-1 standard


def forms_agree(block: nib.Nifti1Header) -> bool:
    """Whether sform and qform say the same, judged in what a file stores of a quaternion.

    Matrices are not compared: in correct files turned by almost 180 degrees they differ by up to 0.44 mm at the corners
    through the rounding of the quaternion alone.
    """
    encoded = nib.Nifti2Header()  # float64, so that only the rounding of the file itself counts
    try:
        with np.errstate(all="ignore"):  # a zero axis, which is refused later with its numbers
            encoded.set_qform(block.get_sform(), code=1, strip_shears=True)
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        return False
    names = ("quatern_b", "quatern_c", "quatern_d")
    ours, theirs = (np.array([float(h[n]) for n in names]) for h in (encoded, block))
    quaternion = min(np.abs(ours - theirs).max(), np.abs(ours + theirs).max()) <= QUATERNION_TOLERANCE
    mirrored = (float(encoded["pixdim"][0]) < 0) == (float(block["pixdim"][0]) < 0)
    pixdims = np.allclose(encoded["pixdim"][1:4], block["pixdim"][1:4], rtol=PIXDIM_TOLERANCE, atol=0)
    names = ("qoffset_x", "qoffset_y", "qoffset_z")
    offset = max(abs(float(encoded[n]) - float(block[n])) for n in names) <= OFFSET_TOLERANCE_MM
    return bool(quaternion and mirrored and pixdims and offset)
