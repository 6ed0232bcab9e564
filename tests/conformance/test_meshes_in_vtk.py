"""Our meshes in the readers of VTK, which 3D Slicer uses too; our area and volume against its own. Skips without it."""

from __future__ import annotations

import numpy as np
import pytest

from medseg_rl.imageio.meshes import mesh_parts, write_mesh
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume

AFFINE = np.array([[-0.7, 0, 0.2, 30.0], [0, 0.8, 0, -20.0], [0, 0, 2.5, 105.0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def parts():
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (24, 22, 14)), indexing="ij"), -1)
    mask = np.linalg.norm((grid - [12, 10, 7]) * [1, 1, 2], axis=-1) < 8.3
    mask[14:20, 9:12, 5:8] = False
    return mesh_parts(Segmentation.of_label_map(Volume(mask, AFFINE)))


@pytest.mark.parametrize(
    ("ending", "reader"), [("stl", "vtkSTLReader"), ("obj", "vtkOBJReader"), ("ply", "vtkPLYReader")]
)
def test_vtk_reads_the_same_closed_surface(tmp_path, parts, ending, reader):
    modules = [pytest.importorskip(f"vtkmodules.{name}") for name in ("vtkIOGeometry", "vtkIOPLY", "vtkFiltersCore")]
    path = tmp_path / f"mesh.{ending}"
    write_mesh(path, parts)
    source = next(getattr(module, reader) for module in modules if hasattr(module, reader))()
    source.SetFileName(str(path))
    measure = modules[2].vtkMassProperties()
    measure.SetInputConnection(source.GetOutputPort())
    measure.Update()
    (part,) = parts
    read = source.GetOutput()
    assert read.GetNumberOfPolys() == len(part.surface.triangles)
    assert read.GetNumberOfPoints() == len(part.surface.vertices)
    assert measure.GetSurfaceArea() == pytest.approx(part.surface.area, rel=1e-4)
    assert measure.GetVolume() == pytest.approx(part.surface.volume, rel=1e-3)
    low, high = part.surface.vertices.min(axis=0), part.surface.vertices.max(axis=0)
    expected = [-high[0], -low[0], -high[1], -low[1], low[2], high[2]]  # LPS
    np.testing.assert_allclose(read.GetBounds(), expected, atol=1e-4)
