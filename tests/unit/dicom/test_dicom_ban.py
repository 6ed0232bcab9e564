"""Where slices are missing and kept so, nothing is measured: in whatever format mask or image are carried on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg_rl.cli import app
from medseg_rl.imageio import describe, read_volume, write_mask
from medseg_rl.refiners.paint_ball import PaintBall
from medseg_rl.session import SegmentationSession

MISSING = (0, 2, 6, 8, 10, 12, 18)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stderr


@pytest.fixture
def folder(tmp_path, series):
    return series(tmp_path / "ct", depths=MISSING)


def test_the_reader_says_so_and_info_of_what_was_written_too(tmp_path, folder):
    code, said = run("convert", folder, tmp_path / "ct.nii.gz", "--missing", "keep")
    assert code == 0
    assert "quantities are disabled" in said
    assert describe(tmp_path / "ct.nii.gz")["quantities"].startswith("disabled: ")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".seg.nrrd", ".mha", ".dcm", ".rtstruct.dcm"])
def test_a_mask_of_it_is_not_measured_in_any_format(tmp_path, folder, ending):
    image = read_volume(folder, missing="keep")
    array = np.zeros(image.shape, np.uint8)
    array[1:3, 1:3, 1:5] = 1
    path = tmp_path / f"mask{ending}"
    write_mask(path, image.with_array(array), like=image)
    code, said = run("convert", path, tmp_path / "again.seg.nrrd", "--like", folder, "--missing", "keep")
    assert code == 0, said
    for mask in (path, tmp_path / "again.seg.nrrd"):
        code, said = run("quantities", mask, "--image", folder, "--missing", "keep")
        assert code == 4
        assert "disabled" in said


@pytest.mark.parametrize("ending", [".stl", ".obj", ".ply"])
def test_a_surface_of_it_carries_the_ban(tmp_path, folder, ending):
    image = read_volume(folder, missing="keep")
    plain = image.with_array(np.zeros(image.shape, np.uint8))
    plain.array[1:3, 1:3, 1:5] = 1
    plain.source.clear()
    import nibabel

    nibabel.save(nibabel.Nifti1Image(plain.array, plain.affine), tmp_path / "plain.nii.gz")
    code, said = run(
        "convert", tmp_path / "plain.nii.gz", tmp_path / f"m{ending}", "--like", folder, "--missing", "keep"
    )
    assert code == 0, said
    beside = tmp_path / "m.provenance.json"
    text = beside.read_text() if ending == ".stl" else (tmp_path / f"m{ending}").read_bytes().decode("latin-1")
    assert "disabled: " in text


def test_a_session_on_it_keeps_the_ban_when_it_is_saved_and_opened_on_the_same_voxels_without_it(tmp_path, folder):
    image = read_volume(folder, missing="keep")
    session = SegmentationSession(image, PaintBall())
    session.save(tmp_path / "a.medseg")
    bare = type(image)(image.array, image.affine, image.modality)
    opened = SegmentationSession.open_saved(tmp_path / "a.medseg", bare, PaintBall())
    opened.export(tmp_path / "out.nii.gz")
    assert json.loads((tmp_path / "out.provenance.json").read_text())["quantities"].startswith("disabled: ")
