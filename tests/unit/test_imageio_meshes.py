"""Meshes read back by readers of our own, a few lines each, from the definitions of the formats."""

import math
import re

import numpy as np
import pytest

from medseg_rl.errors import OutputError
from medseg_rl.imageio.meshes import MeshPart, is_mesh_path, mesh_parts, write_mesh
from medseg_rl.labels import Label, LabelMap
from medseg_rl.segmentation import Segmentation
from medseg_rl.surface import Surface, iso_surface
from medseg_rl.volume import Volume

AFFINE = np.array([[-0.7, 0, 0.2, 30.0], [0, 0.8, 0, -20.0], [0, 0, 2.5, 105.0], [0, 0, 0, 1]])
LABELS = LabelMap(
    (Label(7, "Left\nlobe", (1, 2, 3)), Label(300, "Läsion two", (250, 128, 0)), Label(9, "None", (0, 0, 0)))
)


@pytest.fixture
def segmentation():
    array = np.zeros((12, 11, 10), np.int16)
    array[2:6, 3:9, 1:5] = 7
    array[7:10, 2:4, 6:9] = 300
    return Segmentation.of_label_map(Volume(array, AFFINE), LABELS)


def read_stl(path):
    content = path.read_bytes()
    count = int.from_bytes(content[80:84], "little")
    assert len(content) == 84 + 50 * count
    assert not content.startswith(b"solid")
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    records = np.frombuffer(content, record, count, 84)
    return content[:80].decode("ascii"), records["corners"].astype(float), records["normal"].astype(float)


