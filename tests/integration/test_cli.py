"""The commands as a script uses them: what they write, print and answer when all is well."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import Desk

CENTRE = (12, 11, 10)


def test_a_segmented_mask_overlays_its_image_and_holds_the_clicks(desk: Desk) -> None:
    clicks = desk.clicks((CENTRE, "foreground"), ((2, 2, 2), "background"))
    answer = desk.segment(clicks=clicks)
    assert answer.code == 0, answer.stderr
    image, mask = nib.load(desk.image), nib.load(desk.folder / "mask.nii.gz")
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert mask.get_data_dtype() == np.uint8
    assert desk.mask[CENTRE] == 1
    assert desk.mask[2, 2, 2] == 0


def test_json_is_all_that_stands_on_stdout(desk: Desk) -> None:
    answer = desk.segment("--json")
    report = answer.json
    assert report["labels"]["1"]["voxels"] == int(desk.mask.sum())
    assert report["labels"]["1"]["volume_mm3"] == pytest.approx(int(desk.mask.sum()) * 1.5)
    assert report["bundle"]["name"] == "untrained"
    assert report["clicks"][0]["clicks"] == [{"point_mm": desk.world(CENTRE), "label": "foreground"}]


def test_the_same_command_twice_gives_the_same_mask(desk: Desk) -> None:
    assert desk.segment("--start", "automatic").code == 0
    first = desk.mask.copy()
    assert desk.segment("--start", "automatic").code == 0
    np.testing.assert_array_equal(first, desk.mask)


def test_clicks_of_3d_slicer_count_in_lps(desk: Desk) -> None:
    x, y, z = desk.world(CENTRE)
    point = {"id": "1", "label": "object", "position": [-x, -y, z], "positionStatus": "defined"}
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [point]}
    path = desk.folder / "points.mrk.json"
    path.write_text(json.dumps({"markups": [markup]}))
    assert desk.segment(clicks=path).code == 0
    assert desk.mask[CENTRE] == 1


def test_other_labels_of_a_start_mask_are_kept_and_never_overwritten(desk: Desk) -> None:
    start = desk.ball(4.0).astype(np.uint8) * 3
    start[:4] = 7
    file = desk.write("start.nii.gz", start)
    answer = desk.segment("--start", file, "--label", 3)
    assert answer.code == 0, answer.stderr
    np.testing.assert_array_equal(desk.mask == 7, start == 7)
    assert set(np.unique(desk.mask)) == {0, 3, 7}


def test_a_refiner_without_a_network_takes_the_place_of_the_model(desk: Desk) -> None:
    start = desk.write("start.nii.gz", desk.ball(3.0).astype(np.uint8))
    answer = desk.segment("--json", "--refiner", "paint_ball:radius_mm=5", "--start", start)
    assert answer.json["refiner"] == "paint_ball"
    assert desk.mask[desk.ball(3.0)].all()
    assert desk.mask.sum() > 2 * desk.ball(3.0).sum()
    for name in ("graph_cut", "random_walker:beta=300", "grow_cut"):
        answer = desk.segment("--refiner", name, "--start", "empty")
        assert answer.code == 0, answer.stderr
        assert desk.mask[CENTRE] == 1


def test_a_refiner_or_option_that_does_not_exist_is_named(desk: Desk) -> None:
    answer = desk.segment("--refiner", "level_set")
    assert (answer.code, "choose enforce_only, paint_ball" in answer.stderr) == (3, True)
    answer = desk.segment("--refiner", "graph_cut:beta=3")
    assert (answer.code, "graph_cut has no option 'beta'" in answer.stderr) == (3, True)


def test_one_click_file_segments_several_structures(desk: Desk) -> None:
    entries = [
        {"point_mm": desk.world(CENTRE), "label": "foreground", "target": 2},
        {"point_mm": desk.world((3, 3, 3)), "label": "foreground", "target": 5},
    ]
    path = desk.folder / "two.json"
    path.write_text(json.dumps({"format": "medseg-rl clicks", "version": 1, "clicks": entries}))
    answer = desk.segment("--json", "--label", 2, clicks=path)
    assert answer.code == 0, answer.stderr
    assert desk.mask[CENTRE] == 2
    assert desk.mask[3, 3, 3] == 5
    assert list(answer.json["labels"]) == ["2", "5"]


def test_predict_writes_the_automatic_start(desk: Desk) -> None:
    answer = desk.run("predict", desk.image, "-o", desk.folder / "mask.nii.gz", "--json")
    assert answer.code == 0, answer.stderr
    assert answer.json["labels"]["1"]["voxels"] == int(desk.mask.sum())


def test_info_describes_the_grid(desk: Desk) -> None:
    described = desk.run("info", desk.image, "--json").json
    assert described["shape"] == [24, 22, 20]
    assert described["spacing_mm"] == [1.0, 1.0, 1.5]
    assert described["orientation"] == "LAS+"
    assert "24, 22, 20" in desk.run("info", desk.image).stdout


def test_doctor_finds_everything_that_is_needed(desk: Desk) -> None:
    answer = desk.run("doctor", "--json")
    findings = {finding["what"]: finding for finding in answer.json["findings"]}
    assert findings["bundle untrained"]["status"] == "ok"
    assert [finding for finding in findings.values() if finding["status"] == "lacking"] == []
    assert answer.code == 0


def test_demo_plays_both_samples_and_writes_what_it_shows(desk: Desk) -> None:
    answer = desk.run("demo", "-o", desk.folder / "demo", "--bundle", "untrained", "--clicks", 2, "--json")
    assert answer.code == 0, answer.stderr
    for side, dice in answer.json["dice"].items():
        assert len(dice) == 3
        mask = nib.load(desk.folder / "demo" / f"hippocampus_{side}_mask.nii.gz")
        assert mask.shape[0] > 30
        clicks = json.loads((desk.folder / "demo" / f"hippocampus_{side}_clicks.json").read_text())
        assert len(clicks["clicks"]) == 2
    for picture in ("overlay.png", "curve.png"):
        assert (desk.folder / "demo" / picture).read_bytes().startswith(b"\x89PNG")


def test_the_clicks_that_the_demo_wrote_give_the_mask_that_it_wrote(desk: Desk) -> None:
    from medseg_rl.samples import sample_path

    folder = desk.folder / "demo"
    desk.run("demo", "-o", folder, "--bundle", "untrained", "--clicks", 2)
    answer = desk.run(
        "segment",
        sample_path("hippocampus_left_t1.nii.gz"),
        *("--clicks", folder / "hippocampus_left_clicks.json", "-o", desk.folder / "mask.nii.gz"),
    )
    assert answer.code == 0, answer.stderr
    shown = np.asanyarray(nib.load(folder / "hippocampus_left_mask.nii.gz").dataobj)
    np.testing.assert_array_equal(desk.mask, shown)


def test_ctrl_c_leaves_with_130_and_the_old_mask(desk: Desk) -> None:
    mask = desk.folder / "mask.nii.gz"
    mask.write_bytes(b"the old mask")
    clicks = desk.clicks(*[((3 + n % 18, 3 + n % 16, 3 + n % 14), "foreground") for n in range(4000)])
    process = desk.start("segment", desk.image, "--clicks", clicks, "--start", "empty", "-o", mask)
    desk.until_at_work(process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert mask.read_bytes() == b"the old mask"
