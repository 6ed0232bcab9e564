"""Defects that mutated inputs and hostile users found: each is one line now, and takes no memory beyond its file."""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from benchmarks.faults.specimens import UPRIGHT, _images, image
from benchmarks.faults.specimens_dicom import COLUMNS, ROWS, SLICES, _series
from benchmarks.faults.user import CubePainter
from medseg_rl.bundle.layout import read_json
from medseg_rl.cli import app
from medseg_rl.errors import BundleError, InputFileError, OutputError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.imageio import itk, read_mask, read_segmentation, read_volume, write_volume
from medseg_rl.imageio.dicom_slices import parsed
from medseg_rl.journal.container import Container
from medseg_rl.session import SegmentationSession
from medseg_rl.session.safekeeping import Safekeeping


@pytest.mark.parametrize("offset", [float("nan"), float("inf")])
def test_a_nifti_file_whose_voxels_begin_nowhere_is_told(tmp_path, offset):
    write_volume(tmp_path / "a.nii", image())
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<f", content, 108, offset)
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(InputFileError, match="where its voxels begin"):
        read_volume(tmp_path / "a.nii")


def test_json_of_a_bundle_that_is_nested_without_end_is_told(tmp_path):
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(BundleError, match="cannot be read"):
        read_json(tmp_path / "manifest.json")


