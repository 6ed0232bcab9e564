"""The samples that ship: found by name, and what their README says of them."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest

from medseg_rl.errors import InputFileError
from medseg_rl.samples import sample_folder, sample_names, sample_path

SIDES = ("left", "right")


@pytest.mark.parametrize("side", SIDES)
def test_image_and_outline_of_a_side_lie_on_one_grid_of_one_millimetre(side: str) -> None:
    image = nib.load(sample_path(f"hippocampus_{side}_t1.nii.gz"))
    label = nib.load(sample_path(f"hippocampus_{side}_label.nii.gz"))
    assert image.shape == label.shape
    np.testing.assert_array_equal(image.affine, label.affine)
    np.testing.assert_array_equal(image.affine[:3, :3], np.eye(3))
    np.testing.assert_array_equal(image.get_sform(), image.get_qform())


@pytest.mark.parametrize(("side", "sign"), [("left", -1), ("right", 1)])
def test_the_outline_lies_on_the_side_its_name_says(side: str, sign: int) -> None:
    label = nib.load(sample_path(f"hippocampus_{side}_label.nii.gz"))
    inside = np.argwhere(np.asanyarray(label.dataobj))
    world_right = inside[:, 0] + label.affine[0, 3]
    assert (np.sign(world_right) == sign).all()


@pytest.mark.parametrize("side", SIDES)
def test_the_readme_states_the_grid_and_the_voxels_of_the_files(side: str) -> None:
    readme = (sample_folder() / "README.md").read_text(encoding="utf-8")
    label = nib.load(sample_path(f"hippocampus_{side}_label.nii.gz"))
    inside = int(np.asanyarray(label.dataobj).sum())
    assert re.search(rf"hippocampus_{side}_label.*{inside} voxels", readme)
    assert " x ".join(str(n) for n in label.shape) in readme


def test_every_sample_is_named_in_the_readme_and_small() -> None:
    readme = (sample_folder() / "README.md").read_text(encoding="utf-8")
    for name in sample_names():
        assert f"`{name}`" in readme
        assert sample_path(name).stat().st_size < 1_000_000


def test_a_sample_that_does_not_exist_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(InputFileError, match=r"hippocampus_left_label\.nii\.gz"):
        sample_path("spleen.nii.gz")