def read_obj(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    header = [line[2:] for line in lines if line.startswith("# ")]
    vertices = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    objects, name = {}, None
    for line in lines:
        if line.startswith("o "):
            name = line[2:]
            objects[name] = []
        elif line.startswith("f "):
            objects[name].append([int(n) - 1 for n in line.split()[1:]])
    return header, {name: vertices[np.array(faces)] for name, faces in objects.items()}


def read_ply(path):
    header, _, body = path.read_bytes().partition(b"end_header\n")
    header = header.decode("ascii")
    counts = {name: int(count) for name, count in re.findall(r"element (\w+) (\d+)", header)}
    vertex = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
    face = np.dtype([("n", "u1"), ("corners", "<i4", 3)])
    vertices = np.frombuffer(body, vertex, counts["vertex"])
    faces = np.frombuffer(body, face, counts["face"], counts["vertex"] * vertex.itemsize)
    assert len(body) == counts["vertex"] * vertex.itemsize + counts["face"] * face.itemsize
    assert (faces["n"] == 3).all()
    return header, vertices["xyz"][faces["corners"]].astype(float), vertices["rgb"][faces["corners"][:, 0]]


def in_lps(surface):
    return (surface.vertices * [-1, -1, 1])[surface.triangles]


def test_stl_holds_the_triangles_in_lps_with_outward_normals_and_says_so(tmp_path, segmentation):
    parts = mesh_parts(segmentation, values=[7])
    write_mesh(tmp_path / "lobe.stl", parts)
    header, corners, normals = read_stl(tmp_path / "lobe.stl")
    np.testing.assert_allclose(corners, in_lps(parts[0].surface), atol=1e-4)
    outward = (corners.mean(axis=1) - corners.mean(axis=(0, 1))) * normals
    assert (outward.sum(axis=1) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert "SPACE=LPS" in header
    assert "smoothing=none; decimation=none" in header


def test_obj_names_each_label_and_keeps_every_corner(tmp_path, segmentation):
    parts = mesh_parts(segmentation)
    write_mesh(tmp_path / "all.obj", parts)
    header, objects = read_obj(tmp_path / "all.obj")
    assert list(objects) == ["Left_lobe", "Läsion_two"]
    for corners, part in zip(objects.values(), parts, strict=True):
        np.testing.assert_allclose(corners, in_lps(part.surface), atol=1e-6)
    assert "SPACE=LPS" in header
    assert any("label=300 name=Läsion two colour=250 128 0" in line for line in header)


def test_ply_keeps_every_corner_and_the_colour_of_its_label(tmp_path, segmentation):
    parts = mesh_parts(segmentation)
    write_mesh(tmp_path / "all.ply", parts)
    header, corners, colours = read_ply(tmp_path / "all.ply")
    np.testing.assert_allclose(corners, np.concatenate([in_lps(part.surface) for part in parts]), atol=1e-4)
    first = len(parts[0].surface.triangles)
    assert (colours[:first] == (1, 2, 3)).all()
    assert (colours[first:] == (250, 128, 0)).all()
    assert "comment SPACE=LPS\n" in header
    assert "For research use only" in header


@pytest.mark.parametrize("ending", ["stl", "obj", "ply"])
def test_smoothing_and_thinning_are_written_into_the_file(tmp_path, ending):
    grid = np.stack(np.meshgrid(*(np.arange(30),) * 3, indexing="ij")) - 14.5
    ball = Segmentation.of_label_map(Volume((grid**2).sum(0) < 144, AFFINE))
    parts = mesh_parts(ball, smoothing_passes=12, triangles=500)
    path = tmp_path / f"ball.{ending}"
    write_mesh(path, parts)
    before = len(iso_surface(ball.mask_of(1), AFFINE).triangles)
    said = path.read_bytes()[:600]
    assert b"smoothing=taubin*12" in said
    assert f"decimation={len(parts[0].surface.triangles)}/{before}".encode() in said


def test_the_research_notice_still_fits_the_eighty_bytes_of_stl(tmp_path):
    surface = Surface(np.eye(3), np.array([[0, 1, 2]], np.int32), smoothing_passes=20, triangles_before=9_999_999)
    write_mesh(tmp_path / "a.stl", [MeshPart(Label(1, "a", (0, 0, 0)), surface)])
    assert "research use only" in read_stl(tmp_path / "a.stl")[0]


def test_a_degenerate_triangle_gets_no_normal_instead_of_nan(tmp_path):
    surface = Surface(np.zeros((3, 3)), np.array([[0, 1, 2]], np.int32))
    write_mesh(tmp_path / "a.stl", [MeshPart(Label(1, "a", (0, 0, 0)), surface)])
    assert (read_stl(tmp_path / "a.stl")[2] == 0).all()


def test_a_mesh_in_millimetres_has_the_volume_of_the_mask_within_its_steps(tmp_path, segmentation):
    write_mesh(tmp_path / "lobe.stl", mesh_parts(segmentation, values=[7]))
    _, corners, _ = read_stl(tmp_path / "lobe.stl")
    volume = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert volume == pytest.approx(iso_surface(segmentation.mask_of(7), AFFINE).volume, rel=1e-4)
    assert math.isclose(volume, 4 * 6 * 4 * 0.7 * 0.8 * 2.5, rel_tol=0.1)


def test_stl_refuses_a_second_surface_and_names_both(tmp_path, segmentation):
    with pytest.raises(OutputError, match=r"7 \(Left lobe\), 300"):
        write_mesh(tmp_path / "all.stl", mesh_parts(segmentation))
    assert list(tmp_path.iterdir()) == []


def test_labels_without_voxels_are_left_out_unless_asked_for(segmentation):
    assert [part.label.value for part in mesh_parts(segmentation)] == [7, 300]
    with pytest.raises(OutputError, match=r"label 9 \(None\) has no voxels"):
        mesh_parts(segmentation, values=[9])
    with pytest.raises(OutputError, match="no label has value 5"):
        mesh_parts(segmentation, values=[5])


def test_an_empty_mask_makes_no_file(tmp_path):
    empty = Segmentation.of_label_map(Volume(np.zeros((3, 3, 3), np.uint8), AFFINE))
    with pytest.raises(OutputError, match="no label has voxels"):
        mesh_parts(empty)
    with pytest.raises(OutputError, match="no surface"):
        write_mesh(tmp_path / "a.stl", [])


def test_other_endings_and_lacking_folders_are_refused(tmp_path, segmentation):
    parts = mesh_parts(segmentation, values=[7])
    with pytest.raises(OutputError, match=r"none of \.stl, \.obj, \.ply"):
        write_mesh(tmp_path / "a.vtk", parts)
    with pytest.raises(OutputError, match="make it first"):
        write_mesh(tmp_path / "lacking" / "a.stl", parts)
    assert is_mesh_path(tmp_path / "A.STL")
    assert not is_mesh_path(tmp_path / "a.nii.gz")
