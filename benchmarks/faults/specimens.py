"""One small good input of every kind that the library reads, as bytes by file name: what the mutations start from.

Written by the library itself or by pydicom, so nothing here comes from a person. DICOM is next door.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from benchmarks.faults.specimens_dicom import dicom_specimens
from benchmarks.faults.user import CubePainter
from medseg_rl.editing import Brush
from medseg_rl.hints.click_files import write_clicks
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.imageio import write_label_table, write_segmentation, write_volume
from medseg_rl.labels import Label, LabelMap
from medseg_rl.rlhf.arrays import encoded
from medseg_rl.rlhf.manifest import to_line
from medseg_rl.rlhf.records import Demonstration, Grid, Hint, VolumePrompt
from medseg_rl.segmentation import Segmentation
from medseg_rl.session import SegmentationSession
from medseg_rl.session.safekeeping import Safekeeping
from medseg_rl.volume import Volume

SHAPE = (9, 8, 7)
AFFINE = np.array([[-1.5, 0.1, 0, 9], [0, 1.5, 0, -4], [0, 0, 2.5, 3], [0, 0, 0, 1.0]])
UPRIGHT = np.diag([-1.5, -1.5, 2.5, 1.0])
IMAGE, MASK, TABLE, CLICKS, SESSION = "image", "mask", "table", "clicks", "session"
CASE, BUNDLE, RECORDS, SERIES = "case", "bundle", "records", "series"


@dataclass(frozen=True)
class Specimen:
    """A good input. `kind`: which readers take it; `opens`: the file they are given, empty for the folder.

    `targets`: the files that a mutation may touch.
    """

    name: str
    kind: str
    files: Mapping[str, bytes]
    opens: str
    targets: tuple[str, ...]

    def with_file(self, name: str, content: bytes) -> Specimen:
        """The same with one file of other content."""
        return replace(self, files={**self.files, name: content})

    def put(self, folder: Path) -> Path:
        """Write it into an empty folder; returns what a reader is given."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder / self.opens


def specimens(folder: Path) -> list[Specimen]:
    """All of them, made in an empty folder."""
    makers = (_images, _masks, _tables, _clicks, _sessions, _bundle, _records)
    found = [specimen for number, make in enumerate(makers) for specimen in make(_made(folder / str(number)))]
    dicom = dicom_specimens(_made(folder / "dicom"))
    return found + [_read_back(folder / "dicom" / name, kind, opens) for name, kind, opens in dicom]


def image(affine: Any = AFFINE, kind: Any = np.int16) -> Volume:
    """A volume with a bright block in noise."""
    array = np.random.default_rng(5).normal(100, 9, SHAPE)
    array[3:6, 3:6, 2:5] += 300
    return Volume(array.astype(kind), affine, "MR")


def segmentation(like: Volume, *, overlap: bool = True) -> Segmentation:
    """Two labels, overlapping unless told otherwise."""
    one, two = np.zeros(like.shape, bool), np.zeros(like.shape, bool)
    one[2:5, 2:5, 1:4], two[(4 if overlap else 5) : 8, 4:7, 3:6] = True, True
    labels = (Label(1, "Liver", (200, 30, 40)), Label(5, "Tumour, left", (1, 250, 3)))
    return Segmentation.of_masks(list(zip(labels, (one, two), strict=True)), like)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _read_back(folder: Path, kind: str, opens: str, targets: Callable[[str], bool] = lambda name: True) -> Specimen:
    files = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return Specimen(folder.name, kind, files, opens, tuple(name for name in files if targets(name)))


def _one(name: str, kind: str, content: bytes) -> Specimen:
    return Specimen(name, kind, {name: content}, name, (name,))


def _images(folder: Path) -> list[Specimen]:
    plain, upright, found = image(), image(UPRIGHT), []
    for name, volume in (
        ("a.nii", plain), ("b.nii.gz", plain), ("c.nrrd", plain), ("d.mha", upright),
        ("e.nii.gz", image(kind=np.float32)),
    ):  # fmt: skip
        write_volume(folder / name, volume)
        found.append(_one(name, IMAGE, (folder / name).read_bytes()))
    scaled = nib.Nifti2Image(plain.array, plain.affine)
    scaled.header.set_slope_inter(0.5, -7)
    nib.save(scaled, folder / "f.nii")
    found.append(_one("f.nii", IMAGE, (folder / "f.nii").read_bytes()))
    write_volume(folder / "g.mhd", upright)
    files = {name: (folder / name).read_bytes() for name in ("g.mhd", "g.raw")}
    found.append(Specimen("g.mhd", IMAGE, files, "g.mhd", tuple(files)))
    found.append(_one("h.nrrd", IMAGE, _raw_nrrd(plain)))
    return [*found, _one("i.gipl", IMAGE, _gipl(plain)), _one("j.gipl.gz", IMAGE, gzip.compress(_gipl(plain)))]


