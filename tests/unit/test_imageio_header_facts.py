"""What is known of a file before its voxels are read."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg_rl.imageio import header_facts, write_volume
from medseg_rl.volume import Volume


def _nifti(path: Path, shape: tuple[int, ...] = (4, 5, 6), dtype: type = np.int16) -> nib.Nifti1Image:
    return nib.Nifti1Image(np.zeros(shape, dtype), np.diag([2.0, 3.0, 4.0, 1.0]))


def test_two_forms_apart_are_told_with_the_largest_corner_distance(tmp_path: Path) -> None:
    image = _nifti(tmp_path)
    image.set_sform(np.diag([2.0, 3.0, 4.0, 1.0]), code=1)
    moved = np.diag([2.0, 3.0, 4.0, 1.0])
    moved[0, 3] = 7.0
    image.set_qform(moved, code=1)
    image.to_filename(tmp_path / "apart.nii.gz")
    facts = header_facts(tmp_path / "apart.nii.gz")
    assert facts is not None
    assert facts.forms_apart_mm == pytest.approx(7.0)


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (1, 0), (0, 1), (0, 0)])
def test_forms_that_agree_or_stand_alone_are_silent(tmp_path: Path, sform: int, qform: int) -> None:
    image = _nifti(tmp_path)
    image.set_sform(image.affine, code=sform)
    image.set_qform(image.affine, code=qform)
    image.to_filename(tmp_path / "one.nii")
    facts = header_facts(tmp_path / "one.nii")
    assert facts is not None
    assert facts.forms_apart_mm is None


def test_time_points_and_memory_are_those_of_one_volume(tmp_path: Path) -> None:
    _nifti(tmp_path, (4, 5, 6, 3)).to_filename(tmp_path / "film.nii.gz")
    facts = header_facts(tmp_path / "film.nii.gz")
    assert facts is not None
    assert (facts.shape, facts.time_points, facts.image_bytes) == ((4, 5, 6), 3, 240)


def test_other_formats_give_their_shape_and_dicom_none(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nrrd", Volume(np.zeros((4, 5, 6), np.uint8), np.eye(4)))
    facts = header_facts(tmp_path / "a.nrrd")
    assert facts is not None
    assert facts.shape == (4, 5, 6)
    assert header_facts(tmp_path) is None
