"""Click files: round trips, 3D Slicer's point lists, and every way a file can be wrong."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg_rl.errors import ClickError, InputFileError, OutputError
from medseg_rl.hints.click_files import WorldClick, read_clicks, to_index, write_clicks
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.volume import Volume

FOREGROUND, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
CLICKS = [
    WorldClick((-12.5, 30.0, 4.25), FOREGROUND, "tumour"),
    WorldClick((0.1, -1e-7, 1e4 / 3), BACKGROUND),
    WorldClick((1.0, 2.0, 3.0), FOREGROUND, 7),
]


def saved(tmp_path, content, name="clicks.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def ours(**changes):
    return {"format": "medseg-rl clicks", "version": 1, "clicks": []} | changes


def one(**changes):
    return ours(clicks=[{"point_mm": [1, 2, 3], "label": "foreground"} | changes])


def slicer(points, **changes):
    return {"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": points} | changes]}


def test_written_clicks_read_back_exactly(tmp_path):
    write_clicks(tmp_path / "a.json", CLICKS)
    assert read_clicks(tmp_path / "a.json") == CLICKS
    write_clicks(tmp_path / "none.json", [])
    assert read_clicks(tmp_path / "none.json") == []


def test_pairs_of_point_and_label_can_be_written(tmp_path):
    write_clicks(tmp_path / "a.json", [((1.0, 2.0, 3.0), BACKGROUND)])
    assert read_clicks(tmp_path / "a.json") == [WorldClick((1.0, 2.0, 3.0), BACKGROUND)]


def test_the_documented_example_can_be_read(tmp_path):
    import medseg_rl.hints.click_files as module

    example = module.__doc__[module.__doc__.index("{") : module.__doc__.rindex("]}") + 2]
    first, second = read_clicks(saved(tmp_path, example))
    assert first == WorldClick((-12.5, 30.0, 4.25), FOREGROUND, "tumour")
    assert second.label == BACKGROUND


def test_slicer_point_lists_written_here_are_read_back_in_order(tmp_path):
    path = tmp_path / "a.mrk.json"
    write_clicks(path, CLICKS)
    assert [(c.point_mm, c.label) for c in read_clicks(path)] == [(c.point_mm, c.label) for c in CLICKS]
    points = json.loads(path.read_text())["markups"][0]["controlPoints"]
    assert points[0]["position"] == [12.5, -30.0, 4.25]  # LPS


@pytest.mark.parametrize(
    ("changes", "point"),
    [
        ({}, (-1.0, -2.0, 3.0)),
        ({"coordinateSystem": "RAS"}, (1.0, 2.0, 3.0)),
        ({"coordinateUnits": "mm"}, (-1.0, -2.0, 3.0)),
    ],
)
def test_the_coordinate_system_of_slicer_is_followed(tmp_path, changes, point):
    path = saved(tmp_path, slicer([{"label": "F-1", "position": [1, 2, 3]}], **changes), "F.mrk.json")
    assert read_clicks(path) == [WorldClick(point, FOREGROUND)]


def test_a_point_list_without_a_coordinate_system_is_lps(tmp_path):
    content = {"markups": [{"controlPoints": [{"position": [1, 2, 3]}]}]}
    assert read_clicks(saved(tmp_path, content))[0].point_mm == (-1.0, -2.0, 3.0)


@pytest.mark.parametrize(
    ("file", "name", "label", "description", "expected"),
    [
        ("F", None, "F-1", "", FOREGROUND),
        ("F", None, "F-1", "background", BACKGROUND),
        ("F", None, "Negative-3", "", BACKGROUND),
        ("F", "bg points", "F-1", "", BACKGROUND),
        ("case1_background", None, "F-1", "", BACKGROUND),
        ("case1_background", "object", "F-1", "", FOREGROUND),
        ("F", "background", "object-2", "", FOREGROUND),
        ("F", "background", "neg", "Foreground", FOREGROUND),
        ("F", None, "bgr-1", "", FOREGROUND),
    ],
)
def test_words_tell_background_points_from_object_points(tmp_path, file, name, label, description, expected):
    point = {"label": label, "description": description, "position": [0, 0, 0]}
    changes = {"name": name} if name else {}
    assert read_clicks(saved(tmp_path, slicer([point], **changes), f"{file}.mrk.json"))[0].label == expected


def test_points_never_placed_in_slicer_are_left_out(tmp_path):
    points = [
        {"position": [0, 0, 0], "positionStatus": "undefined"},
        {"position": [1, 1, 1], "positionStatus": "defined"},
    ]
    assert len(read_clicks(saved(tmp_path, slicer(points)))) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ('{"format": "medseg-rl clicks", "clicks": [{"poi', "cut off"),
        ("not json", "is no JSON"),
        ("[1, 2]", "is no click file"),
        ("{}", "is no click file"),
        ("[" * 100_000, "is no"),
        (ours(version=2), "version 2"),
        (ours(coordinates="LPS mm"), "LPS mm"),
        (ours(clicks={"a": 1}), "must be a list"),
        (ours(clicks=[[1, 2, 3]]), "click 1: must be an object"),
        (one(label="up"), "foreground.*background"),
        (one(label=None), "missing"),
        (one(label=1), "and is 1"),
        (one(target=True), "target"),
        (one(target=[1]), "target"),
        (one(point_mm=[1, 2]), "three numbers"),
        (one(point_mm="1,2,3"), "three numbers"),
        (one(point_mm=[1, "2", 3]), "three numbers"),
        (one(point_mm=[1, True, 3]), "three numbers"),
        (one(point_mm=[1, None, 3]), "three numbers"),
        (one(point_mm=[1, float("nan"), 3]), "finite"),
        (one(point_mm=[1, float("inf"), 3]), "finite"),
        (one(point_mm=[10**400, 0, 0]), "too large"),
        (slicer([[1, 2, 3]]), "point 1: must be an object"),
        (slicer([{"label": "F"}]), "position.*missing"),
        (slicer([{"position": [0, 0, 0], "label": "object in background"}]), "at once"),
        (slicer([{"position": [0, 0, 0]}], coordinateSystem="RSA"), "LPS or RAS"),
        (slicer([{"position": [0, 0, 0]}], coordinateUnits="cm"), "must be mm"),
        (slicer([{"position": [0, 0, 0]}], type="Line"), "only point lists"),
        ({"markups": [3]}, "must be an object"),
        ({"markups": None}, "must be a list"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_names_it(tmp_path, content, message):
    path = saved(tmp_path, content)
    with pytest.raises(ClickError, match=message) as raised:
        read_clicks(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_binary_and_missing_files_and_folders_are_refused(tmp_path):
    (tmp_path / "image.json").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(ClickError, match="no UTF-8"):
        read_clicks(tmp_path / "image.json")
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputFileError, match="cannot read"):
            read_clicks(path)


def test_a_byte_order_mark_does_no_harm(tmp_path):
    path = tmp_path / "bom.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(one()).encode())
    assert read_clicks(path) == [WorldClick((1.0, 2.0, 3.0), FOREGROUND)]


def test_a_file_that_cannot_be_written_is_an_output_error_and_nan_is_never_written(tmp_path):
    with pytest.raises(OutputError):
        write_clicks(tmp_path / "no" / "folder.json", CLICKS)
    kept = tmp_path / "kept.json"
    write_clicks(kept, CLICKS)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_clicks(kept, [WorldClick((float("nan"), 0.0, 0.0), FOREGROUND)])
    assert read_clicks(kept) == CLICKS


def oblique_volume():
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.9, 3.3, 1.2)
    affine[:3, 3] = (-80.0, 25.0, 400.0)
    return Volume(np.zeros((20, 11, 16), np.float32), affine)


@given(index=st.tuples(st.integers(0, 19), st.integers(0, 10), st.integers(0, 15)), shift=st.floats(-0.49, 0.49))
def test_a_point_goes_to_the_voxel_whose_centre_is_nearest(index, shift):
    volume = oblique_volume()
    point = volume.index_to_world(np.array(index) + shift)
    click = WorldClick((float(point[0]), float(point[1]), float(point[2])), BACKGROUND)
    assert to_index(volume, [click]) == (Click(index, BACKGROUND),)


def test_a_click_outside_is_refused_with_its_position_and_distance():
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = (10.0, 20.0, 30.0)
    volume = Volume(np.zeros((50, 60, 30), np.float32), affine)
    good = WorldClick((10.0, 20.0, 30.0), FOREGROUND)
    with pytest.raises(ClickError) as raised:
        to_index(volume, [good, WorldClick((13.0, 20.0, 100.5), FOREGROUND)])
    message = str(raised.value)
    for part in ("click 2", "(13.0, 20.0, 100.5) mm", "12.5 mm", "x 10.0 to 59.0", "z 30.0 to 88.0"):
        assert part in message
    assert "LPS" not in message
    with pytest.raises(ClickError, match="LPS"):
        to_index(volume, [WorldClick((-15.0, -25.0, 40.0), FOREGROUND)])