def test_a_metaimage_that_unpacks_to_far_more_than_it_says_takes_no_memory_for_it(tmp_path):
    write_volume(tmp_path / "a.mha", image(UPRIGHT))
    content = (tmp_path / "a.mha").read_bytes()
    start = content.index(b"LOCAL\n") + 6
    bomb = zlib.compress(zlib.decompress(content[start:]) + bytes(1 << 27), 9)
    (tmp_path / "a.mha").write_bytes(re.sub(rb"DataSize = \d+", b"DataSize = %d" % len(bomb), content[:start]) + bomb)
    tracemalloc.start()
    try:
        with pytest.raises(InputFileError, match="more than"):
            read_volume(tmp_path / "a.mha")
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["b.nii.gz", "j.gipl.gz"])
def test_a_packed_file_may_hold_some_bytes_behind_its_voxels_but_no_bomb(tmp_path, name):
    content = gzip.decompress((good := {s.name: s for s in _images(tmp_path)}[name]).files[name])
    (tmp_path / name).write_bytes(gzip.compress(content + bytes(1 << 16)))
    assert read_volume(tmp_path / name).shape == image().shape
    (tmp_path / name).write_bytes(good.files[name] + gzip.compress(bytes(1 << 27)))
    with pytest.raises(InputFileError, match="unpacks to far more than"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("reader", [read_volume, read_mask, read_segmentation])
def test_a_file_for_which_there_is_no_memory_is_told_in_one_line(tmp_path, reader, monkeypatch):
    write_volume(tmp_path / "a.nrrd", image())

    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr(itk.np, "ascontiguousarray", full)
    with pytest.raises(InputFileError, match="needs more memory than there is"):
        reader(tmp_path / "a.nrrd")


def test_a_metaimage_that_counts_too_few_compressed_bytes_is_refused_not_filled_with_rubbish(tmp_path):
    write_volume(tmp_path / "a.mha", image(UPRIGHT))
    content = (tmp_path / "a.mha").read_bytes()
    size = int(re.search(rb"CompressedDataSize = (\d+)", content)[1])
    wrong = content.replace(b"CompressedDataSize = %d" % size, b"CompressedDataSize = %d" % (size - 100))
    (tmp_path / "a.mha").write_bytes(wrong)
    with pytest.raises(InputFileError, match="cut off"):
        read_volume(tmp_path / "a.mha")


def test_a_dicom_element_that_claims_more_than_its_file_takes_no_memory_for_it(tmp_path):
    _series(tmp_path / "series")
    path = tmp_path / "series" / "0.dcm"
    content = bytearray(path.read_bytes())
    at = content.index(b"\xe0\x7f\x10\x00OW") + 8
    struct.pack_into("<I", content, at, 0x7FFFFFF0)
    path.write_bytes(content)
    tracemalloc.start()
    try:
        parsed(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()
    assert read_volume(tmp_path / "series").shape == (COLUMNS, ROWS, SLICES)  # the pixels themselves are all there


def test_what_is_parsed_is_what_pydicom_reads(tmp_path):
    _series(tmp_path / "series")
    path = tmp_path / "series" / "0.dcm"
    assert parsed(path) == pydicom.dcmread(path)


@pytest.mark.parametrize(
    ("stated", "said"),
    [(b"CompressedDataSize = 0\n", "how many"), (b"", "how many"), (b"CompressedDataSize = 9999999\n", "cut off")],
)
def test_a_metaimage_that_does_not_say_where_its_voxels_end_is_refused_not_filled_with_rubbish(tmp_path, stated, said):
    write_volume(tmp_path / "a.mha", image(UPRIGHT))
    content = re.sub(rb"CompressedDataSize = \d+\n", stated, (tmp_path / "a.mha").read_bytes())
    (tmp_path / "a.mha").write_bytes(content)
    with pytest.raises(InputFileError, match=said):
        read_volume(tmp_path / "a.mha")


def test_compressed_voxels_in_a_file_of_their_own_need_no_count(tmp_path):
    write_volume(tmp_path / "a.mha", image(UPRIGHT))
    header, voxels = (tmp_path / "a.mha").read_bytes().split(b"ElementDataFile = LOCAL\n")
    header = re.sub(rb"CompressedDataSize = \d+\n", b"", header)
    (tmp_path / "a.mhd").write_bytes(header + b"ElementDataFile = a.zraw\n")
    (tmp_path / "a.zraw").write_bytes(voxels)
    assert (read_volume(tmp_path / "a.mhd").array == image(UPRIGHT).array).all()


def test_a_session_file_with_a_wild_name_in_it_is_refused_in_one_short_line(tmp_path):
    (tmp_path / "a.medseg").write_bytes(_wild_zip(b"session.json"))
    with pytest.raises(InputFileError) as raised, Container.open(tmp_path / "a.medseg") as container:
        container.read("session.json")
    assert len(str(raised.value)) < len(str(tmp_path)) + 400


def _wild_zip(name):
    """A zip whose part has a name of 9000 bytes in its own header, and a short one in the table of contents."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name.decode(), b"x" * 9000)
    content = bytearray(buffer.getvalue())
    struct.pack_into("<H", content, 26, 9000)
    return bytes(content)


@pytest.mark.parametrize("name", ["x" * 300 + ".nii.gz", "a\0b.nii.gz", "\ud800.nii.gz"])
def test_a_name_that_no_file_can_have_is_told_in_one_line(tmp_path, name):
    with pytest.raises(OutputError, match="choose another name"):
        write_volume(tmp_path / name, image())
    with pytest.raises(InputFileError):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["start.medseg", "base-00000001.medseg", "mine.medseg"])
def test_a_session_is_never_saved_over_what_its_unsaved_work_is_kept_by(tmp_path, name):
    keeping = Safekeeping.begin(SegmentationSession(image(), CubePainter()), root=tmp_path / "cases")
    keeping.session.click_voxels([Click((3, 3, 3), ClickLabel.FOREGROUND)])
    before = sorted(keeping.case.folder.iterdir())
    (tmp_path / "link").symlink_to(keeping.case.folder)
    for folder in (keeping.case.folder, tmp_path / "link"):
        with pytest.raises(OutputError, match="unsaved work is kept in that folder"):
            keeping.save(folder / name)
    assert sorted(keeping.case.folder.iterdir()) == before
    keeping.save(tmp_path / name)
    keeping.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf8_are_read_written_and_shown(tmp_path, capfdbinary):
    name = os.fsdecode(b"\xff\xfe.nii.gz")
    write_volume(tmp_path / name, image())
    assert read_volume(tmp_path / name).shape == image().shape
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-c", "from medseg_rl.cli import main; main()", "info", str(tmp_path / name)]
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert b"\xff\xfe.nii.gz" in capfdbinary.readouterr().out


def test_an_output_with_a_name_that_is_too_long_is_refused_by_the_commands_too(tmp_path):
    write_volume(tmp_path / "a.nii", image())
    for command in (["convert"], ["quantities", "--output"]):
        name = str(tmp_path / ("x" * 300 + (".csv" if "--output" in command else ".nii")))
        given = [command[0], str(tmp_path / "a.nii"), *command[1:], name]
        assert CliRunner().invoke(app, given).exit_code == OutputError.exit_code


def test_the_folder_one_stands_in_is_converted_like_any_other(tmp_path, monkeypatch):
    _series(tmp_path / "series")
    monkeypatch.chdir(tmp_path / "series")
    outcome = CliRunner().invoke(app, ["convert", ".", "../out.nii.gz"])
    assert outcome.exit_code == 0, outcome.output
    assert read_volume(tmp_path / "out.nii.gz").shape == (COLUMNS, ROWS, SLICES)


def test_a_file_that_nobody_may_look_at_does_not_hide_the_others(tmp_path, monkeypatch):
    _series(tmp_path / "series")
    (tmp_path / "series" / "barred").touch()
    true_is_file = Path.is_file

    def is_file(path, **options):
        if path.name == "barred":
            raise PermissionError(13, "Permission denied")
        return true_is_file(path, **options)

    monkeypatch.setattr(Path, "is_file", is_file)
    assert read_volume(tmp_path / "series").shape == (COLUMNS, ROWS, SLICES)
