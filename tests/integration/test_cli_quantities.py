"""`quantities` as a script uses it: what it prints, writes and refuses; and meshes through `convert`."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import Desk


@pytest.fixture
def mask(desk: Desk):
    array = desk.ball(5.0).astype(np.uint8)
    array[:4, :3, :2] = 7
    return desk.write("mask.nii.gz", array)


def test_json_is_all_that_stands_on_stdout_and_knows_volume_place_and_cut(desk: Desk, mask) -> None:
    answer = desk.run("quantities", mask, "--image", desk.image, "--json")
    assert answer.code == 0, answer.stderr
    ball, corner = answer.json["labels"]
    voxels = int(desk.ball(5.0).sum())
    assert ball["quantities"]["voxels"]["value"] == voxels
    assert ball["quantities"]["volume_ml"]["value"] == pytest.approx(voxels * 1.5 / 1000)
    centre = [ball["quantities"][f"centroid_{side}"]["value"] for side in "ras"]
    np.testing.assert_allclose(centre, desk.world((12, 11, 10)))
    assert ball["quantities"]["intensity_mean"]["value"] == pytest.approx(180, abs=2)
    assert corner["cut_off"] == ["R", "P", "I"]
    assert len(answer.json["image_sha256"]) == 64


def test_the_printed_table_shows_each_number_with_its_formula_and_the_notice(desk: Desk, mask) -> None:
    answer = desk.run("quantities", mask, "--label", 7)
    assert answer.code == 0, answer.stderr
    assert "N |det A33|" in answer.stdout
    assert "cut off at R, P, I" in answer.stdout
    assert "For research use only" in answer.stdout
    assert "Label 1 " not in answer.stdout


def test_a_mask_against_a_reference_compares_by_value(desk: Desk, mask) -> None:
    other = desk.write("other.nii.gz", desk.ball(4.0).astype(np.uint8))
    answer = desk.run("quantities", mask, "--reference", other, "--tolerance", 1, "--csv")
    rows = {(row["label"], row["quantity"]): row for row in csv.DictReader(io.StringIO(answer.stdout))}
    small, large = desk.ball(4.0).sum(), desk.ball(5.0).sum()
    assert float(rows["1", "dice"]["value"]) == pytest.approx(2 * small / (small + large))
    assert (rows["7", "hd95"]["value"], rows["7", "hd95"]["note"]) == ("", "the reference is empty")
    assert "within 1 mm" in rows["1", "nsd"]["method"]


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_output_writes_the_same_content_and_prints_nothing(desk: Desk, mask, ending: str) -> None:
    printed = desk.run("quantities", mask, f"--{ending}").stdout
    answer = desk.run("quantities", mask, "-o", desk.folder / f"out.{ending}")
    assert (answer.code, answer.stdout) == (0, "")
    written = (desk.folder / f"out.{ending}").read_text(encoding="utf-8")
    assert written == printed if ending == "csv" else json.loads(written) == json.loads(printed)


def test_no_path_and_no_file_name_stands_in_what_is_written(desk: Desk, mask) -> None:
    secret = desk.write("Doe_Jane_1970.nii.gz", desk.ball(4.0).astype(np.uint8))
    desk.run("quantities", secret, "--image", desk.image, "--reference", mask, "-o", desk.folder / "out.json")
    desk.run("quantities", secret, "--image", desk.image, "--reference", mask, "-o", desk.folder / "out.csv")
    for name in ("out.json", "out.csv"):
        content = (desk.folder / name).read_text()
        assert "Doe" not in content
        assert str(desk.folder) not in content


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--label", 5), 3, "has no label 5; choose of 1, 7"),
        (("-o", "out.txt"), 7, "none of .csv, .json"),
        (("-o", "lacking/out.csv"), 7, "make it first"),
        (("--image", "lacking.nii.gz"), 3, "there is no file"),
        (("--reference", "tiny.nii.gz"), 4, "no mask of that image"),
        (("--json", "--csv"), 2, "exclude each other"),
    ],
)
def test_what_cannot_be_measured_ends_in_one_line(desk: Desk, mask, monkeypatch, arguments, code, says) -> None:
    monkeypatch.chdir(desk.folder)
    desk.write("tiny.nii.gz", np.ones((2, 2, 2), np.uint8))
    answer = desk.run("quantities", mask, *arguments)
    assert answer.code == code
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_image_of_intensities_is_no_mask(desk: Desk) -> None:
    answer = desk.run("quantities", desk.image)
    assert answer.code == 3
    assert "is no mask" in answer.stderr


def test_a_mask_is_never_overwritten_by_its_quantities(desk: Desk, mask) -> None:
    table = desk.folder / "mask.csv"
    table.symlink_to(mask)
    answer = desk.run("quantities", mask, "-o", table)
    assert answer.code == 7
    assert "is the input" in answer.stderr


def test_convert_writes_a_mesh_of_a_mask_in_lps(desk: Desk, mask) -> None:
    answer = desk.run("convert", mask, desk.folder / "ball.stl", "--label", 1)
    assert answer.code == 0, answer.stderr
    content = (desk.folder / "ball.stl").read_bytes()
    corners = np.frombuffer(content, [("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")], offset=84)["c"]
    x, y, z = desk.world((12, 11, 10))
    np.testing.assert_allclose(corners.mean(axis=(0, 1)), [-x, -y, z], atol=0.05)
    assert b"SPACE=LPS" in content[:80]


def test_one_time_point_of_a_series_of_masks_is_measured_where_it_is_chosen(desk: Desk) -> None:
    both = np.stack([desk.ball(3.0), desk.ball(5.0)], -1).astype(np.uint8)
    path = desk.write("both.nii.gz", both)
    assert "choose a time point" in desk.run("quantities", path).stderr
    answer = desk.run("quantities", path, "--time-point", 1, "--json")
    assert answer.json["labels"][0]["quantities"]["voxels"]["value"] == int(desk.ball(5.0).sum())


def test_two_empty_masks_are_measured_where_a_label_is_asked_for(desk: Desk) -> None:
    empty = desk.write("empty.nii.gz", np.zeros(desk.ball(1.0).shape, np.uint8))
    answer = desk.run("quantities", empty, "--reference", empty, "--label", 1, "--json")
    found = answer.json["labels"][0]["quantities"]
    assert (found["voxels"]["value"], found["dice"]["value"]) == (0, None)
    assert "both empty" in found["dice"]["note"]


def test_a_damaged_label_table_beside_a_mask_is_told_without_its_place(desk: Desk, mask) -> None:
    mask.with_name("mask.labels.json").write_text("{")
    answer = desk.run("quantities", mask, "--json")
    told = [said for said in answer.json["warnings"] if "table beside" in said]
    assert told
    assert str(desk.folder) not in told[0]
