"""What `info` can say of a file, usable or not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medseg_rl.errors import InputFileError
from medseg_rl.imageio import describe, write_volume
from medseg_rl.volume import Volume

AFFINE = np.diag([0.5, 2, 3, 1.0])


def test_a_label_map_is_described_with_its_voxels(tmp_path):
    array = np.zeros((4, 5, 6), np.uint8)
    array[0], array[1, 0] = 3, 200
    write_volume(tmp_path / "a.nii.gz", Volume(array, AFFINE))
    facts = describe(tmp_path / "a.nii.gz")
    assert json.loads(json.dumps(facts)) == facts
    assert facts["labels"] == {"3": 30, "200": 6}
    assert (facts["shape"], facts["spacing_mm"], facts["orientation"]) == ([4, 5, 6], [0.5, 2, 3], "RAS+")
    assert (facts["format"], facts["dtype"], facts["range"]) == ("NIfTI", "uint8", [0, 200])
    assert facts["usable"]
    assert facts["warnings"] == []


def test_an_image_of_real_numbers_has_no_labels(tmp_path):
    write_volume(tmp_path / "a.nrrd", Volume(np.random.default_rng(0).normal(size=(4, 5, 6)), AFFINE))
    assert describe(tmp_path / "a.nrrd")["labels"] is None


def test_shear_and_a_constant_image_are_warned_of(tmp_path):
    sheared = AFFINE.copy()
    sheared[0, 2] = 1
    write_volume(tmp_path / "a.nrrd", Volume(np.full((4, 5, 6), 7, np.int16), sheared))
    said = " ".join(describe(tmp_path / "a.nrrd")["warnings"])
    assert "sheared by 18.4 degrees" in said
    assert "every voxel is 7" in said


def test_voxels_that_are_no_numbers_are_counted_and_the_rest_described(tmp_path):
    array = np.ones((4, 5, 6), np.float32)
    array[0, 0, 0], array[1] = np.nan, 2
    write_volume(tmp_path / "a.nii", Volume(array, AFFINE))
    facts = describe(tmp_path / "a.nii")
    assert not facts["usable"]
    assert "1 voxels are NaN" in facts["problem"]
    assert facts["range"] == [1, 2]
    assert facts["warnings"] == []


def test_a_file_that_is_known_but_not_opened_says_why(tmp_path):
    write_volume(tmp_path / "a.nii", Volume(np.ones((4, 5, 6), np.uint8), AFFINE))
    whole = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(whole[:-3])
    facts = describe(tmp_path / "a.nii")
    assert facts["stored_shape"] == [4, 5, 6]
    assert not facts["usable"]
    assert "cut off" in facts["problem"]


def test_what_is_no_image_is_an_error(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(InputFileError, match="no image"):
        describe(tmp_path / "a.txt")
