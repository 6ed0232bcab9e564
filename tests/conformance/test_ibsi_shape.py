"""Shape against the reference values of the Image Biomarker Standardisation Initiative for its CT of a lung cancer.

The values are those of configuration A (the mask as it is, no resampling) in the tables of morphological features,
https://ibsi.readthedocs.io, each with the tolerance that the initiative states.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg_rl.imageio import read_segmentation, read_volume
from medseg_rl.quantities import quantities_of


@pytest.fixture(scope="module")
def measured(io_cases: Path):
    image = read_volume(io_cases / "ibsi_lung_ct" / "nifti" / "image.nii.gz")
    mask = read_segmentation(io_cases / "ibsi_lung_ct" / "nifti" / "mask.nii.gz", like=image)
    return quantities_of(mask, image=image, reference=mask)[1]


@pytest.mark.parametrize(
    ("key", "value", "tolerance"),
    [
        ("volume_mm3", 3.59e5, 5e3),
        ("mesh_volume", 3.58e5, 5e3),
        ("surface_area", 3.57e4, 300),
        ("largest_diameter", 125, 1),
    ],
)
def test_a_shape_quantity_is_the_reference_value(measured, key, value, tolerance):
    assert measured[key].value == pytest.approx(value, abs=tolerance)


def test_the_voxels_are_those_of_the_case_and_the_mask_equals_itself(measured):
    assert measured["voxels"].value == 125256
    assert (measured["dice"].value, measured["hd95"].value, measured["nsd"].value) == (1, 0, 1)
    assert measured.cut_off == ()
