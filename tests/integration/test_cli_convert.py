"""`convert`, `labels` and `info` on segmentations, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from medseg_rl.cli import app
from medseg_rl.imageio import read_mask, read_segmentation, read_volume, write_segmentation, write_volume
from medseg_rl.labels import Label, LabelMap
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume

SHAPE = (9, 8, 7)
AFFINE = np.array([[-1.0, 0, 0, 11], [0, 1, 0, -20], [0, 0, 1.5, 5], [0, 0, 0, 1]])
SHEARED = AFFINE @ np.array([[1.0, 0, 0.2, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
LIVER, TUMOUR = Label(7, "Liver", (221, 130, 101)), Label(300, "Tumour", (1, 2, 3))


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.stderr
    return result


def answer(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.int16)
    write_volume(tmp_path / "image.nii.gz", Volume(array, AFFINE))
    return tmp_path / "image.nii.gz"


@pytest.fixture
def organs(tmp_path: Path) -> Path:
    """Two labels that overlap in a slab of 2 x 8 x 7 voxels."""
    liver, tumour = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    liver[:5], tumour[3:7] = True, True
    grid = Volume(np.zeros(SHAPE, np.uint8), AFFINE)
    path = tmp_path / "organs.seg.nrrd"
    write_segmentation(path, Segmentation.of_masks([(LIVER, liver), (TUMOUR, tumour)], grid), like=grid)
    return path


def test_an_image_goes_through_every_format_unchanged(image: Path, tmp_path: Path) -> None:
    source = image
    for name in ("a.nrrd", "b.mha", "c.mhd", "d.nii"):
        run("convert", source, tmp_path / name)
        source = tmp_path / name
    first, last = read_volume(image), read_volume(source)
    np.testing.assert_array_equal(first.array, last.array)
    np.testing.assert_allclose(first.affine, last.affine, atol=1e-6)
    assert last.array.dtype == np.int16


def test_overlap_is_refused_with_its_count_until_flattening_is_asked_for(organs: Path, tmp_path: Path) -> None:
    refused = run("convert", organs, tmp_path / "m.nii.gz", code=7)
    assert "112 voxels lie in more than one label" in refused.stderr
    assert "--flatten" in refused.stderr
    report = answer("convert", organs, tmp_path / "m.nii.gz", "--flatten")
    assert "112 voxels" in report["warnings"][0]
    mask = read_segmentation(tmp_path / "m.nii.gz")
    assert mask.voxels == {7: 3 * 56, 300: 4 * 56}
    assert mask.labels[300].name == "Tumour"


def test_one_label_of_several_is_taken_as_it_is(organs: Path, tmp_path: Path) -> None:
    run("convert", organs, tmp_path / "liver.nii.gz", "--label", 7)
    assert (read_mask(tmp_path / "liver.nii.gz").array == 7).sum() == 5 * 56
    assert "no label 9" in run("convert", organs, tmp_path / "x.nii.gz", "--label", 9, code=7).stderr


def test_a_mask_gets_the_grid_of_its_image_by_the_load_check(image: Path, tmp_path: Path) -> None:
    labels = np.random.default_rng(1).choice(np.array([0, 7, 300], np.int16), SHAPE)
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.5
    write_volume(tmp_path / "shifted.nrrd", Volume(labels, shifted))
    refused = run("convert", tmp_path / "shifted.nrrd", tmp_path / "m.nii.gz", "--like", image, code=4)
    assert "0.5 mm off" in refused.stderr
    run("convert", tmp_path / "shifted.nrrd", tmp_path / "m.nii.gz", "--like", image, "--accept-shift")
    mask = read_mask(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(mask.array, labels)
    np.testing.assert_array_equal(mask.affine, read_volume(image).affine)
    double = AFFINE @ np.diag([0.5, 1, 1, 1])
    double[0, 3] += 0.25
    write_volume(tmp_path / "fine.nrrd", Volume(np.repeat(labels, 2, axis=0), double))
    assert "nearest" in run("convert", tmp_path / "fine.nrrd", tmp_path / "m.nii", "--like", image, code=4).stderr
    run("convert", tmp_path / "fine.nrrd", tmp_path / "m.nii", "--like", image, "--resample")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii").array, labels)


def test_probabilities_ask_for_a_threshold(tmp_path: Path) -> None:
    chances = np.random.default_rng(2).random(SHAPE).astype(np.float32)
    write_volume(tmp_path / "p.nii.gz", Volume(chances, AFFINE))
    assert "threshold" in run("convert", tmp_path / "p.nii.gz", tmp_path / "m.seg.nrrd", code=3).stderr
    run("convert", tmp_path / "p.nii.gz", tmp_path / "m.seg.nrrd", "--threshold", 0.5)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.seg.nrrd").array, chances > 0.5)


def test_shear_in_metaimage_is_told_in_millimetres_before_it_is_allowed(tmp_path: Path) -> None:
    write_volume(tmp_path / "s.nrrd", Volume(np.arange(504, dtype=np.int16).reshape(SHAPE), SHEARED))
    refused = run("convert", tmp_path / "s.nrrd", tmp_path / "s.mha", code=7)
    assert " mm; allow it (--orthonormalise)" in refused.stderr
    allowed = run("convert", tmp_path / "s.nrrd", tmp_path / "s.mha", "--orthonormalise")
    assert "moved a corner by" in allowed.stderr
    assert read_volume(tmp_path / "s.mha").shear_degrees < 1e-6


def test_a_mask_becomes_a_surface_of_each_label(organs: Path, tmp_path: Path) -> None:
    report = answer("convert", organs, tmp_path / "organs.ply")
    assert report["triangles"] > 100
    assert b"SPACE=LPS" in (tmp_path / "organs.ply").read_bytes()[:400]
    assert "7 (Liver), 300 (Tumour)" in run("convert", organs, tmp_path / "organs.stl", code=7).stderr
    run("convert", organs, tmp_path / "organs.stl", "--label", 7)
    assert (tmp_path / "organs.stl").stat().st_size > 84


def test_the_input_is_never_overwritten(organs: Path) -> None:
    before = organs.read_bytes()
    assert "choose another file" in run("convert", organs, organs, code=7).stderr
    assert organs.read_bytes() == before


def test_labels_lists_values_names_and_volumes_and_writes_tables(organs: Path, tmp_path: Path) -> None:
    listed = run("labels", organs, "-o", tmp_path / "t.csv").stdout
    for text in ("300", "Tumour", "#010203", "224", "0.336"):
        assert text in listed
    run("labels", tmp_path / "t.csv", "-o", tmp_path / "t.label")
    again = answer("labels", tmp_path / "t.label")["labels"]
    assert [(entry["value"], entry["name"], tuple(entry["colour"])) for entry in again] == [
        (LIVER.value, LIVER.name, LIVER.colour),
        (TUMOUR.value, TUMOUR.name, TUMOUR.colour),
    ]
    assert "no file" in run("labels", tmp_path / "none.json", code=3).stderr


def test_a_table_of_another_program_names_the_values(tmp_path: Path) -> None:
    write_volume(tmp_path / "m.nii.gz", Volume(np.full(SHAPE, 7, np.uint8), AFFINE))
    (tmp_path / "snap.txt").write_text('7 1 2 3 1 1 1 "Spleen"\n')
    report = answer("convert", tmp_path / "m.nii.gz", tmp_path / "m.seg.nrrd", "--labels", tmp_path / "snap.txt")
    assert report["labels"][0]["name"] == "Spleen"
    assert read_segmentation(tmp_path / "m.seg.nrrd").labels == LabelMap((Label(7, "Spleen", (1, 2, 3)),))


def test_info_shows_layers_overlap_and_segments(organs: Path) -> None:
    described = answer("info", organs)
    assert (described["layers"], described["overlap_voxels"]) == (2, 112)
    assert [segment["name"] for segment in described["segments"]] == ["Liver", "Tumour"]
    assert "Tumour, layer 1, 224 voxels, 0.336 mL" in run("info", organs).stdout
