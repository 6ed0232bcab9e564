"""Nothing of a patient leaves by any file, no socket is opened, nothing is unpickled: a marked series, searched for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest

from medseg_rl.bundle import BUNDLES_VARIABLE
from tests.integration.marked_series import MARKS, ROOT, WORD, marks_in, write_series

HERE = Path(__file__).parent
SOURCES = {"model", "brush"}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a kill that cannot be caught")


@dataclass(frozen=True)
class Place:
    """Where the work was done. `series`: marked down to its path; `out`: what was exported; `home`: of the user."""

    series: Path
    out: Path
    home: Path
    environment: dict[str, str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Place:
    """After a session on the series that was killed with unsaved work."""
    folder = tmp_path_factory.mktemp("closed")
    series = write_series(folder / f"{WORD} Otto 19330303" / "study")
    out, home, scratch = (folder / name for name in ("out", "home", "scratch"))
    for path in (out, home, scratch):
        path.mkdir()
    own = {"MEDSEG_RL_HOME": str(home), BUNDLES_VARIABLE: str(bundles), "OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)}
    made = Place(series, out, home, {**os.environ, **own})
    command = [sys.executable, HERE / "marked_work.py", series, made.out]
    run = subprocess.run(command, env=made.environment, capture_output=True, text=True, check=False)
    assert run.returncode == -9, run.stderr[-9000:]
    assert not marks_in(run.stdout.encode() + run.stderr.encode())
    return made


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def commands(place: Place, *lines: list[Any]) -> dict[str, Any]:
    """What the command line answers in a process that may open no socket."""
    given = json.dumps([[str(word) for word in line] for line in lines])
    command = [sys.executable, HERE / "closed_program.py"]
    run = subprocess.run(command, input=given, env=place.environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-9000:]
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_the_search_finds_what_it_is_for(place: Place) -> None:
    image = next(place.series.glob("*.dcm")).read_bytes()
    assert marks_in(image) == sorted(MARKS)
    import gzip
    import io
    import zipfile
    import zlib

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x", b"rubbish" + zlib.compress(gzip.compress(WORD.encode())))
    assert marks_in(packed.getvalue()) == [WORD]


def test_no_file_but_the_references_of_dicom_and_the_place_of_the_image_holds_a_mark(place: Place) -> None:
    written = [*files_of(place.out), *files_of(place.home)]
    assert len(written) > 30
    marked = {}
    for path in written:
        name = str(path.relative_to(place.out if path.is_relative_to(place.out) else place.home))
        found = marks_in(path.read_bytes()) + [mark for mark in MARKS if mark in name]
        if found:
            marked[name] = found
    references = {name: [ROOT] for name in ("e.dcm", "f.rtstruct.dcm", "g.dcm")}
    case = next((place.home / "cases").iterdir()).name
    places = {"own.medseg": sorted([WORD, "19330303"]), f"cases/{case}/places.json": sorted([WORD, "19330303"])}
    assert {name: sorted(found) for name, found in marked.items()} == references | {
        name: sorted(found) for name, found in places.items()
    }


@pytest.mark.parametrize("name", ["e.dcm", "f.rtstruct.dcm", "g.dcm"])
def test_a_de_identified_object_refers_to_its_images_and_says_nothing_else_of_them(place: Place, name: str) -> None:
    allowed = {"StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "ReferencedSOPInstanceUID"}
    allowed |= {"ReferencedFrameOfReferenceUID"}
    holding = {
        element.keyword
        for element in pydicom.dcmread(place.out / name).iterall()
        if element.VR != "SQ" and any(mark in str(element.value) for mark in MARKS)
    }
    assert holding <= allowed


def test_every_export_says_where_its_voxels_come_from(place: Place) -> None:
    said = json.loads((place.out / "a.provenance.json").read_text())
    assert {source for source, voxels in said["written"].items() if voxels} == SOURCES
    hashes = [said["journal_sha256"], said["models"][0]["bundle_hash"]]
    needles = [*hashes, f'"model":{said["written"]["model"]}', said["program"]]
    for name in ("c.seg.nrrd", "e.dcm", "f.rtstruct.dcm", "g.dcm", "i.obj", "j.ply", "n.csv", "o.json"):
        content = (place.out / name).read_bytes().replace(b'""', b'"').replace(b'": ', b'":')
        assert not [needle for needle in needles if needle.encode() not in content], name
    for name in ("a", "d", "h"):
        beside = (place.out / f"{name}.provenance.json").read_text().replace('": ', '":')
        assert not [needle for needle in needles if needle not in beside], name


def test_the_work_is_there_again_after_the_kill_and_its_commands_stay_at_home(place: Place) -> None:
    out = place.out
    clicks = out / "clicks.json"
    point = [float(v) for v in (0.0, 0.0, 8.0)]
    clicks.write_text(
        json.dumps({"format": "medseg-rl clicks", "version": 1, "clicks": [{"point_mm": point, "label": "foreground"}]})
    )
    before = set(files_of(out)) | set(files_of(place.home))
    found = commands(
        place,
        ["segment", place.series, "--clicks", clicks, "-o", out / "cli.nii.gz", "--session", out / "cli.medseg"],
        ["predict", place.series, "-o", out / "cli.dcm"],
        ["replay", out / "cli.medseg", "--mode", "recompute"],
        ["convert", out / "cli.dcm", out / "cli.seg.nrrd", "--like", place.series],
        ["convert", place.series, out / "cli_image.nii.gz"],
        ["convert", out / "cli.nii.gz", out / "cli.ply"],
        ["quantities", out / "cli.nii.gz", "--image", place.series, "-o", out / "cli.csv"],
        ["labels", out / "cli.dcm", "-o", out / "cli.json"],
        ["feedback", "show", "--records"],
        ["feedback", "export", out / "cli.zip", "--images"],
        ["info", out / "cli.dcm"],
    )
    assert [answer[0] for answer in found["answers"]] == [0] * 11, found["answers"]
    assert found["refused"] == []
    assert not marks_in(found["log"].encode())
    new = (set(files_of(out)) | set(files_of(place.home))) - before
    marked = {path.name: marks_in(path.read_bytes()) for path in new}
    assert {name: found for name, found in marked.items() if found} == {
        "cli.dcm": [ROOT],
        "cli.medseg": sorted([WORD, "19330303"]),
    }
    leftover = [path for path in files_of(place.out.parent / "scratch") if marks_in(path.read_bytes())]
    assert not leftover
