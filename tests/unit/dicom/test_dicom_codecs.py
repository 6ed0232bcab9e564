"""Compressed DICOM: the same voxels under every transfer syntax, damage in one line, a missing decoder by its name."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medseg_rl.errors import InputFileError
from medseg_rl.imageio import dicom_checks, dicom_deflated, read_volume
from medseg_rl.imageio.dicom_codestream import stated_size

BY_PYDICOM = (JPEGLSLossless, JPEG2000Lossless, RLELossless)
BY_GDCM = {JPEGLosslessSV1: "JPEGLosslessProcess14_1", JPEGLossless: "JPEGLosslessProcess14"}
NATIVE = (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


@pytest.fixture
def smooth(dicom_file):
    """Three slices large and smooth enough for every codec, with values over the whole range of CT."""

    def build(folder, depths=(0, 2, 4), **changes):
        y, x = np.mgrid[0:40, 0:48]
        for n, z in enumerate(depths):
            stored = np.rint(1500 * np.sin(x / 9 + n) + 1400 * np.cos(y / 7)).astype(np.int16)
            dicom_file(folder / f"{n}", z, n, stored, **changes)
        return folder

    return build


def compress(path, syntax):
    """Rewrites a file under another transfer syntax."""
    if syntax in BY_GDCM:
        gdcm = pytest.importorskip("gdcm")
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, BY_GDCM[syntax])))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetFileName(str(path))
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return
    dataset = pydicom.dcmread(path)
    if syntax in BY_PYDICOM:
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(path)
        return
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = dataset.pixel_array.astype(">i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        path,
        dataset,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        force_encoding=True,
    )


@pytest.mark.parametrize("syntax", [*BY_PYDICOM, *BY_GDCM, *NATIVE], ids=lambda uid: uid.keyword)
def test_every_lossless_transfer_syntax_gives_the_same_voxels(tmp_path, smooth, syntax):
    folder = smooth(tmp_path / "ct")
    plain = read_volume(folder)
    for path in folder.iterdir():
        compress(path, syntax)
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    packed = read_volume(folder)
    np.testing.assert_array_equal(packed.array, plain.array)
    assert packed.array.dtype == np.int16
    np.testing.assert_array_equal(packed.affine, plain.affine)


@pytest.mark.parametrize("syntax", [*BY_PYDICOM, *BY_GDCM], ids=lambda uid: uid.keyword)
def test_the_reader_of_itk_decodes_the_same_numbers(tmp_path, smooth, syntax):
    folder = smooth(tmp_path / "ct")
    for path in folder.iterdir():
        compress(path, syntax)
    other = np.stack([sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{n}")))[0].T for n in range(3)], axis=-1)
    np.testing.assert_array_equal(read_volume(folder).array, other)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, *BY_GDCM], ids=lambda uid: uid.keyword)
def test_a_frame_that_states_another_size_is_refused_before_it_is_decoded(tmp_path, smooth, syntax):
    folder = smooth(tmp_path / "ct")
    for path in folder.iterdir():
        compress(path, syntax)
    dataset = pydicom.dcmread(folder / "1")
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    assert stated_size(frame) == (48, 40)
    here = 8 if syntax == JPEG2000Lossless else frame.index(bytes([0, 40, 0, 48])) + 2
    lying = frame[:here] + (b"\x7f\xff\xff\xff" if here == 8 else b"\xff\xff") + frame[here + (4 if here == 8 else 2) :]
    dataset.PixelData = pydicom.encaps.encapsulate([lying])
    dataset.save_as(folder / "1")
    with pytest.raises(InputFileError, match=r"1 says 48 x 40 pixels but packs (65535|2\.14748e\+09) x 40"):
        read_volume(folder)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xc4\x00\x00" * 5, b"\xff\x4f\xff\x51"]
)
def test_what_states_no_size_is_left_to_the_decoder(content):
    assert stated_size(content) is None


@pytest.mark.parametrize("syntax", [*BY_PYDICOM, *BY_GDCM], ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("damage", ["cut", "zeros"])
def test_damaged_compressed_pixels_are_named_in_one_line_or_read_to_the_full_size(tmp_path, smooth, syntax, damage):
    folder = smooth(tmp_path / "ct")
    for path in folder.iterdir():
        compress(path, syntax)
    content = bytearray((folder / "1").read_bytes())
    start = len(content) - 200
    content[start:] = b"" if damage == "cut" else bytes(100) + content[start + 100 :]
    (folder / "1").write_bytes(content)
    said = refusal(folder)
    if said:  # a codec may not notice changed bits
        assert "1 is cut off" in said or "1 says" in said or "is a damaged DICOM file" in said
        assert "\n" not in said
    else:
        assert damage == "zeros"
        assert read_volume(folder).shape == (48, 40, 3)


def refusal(folder):
    """What reading is refused with; empty where it is not."""
    try:
        read_volume(folder)
    except InputFileError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("syntax", "name"), [("1.2.840.10008.1.2.4.94", "JPIP Referenced"), ("1.2.840.10008.1.2.4.100", "MPEG2 Main")]
)
def test_a_compression_that_nothing_decodes_is_named(tmp_path, smooth, syntax, name):
    folder = smooth(tmp_path / "ct")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        dataset.save_as(path)
    with pytest.raises(InputFileError, match=rf"compressed as {name}.*{syntax}.*no decoder is installed"):
        read_volume(folder)


def test_a_missing_decoder_is_named_with_the_extra_to_install(tmp_path, smooth, monkeypatch):
    folder = smooth(tmp_path / "ct")
    for path in folder.iterdir():
        compress(path, JPEG2000Lossless)
    monkeypatch.setattr(dicom_checks, "can_decode", lambda syntax: False)
    with pytest.raises(InputFileError, match=r'JPEG 2000 .*pip install "medseg-rl\[dicom-codecs\]"'):
        read_volume(folder)


def test_a_deflated_bomb_is_refused_before_it_is_unpacked(tmp_path, smooth):
    folder = smooth(tmp_path / "ct")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PixelData = bytes(1 << 25)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path)
    tracemalloc.start()
    try:
        with pytest.raises(InputFileError, match="DICOM file"):
            read_volume(folder)
        assert tracemalloc.get_traced_memory()[1] < 5 * dicom_deflated.HEAD_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("pixels", [1000, dicom_deflated.HEAD_BYTES + 999])
def test_a_deflated_file_may_unpack_to_what_its_header_accounts_for(tmp_path, smooth, pixels, monkeypatch):
    path = sorted(smooth(tmp_path / "ct").iterdir())[0]
    dataset = pydicom.dcmread(path)
    dataset.Rows, dataset.Columns, dataset.PixelData = 500, 1 + pixels // 1000, bytes(pixels + pixels % 2)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    dicom_deflated.check_inflated(path)
    monkeypatch.setattr(dicom_deflated, "FIRST_PIXELS", 1 << 40)  # its header alone, without an end
    monkeypatch.setattr(dicom_deflated, "MOST_WITHOUT_PIXELS", dicom_deflated.HEAD_BYTES)
    if pixels > dicom_deflated.HEAD_BYTES:
        with pytest.raises(InputFileError, match="unpacks to more than 16 MiB"):
            dicom_deflated.check_inflated(path)


def test_a_compressed_file_cannot_promise_more_than_any_codec_packs(tmp_path, smooth):
    folder = smooth(tmp_path / "ct")
    for path in folder.iterdir():
        compress(path, RLELossless)
        dataset = pydicom.dcmread(path)
        dataset.Rows = dataset.Columns = 8000
        dataset.save_as(path)
    with pytest.raises(InputFileError, match="cut off or damaged: its 8000 x 8000 x 1 pixels need 128000000 bytes"):
        read_volume(folder)


def test_decoders_do_not_come_with_the_reading_of_other_files():
    import subprocess

    code = "import sys, medseg_rl.imageio; print(sorted({'pydicom', 'gdcm', 'openjpeg'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_syntax_that_no_package_decodes_asks_for_no_package(tmp_path, smooth):
    folder = smooth(tmp_path / "ct")
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        image.compress(RLELossless)
        image.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")
        image.save_as(path)
    with pytest.raises(
        InputFileError, match="no decoder is installed; none is known here: get the images again"
    ) as said:
        read_volume(folder)
    assert "pip install" not in str(said.value)


@pytest.mark.parametrize("intercept", ["1e300", "2147483647", "-2147483648"])
def test_an_intercept_beyond_whole_numbers_neither_wraps_nor_crashes(tmp_path, smooth, intercept):
    folder = smooth(tmp_path / "ct")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, intercept
        dataset.save_as(path)
    if float(intercept) > 1e38:
        with pytest.raises(InputFileError, match="infinite"):
            read_volume(folder)
    else:
        assert abs(read_volume(folder).array.mean() - float(intercept)) < 5000
