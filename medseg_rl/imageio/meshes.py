"""Writes surfaces as STL, OBJ and PLY, in LPS millimetres, and says so in the file where 3D Slicer looks for it.

Each file states how its surface was smoothed and thinned out. Of the case it tells label names and colours alone.
Reads no meshes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from medseg_rl import __version__
from medseg_rl.errors import OutputError
from medseg_rl.imageio.atomic import atomic_path, check_output_path
from medseg_rl.imageio.provenance import Provenance, as_text, beside, completed, file_content
from medseg_rl.labels import Label, listed
from medseg_rl.segmentation import Segmentation
from medseg_rl.surface import Surface, iso_surface, smoothed, thinned

RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])  # its own inverse, and a rotation, so that triangles keep their sense
STL_HEADER = 80  # bytes
STL_TRIANGLE = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
PLY_VERTEX = np.dtype([("position", "<f4", (3,)), ("colour", "u1", (3,))])
PLY_TRIANGLE = np.dtype([("count", "u1"), ("corners", "<i4", (3,))])
LONGEST_COMMENT = 1000  # characters: readers take lines of limited length
BLOCK = 1 << 16  # lines of text made at once


@dataclass(frozen=True, eq=False)
class MeshPart:
    """The surface of one label."""

    label: Label
    surface: Surface


def is_mesh_path(path: Path) -> bool:
    """Whether the ending of `path` is that of a mesh."""
    return path.suffix.lower() in WRITERS and path.stem != ""


def mesh_parts(
    segmentation: Segmentation,
    *,
    values: Sequence[int] | None = None,
    smoothing_passes: int = 0,
    triangles: int | None = None,
) -> list[MeshPart]:
    """The surfaces of the labels `values`, or of all that have voxels; `triangles`: at most about that many each.

    Raises OutputError where a wanted label does not exist or has no voxels, since an empty mesh helps nobody.
    """
    wanted = segmentation.labels.values if values is None else values
    parts = []
    for value in wanted:
        if value not in segmentation.labels:
            raise OutputError(f"no label has value {value}; choose one of {listed(segmentation.labels.values)}")
        surface = iso_surface(segmentation.mask_of(value), segmentation.grid.affine)
        if len(surface.triangles):
            surface = smoothed(surface, passes=smoothing_passes)
            surface = thinned(surface, triangles=triangles) if triangles is not None else surface
            parts.append(MeshPart(segmentation.labels[value], surface))
        elif values is not None:
            raise OutputError(f"label {value} ({segmentation.labels[value].name}) has no voxels, so it has no surface")
    if not parts:
        raise OutputError("no label has voxels, so there is no surface to write")
    return parts


def write_mesh(path: Path, parts: Sequence[MeshPart], provenance: Provenance | None = None) -> None:
    """Writes surfaces in the format of the ending. STL holds one, without name and colour; OBJ has no colour.

    `provenance`: where the labels come from, JSON-ready; beside an STL file, which has no place for it.
    A failure leaves the old file. Raises OutputError (unknown ending, two surfaces into STL, full disk, read-only).
    """
    check_mesh_output(path)
    if not parts:
        raise OutputError(f"cannot write {path}: there is no surface to write")
    if path.suffix.lower() == ".stl" and len(parts) > 1:
        names = listed([f"{part.label.value} ({_plain(part.label.name)})" for part in parts])
        raise OutputError(f"cannot write {path}: STL holds one surface, these are {names}; choose one, or OBJ or PLY")
    said, other = completed(provenance, {}), beside(path)
    with contextlib.ExitStack() as stack:
        if path.suffix.lower() == ".stl" and (provenance or other.exists()):
            stack.enter_context(atomic_path(other)).write_bytes(file_content(said))
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            WRITERS[path.suffix.lower()](stream, parts, said)


def check_mesh_output(path: Path) -> None:
    """Raises OutputError before any work is done when `path` could not be written or is of another ending."""
    if not is_mesh_path(path):
        raise OutputError(f"cannot write {path}: its ending is none of {', '.join(WRITERS)}")
    check_output_path(path)


def _write_stl(stream: IO[bytes], parts: Sequence[MeshPart], _: Provenance) -> None:
    (part,) = parts
    corners = _points(part)[part.surface.triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    records = np.zeros(len(corners), STL_TRIANGLE)
    records["corners"] = corners
    records["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    said = f"SPACE=LPS; {'; '.join(_treatment(part.surface))}; research use only; MedSeg-RL {__version__}"
    stream.write(said.encode("ascii")[:STL_HEADER].ljust(STL_HEADER))  # must not begin with "solid"
    stream.write(np.uint32(len(records)).astype("<u4").tobytes())
    stream.write(records.tobytes())


def _write_obj(stream: IO[bytes], parts: Sequence[MeshPart], origin: Provenance) -> None:
    stream.writelines(f"# {line}\n".encode() for line in _comments(parts, origin))
    first = 1  # OBJ counts vertices from 1, through all objects
    for part in parts:
        name = "_".join(_plain(part.label.name).split()) or f"label_{part.label.value}"
        stream.write(f"o {name}\n".encode())
        _write_lines(stream, "v %.6f %.6f %.6f\n", _points(part))
        _write_lines(stream, "f %d %d %d\n", part.surface.triangles + first)
        first += len(part.surface.vertices)


def _write_ply(stream: IO[bytes], parts: Sequence[MeshPart], origin: Provenance) -> None:
    vertices = np.zeros(sum(len(part.surface.vertices) for part in parts), PLY_VERTEX)
    triangles = np.zeros(sum(len(part.surface.triangles) for part in parts), PLY_TRIANGLE)
    triangles["count"] = 3
    first = done = 0
    for part in parts:
        points, corners = _points(part), part.surface.triangles
        vertices["position"][first : first + len(points)] = points
        vertices["colour"][first : first + len(points)] = part.label.colour
        triangles["corners"][done : done + len(corners)] = corners + first
        first, done = first + len(points), done + len(corners)
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in _comments(parts, origin))]
    header += [f"element vertex {len(vertices)}", *(f"property float {axis}" for axis in "xyz")]
    header += [f"property uchar {colour}" for colour in ("red", "green", "blue")]
    header += [f"element face {len(triangles)}", "property list uchar int vertex_indices", "end_header"]
    stream.write("".join(f"{line}\n" for line in header).encode("ascii", "replace"))
    stream.write(vertices.tobytes())
    stream.write(triangles.tobytes())


WRITERS: dict[str, Callable[[IO[bytes], Sequence[MeshPart], Provenance], None]] = {
    ".stl": _write_stl,
    ".obj": _write_obj,
    ".ply": _write_ply,
}
MESH_SUFFIXES = tuple(WRITERS)


def _points(part: MeshPart) -> npt.NDArray[np.float64]:
    """LPS mm (n, 3)."""
    points: npt.NDArray[np.float64] = part.surface.vertices * RAS_TO_LPS
    return points


def _write_lines(stream: IO[bytes], form: str, rows: npt.NDArray[np.float64] | npt.NDArray[np.int32]) -> None:
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        stream.write((form * len(block) % tuple(block.ravel().tolist())).encode("ascii"))


def _comments(parts: Sequence[MeshPart], origin: Provenance) -> list[str]:
    lines = [f"MedSeg-RL {__version__}. For research use only. Not a medical device.", "SPACE=LPS", "UNIT=mm"]
    lines.append(f"provenance={as_text(origin, LONGEST_COMMENT)}")
    for part in parts:
        colour = " ".join(str(c) for c in part.label.colour)
        label = f"label={part.label.value} name={_plain(part.label.name)} colour={colour}"
        lines.append(f"{label} {' '.join(_treatment(part.surface))}")
    return lines


def _treatment(surface: Surface) -> tuple[str, str]:
    """How a surface was smoothed (passes) and thinned out (triangles left of those before)."""
    smoothing = f"taubin*{surface.smoothing_passes}" if surface.smoothing_passes else "none"
    left = f"{len(surface.triangles)}/{surface.triangles_before}" if surface.triangles_before else "none"
    return f"smoothing={smoothing}", f"decimation={left}"


def _plain(name: str) -> str:
    """A label name on one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())
