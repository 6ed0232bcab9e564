"""Every kind of bad input: one clear line, its exit code, nothing lost, and the trace only when asked for."""

from __future__ import annotations

import gzip
import json
import resource
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from medseg_rl.imageio.atomic import atomic_path

if TYPE_CHECKING:
    from conftest import Answer, Desk

CENTRE = (12, 11, 10)
SHAPE = (24, 22, 20)


def refused(answer: Answer, code: int, *says: str) -> None:
    """One line on stderr that says so, nothing on stdout, that exit code."""
    assert answer.code == code, answer.stderr
    lines = [line for line in answer.stderr.splitlines() if not line.startswith("medseg-rl: warning")]
    assert len(lines) == 1, answer.stderr
    assert lines[0].startswith("medseg-rl: ")
    for text in says:
        assert text in lines[0]
    assert answer.stdout == ""


def header_edited(path: Path, offset: int, form: str, *values: float) -> None:
    """Overwrites header fields of a gzipped NIfTI file."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(form, content, offset, *values)
    path.write_bytes(gzip.compress(bytes(content)))


def test_a_missing_image(desk: Desk) -> None:
    refused(desk.segment(image=desk.folder / "none.nii.gz"), 3, "none.nii.gz")


def test_a_file_that_is_no_image(desk: Desk) -> None:
    path = desk.folder / "notes.nii.gz"
    path.write_text("not an image")
    refused(desk.segment(image=path), 3, "notes.nii.gz")
    refused(desk.run("info", path), 3, "notes.nii.gz")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_truncated_image(desk: Desk, share: float) -> None:
    content = desk.image.read_bytes()
    desk.image.write_bytes(content[: int(len(content) * share)])
    refused(desk.segment(), 3, "image.nii.gz")


def test_a_mask_of_another_grid(desk: Desk) -> None:
    start = desk.write("start.nii.gz", np.ones((10, 10, 10), np.uint8))
    refused(desk.segment("--start", start), 4, "10", "24")


def test_a_start_mask_without_the_label(desk: Desk) -> None:
    start = desk.write("start.nii.gz", desk.ball(4.0).astype(np.uint8) * 3)
    refused(desk.segment("--start", start), 3, "holds 3, but not label 1", "--label")


def test_a_start_that_is_neither_a_word_nor_a_file(desk: Desk) -> None:
    refused(desk.segment("--start", "magic"), 3, "magic")


def test_a_click_outside(desk: Desk) -> None:
    clicks = desk.clicks(((400, 0, 0), "foreground"))
    refused(desk.segment(clicks=clicks), 5, "click 1", "outside", "RAS+")


def test_a_click_in_a_locked_label(desk: Desk) -> None:
    start = np.zeros(SHAPE, np.uint8)
    start[:6], start[18:] = 7, 1
    file = desk.write("start.nii.gz", start)
    refused(desk.segment("--start", file, clicks=desk.clicks(((2, 2, 2), "foreground"))), 5, "7", "lock")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"clicks": 3}', '{"format": "medseg-rl clicks", "version": 9}'])
def test_a_click_file_that_cannot_be_understood(desk: Desk, content: str) -> None:
    path = desk.folder / "bad.json"
    path.write_text(content)
    refused(desk.segment(clicks=path), 5, "bad.json")


def test_clicks_that_name_several_structures(desk: Desk) -> None:
    entries = [{"point_mm": desk.world(CENTRE), "label": "foreground", "target": name} for name in ("liver", "spleen")]
    path = desk.folder / "two.json"
    path.write_text(json.dumps({"format": "medseg-rl clicks", "version": 1, "clicks": entries}))
    refused(desk.segment(clicks=path), 5, "liver, spleen", '"target": 2')


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers(desk: Desk, value: float) -> None:
    array = np.full(SHAPE, 5.0, np.float32)
    array[3, 3, 3] = value
    refused(desk.segment(image=desk.write("image.nii.gz", array)), 3, "1")


def test_a_constant_image_is_no_error(desk: Desk) -> None:
    path = desk.write("constant.nii.gz", np.full(SHAPE, 5, np.int16))
    answer = desk.segment(image=path)
    assert answer.code == 0, answer.stderr
    assert desk.mask[CENTRE] == 1


def test_a_single_slice(desk: Desk) -> None:
    path = desk.write("slice.nii.gz", np.ones((24, 22, 1), np.float32))
    refused(desk.segment(image=path), 4, "slice.nii.gz", "single slice")


def test_a_two_dimensional_image(desk: Desk) -> None:
    path = desk.write("flat.nii.gz", np.ones((24, 22), np.float32))
    refused(desk.segment(image=path), 4, "flat.nii.gz")


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan")])
def test_a_spacing_that_makes_no_volume(desk: Desk, spacing: float) -> None:
    header_edited(desk.image, 76, "<4f", 1.0, spacing, 1.0, 1.0)  # pixdim
    header_edited(desk.image, 252, "<2h", 0, 0)  # neither qform nor sform
    refused(desk.segment(), 4, "image.nii.gz")


def test_dimensions_that_the_file_cannot_hold(desk: Desk) -> None:
    header_edited(desk.image, 42, "<3h", 32000, 32000, 32000)
    refused(desk.segment(), 3, "image.nii.gz")


def test_a_volume_that_the_memory_cannot_hold(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import medseg_rl.cli.options as options

    monkeypatch.setattr(options, "free_memory_gb", lambda: 0.0001)
    refused(desk.segment(), 3, "24 x 22 x 20", "0.0 GB are free", "crop")


def test_a_bundle_that_is_not_there(desk: Desk) -> None:
    refused(desk.segment("--bundle", "liver"), 6, "liver", "untrained")


def test_no_bundle_at_all(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import medseg_rl.bundle.search as search

    monkeypatch.setattr(search, "_PACKAGE", tmp_path / "package")
    monkeypatch.delenv("MEDSEG_RL_BUNDLES")
    refused(desk.segment(), 6, "MEDSEG_RL_BUNDLES")


@pytest.mark.parametrize("what", ["changed", "truncated", "missing", "no metadata"])
def test_a_corrupted_bundle(desk: Desk, what: str) -> None:
    copy = desk.folder / "copy"
    shutil.copytree(desk.bundles / "untrained", copy)
    weights = copy / "models" / "agent.safetensors"
    content = weights.read_bytes()
    if what == "changed":
        weights.write_bytes(content[:-4] + b"\x00\x01\x02\x03")
    elif what == "truncated":
        weights.write_bytes(content[:100])
    elif what == "missing":
        weights.unlink()
    else:
        (copy / "configs" / "metadata.json").write_text("{")
    refused(desk.segment("--bundle", copy), 6, "copy")


def test_an_output_of_an_unknown_kind_is_refused_before_any_work(desk: Desk) -> None:
    refused(desk.segment("-o", desk.folder / "mask.doc"), 7, "mask.doc")


def test_an_output_folder_that_does_not_exist(desk: Desk) -> None:
    refused(desk.segment("-o", desk.folder / "none" / "mask.nii.gz"), 7, "none")


def test_the_input_image_is_never_overwritten(desk: Desk) -> None:
    before = desk.image.read_bytes()
    refused(desk.segment("-o", desk.image), 7, "is the input")
    link = desk.folder / "link.nii.gz"
    link.symlink_to(desk.image)
    refused(desk.segment("-o", link), 7, "is the input")
    assert desk.image.read_bytes() == before


def test_an_output_that_another_process_writes(desk: Desk) -> None:
    with atomic_path(desk.folder / "mask.nii.gz") as temporary:
        refused(desk.segment(), 7, "another process")
        temporary.write_bytes(b"x")


def test_a_full_disk_leaves_the_old_mask(desk: Desk) -> None:
    mask = desk.folder / "mask.nii.gz"
    mask.write_bytes(b"the old mask")
    arguments = ("segment", desk.image, "--clicks", desk.clicks((CENTRE, "foreground")), "--start", "empty", "-o", mask)
    process = desk.start(*arguments, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 7, stderr
    assert "full" in stderr
    assert "Traceback" not in stderr
    assert mask.read_bytes() == b"the old mask"
    assert [path.name for path in desk.folder.iterdir() if "partial" in path.name] == []


def test_wrong_use_of_the_command_line(desk: Desk) -> None:
    assert desk.run("segment", desk.image).code == 2
    assert desk.run("frobnicate").code == 2


def test_an_error_is_json_too_when_json_is_asked_for(desk: Desk) -> None:
    answer = desk.segment("--json", "--bundle", "liver")
    assert answer.code == 6
    assert answer.json["error"]["kind"] == "BundleError"
    assert answer.json["error"]["exit_code"] == 6


def test_debug_shows_the_trace_wherever_it_stands(desk: Desk) -> None:
    for arguments in (("--debug", "info", "none.nii"), ("info", "none.nii", "--debug")):
        process = desk.start(*arguments)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 3
        assert "Traceback" in stderr
        assert stderr.splitlines()[-1].startswith("medseg-rl: ")


def test_a_defect_of_the_program_is_one_line_with_its_own_code(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import medseg_rl.imageio

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by\nnothing")

    monkeypatch.setattr(medseg_rl.imageio, "describe", broken)
    refused(desk.run("info", desk.image), 70, "ZeroDivisionError: by", "--debug")