def _raw_nrrd(volume: Volume) -> bytes:
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 9 8 7\n"
        "space directions: (1.5,0,0) (0,1.5,0) (0,0,2.5)\nkinds: domain domain domain\nendian: little\n"
        "encoding: raw\nspace origin: (1,2,3)\n\n"
    )
    return header.encode() + volume.array.astype("<i2").tobytes("F")


def _gipl(volume: Volume) -> bytes:
    header = bytearray(256)
    struct.pack_into(">4h", header, 0, *SHAPE, 1)
    struct.pack_into(">h4f", header, 8, 15, 1.5, 1.5, 2.5, 0)
    struct.pack_into(">I", header, 252, 4026526128)
    return bytes(header) + volume.array.astype(">i2").tobytes("F")


def _masks(folder: Path) -> list[Specimen]:
    found = []
    for name, overlap in (("k.nii.gz", False), ("l.seg.nrrd", True), ("m.seg.nrrd", False)):
        where = _made(folder / name.replace(".", "-"))
        write_segmentation(where / name, segmentation(image(), overlap=overlap), like=image())
        found.append(_read_back(where, MASK, name))
    return found


def _tables(folder: Path) -> list[Specimen]:
    table = LabelMap((Label(1, "Liver", (200, 30, 40)), Label(5, "Tumour, left", (1, 250, 3))))
    for name in ("n.json", "o.csv", "p.label"):
        write_label_table(folder / name, table)
    (folder / "q.ctbl").write_text("# Color table\n0 Background 0 0 0 0\n1 Liver 200 30 40 255\n5 Tumour 1 250 3 255\n")
    return [_one(path.name, TABLE, path.read_bytes()) for path in sorted(folder.iterdir())]


def _clicks(folder: Path) -> list[Specimen]:
    clicks = [((1.0, 2.5, 3.0), ClickLabel.FOREGROUND), ((-4.0, 0.5, 9.0), ClickLabel.BACKGROUND)]
    for name in ("r.json", "s.mrk.json"):
        write_clicks(folder / name, clicks)
    return [_one(path.name, CLICKS, path.read_bytes()) for path in sorted(folder.iterdir())]


def worked(session: SegmentationSession) -> None:
    """Some steps of every kind: clicks, an edit, a second label, undo and an open proposal."""
    session.click_voxels([Click((3, 3, 3), ClickLabel.FOREGROUND)])
    session.accept()
    x, y, z = (float(v) for v in session.image.index_to_world((6, 6, 5)))
    session.edit(Brush(((x, y, z),), 2.0))
    session.activate(session.add_label("Vessel"))
    session.click_voxels([Click((7, 2, 2), ClickLabel.FOREGROUND)])
    session.accept()
    session.undo()


def _sessions(folder: Path) -> list[Specimen]:
    keeping = Safekeeping.begin(SegmentationSession(image(), CubePainter()), root=folder / "cases")
    worked(keeping.session)
    keeping.autosave()
    keeping._worker.shutdown()  # type: ignore[union-attr]
    keeping.session.click_voxels([Click((8, 6, 1), ClickLabel.FOREGROUND)])
    keeping.save(folder / "t.medseg", portable=True, with_voxels=True)
    keeping.session.click_voxels([Click((8, 1, 5), ClickLabel.BACKGROUND)])
    case = _read_back(keeping.case.folder, CASE, "", lambda name: name != "lock")
    keeping.close(discard=True)
    return [_one("t.medseg", SESSION, (folder / "t.medseg").read_bytes()), replace(case, name="case folder")]


def _bundle(folder: Path) -> list[Specimen]:
    """The shipped one without its weights, which are hashed and never parsed here."""
    from medseg_rl.bundle.layout import MANIFEST, file_hash

    shipped = Path(__file__).resolve().parents[2] / "models" / "hippocampus"
    names = [*json.loads((shipped / MANIFEST).read_bytes())["files"]]
    files = {n: b"weights" if n.startswith("models/") else (shipped / n).read_bytes() for n in names}
    hashes = {name: file_hash(content) for name, content in files.items()}
    files[MANIFEST] = json.dumps({"format_version": 1, "files": hashes}).encode()
    return [Specimen("bundle", BUNDLE, files, "", tuple(name for name in files if name.endswith(".json")))]


def _records(folder: Path) -> list[Specimen]:
    reference, content = encoded(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    grid = Grid(spacing=(1.0, 1.0, 2.0), start=(0, 0, 0), shape=(2, 3, 4), volume_shape=SHAPE)
    prompt = VolumePrompt(grid=grid, initial_probability=reference, hints=(Hint((0, 1, 2), True, True),), label=1)
    about: dict[str, Any] = {
        "case_id": "case-0011aabb",
        "group_id": "g-1",
        "annotator": "a-1",
        "annotator_kind": "human",
    }
    record = Demonstration(**about, prompt=prompt, completion=reference, elapsed_ms=12, interactions=3)
    files = {"records.jsonl": to_line(record) * 2, reference.path: content}
    return [Specimen("records", RECORDS, files, "records.jsonl", tuple(files))]
