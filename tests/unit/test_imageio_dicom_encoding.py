"""What is encoded beforehand is byte by byte what pydicom writes, and is read back as it was."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_sequence
from pydicom.uid import ExplicitVRLittleEndian

from medseg_rl.imageio.dicom_encoding import FRAMES, encode_frames, encoded_items


def code(meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "113076", "DCM", meaning
    return item


def frames(count: int, planes: int = 3) -> list[Dataset]:
    """Groups of frames as writers make them: places shared by those of one slice, numbers of their own."""
    places, groups = [], []
    for plane in range(planes):
        place = Dataset()
        place.ImagePositionPatient = [-1.5, 2.25, 10.0 * plane]
        places.append(place)
    for n in range(count):
        content, segment, derivation, group = Dataset(), Dataset(), Dataset(), Dataset()
        content.DimensionIndexValues = [n % 2 + 1, n // planes + 1]
        segment.ReferencedSegmentNumber = n % 2 + 1
        derivation.DerivationCodeSequence = [code("Größe")]
        derivation.SourceImageSequence = []
        group.FrameContentSequence = [content]
        group.PlanePositionSequence = [places[n % planes]]
        group.SegmentIdentificationSequence = [segment]
        group.DerivationImageSequence = [derivation] if n % 4 else []
        groups.append(group)
    return groups


def by_pydicom(items: list[Dataset], characters: str) -> bytes:
    holder = Dataset()
    holder.PerFrameFunctionalGroupsSequence = items
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_sequence(buffer, holder[FRAMES], [characters])
    return buffer.getvalue()


@pytest.mark.parametrize(("characters", "count"), [("ISO_IR 192", 11), ("ISO_IR 100", 11), ("ISO_IR 192", 0)])
def test_the_bytes_are_those_that_pydicom_writes(characters: str, count: int) -> None:
    items = frames(count)
    assert encoded_items(items, characters) == by_pydicom(items, characters)


def test_an_item_that_comes_again_with_another_content_is_encoded_anew() -> None:
    one, other = frames(1)[0], frames(2)[1]
    assert encoded_items([one, other, one], "ISO_IR 192") == by_pydicom([one, other, one], "ISO_IR 192")


def test_an_object_is_read_back_as_it_was() -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.SpecificCharacterSet, dataset.SeriesDescription = "ISO_IR 192", "Größe"
    dataset.BitsAllocated, dataset.PixelData = 8, b"\1\2\3\4"
    dataset.PixelRepresentation, dataset.SmallestImagePixelValue = 0, 1  # of a kind that depends on others
    dataset.PerFrameFunctionalGroupsSequence = frames(9)
    encode_frames(dataset)
    written = BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    written.seek(0)
    read = pydicom.dcmread(written)
    assert list(read.PerFrameFunctionalGroupsSequence) == frames(9)
    assert (read.SeriesDescription, read.PixelData, read.SmallestImagePixelValue) == ("Größe", b"\1\2\3\4", 1)
