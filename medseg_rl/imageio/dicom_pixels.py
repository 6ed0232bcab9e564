"""Decodes the slices of a DICOM series into one array of real values, within what its files can hold.

Where the array lies is not its business.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, RLELossless

from medseg_rl.errors import InputFileError, MedSegError
from medseg_rl.imageio.dicom_codestream import stated_size
from medseg_rl.imageio.dicom_deflated import check_inflated
from medseg_rl.imageio.dicom_series import Series
from medseg_rl.imageio.dicom_slices import Slice, parsed, syntax_of
from medseg_rl.imageio.limits import MAX_VOXELS, times

MOST_PIXELS = 1 << 26  # of one plane: 8192 x 8192
MOST_SHIFTED = 2.0**30  # an intercept by which 16-bit values stay within int32
MOST_COMPRESSED = 5000  # no codec packs a plane, even an empty one with its header, by more than this


def read_stack(path: Path, series: Series, float_type: type[np.floating[Any]]) -> npt.NDArray[Any]:
    """Rescaled values (column, row, slice): integers where the rescaling keeps them whole, `float_type` otherwise.

    `path` is what the user gave. Raises InputFileError: cut off, damaged, or more voxels than can be.
    """
    columns, rows, count = series.shape
    if columns * rows * count > MAX_VOXELS or columns * rows > MOST_PIXELS:
        raise InputFileError(f"{path} holds {times(series.shape)} voxels, more than can be worked on; crop it")
    array: npt.NDArray[Any] | None = None
    for k, item, stored in _stored(series):
        values = _rescaled(item, stored, float_type)
        if array is None:  # after the first slice was decoded, so that a lying header takes no memory
            array = np.empty(series.shape, dtype=values.dtype)
        elif np.result_type(array.dtype, values.dtype) != array.dtype:
            array = array.astype(np.result_type(array.dtype, values.dtype))
        array[:, :, k] = values.T
    assert array is not None  # a series has slices
    return array.astype(float_type, copy=False) if array.dtype.kind == "f" else array


def _stored(series: Series) -> Iterator[tuple[int, Slice, npt.NDArray[Any]]]:
    """Place, slice and stored values (row, column) of every slice, file by file."""
    by_file: dict[Path, list[tuple[int, Slice]]] = defaultdict(list)
    for k, item in enumerate(series.slices):
        by_file[item.path].append((k, item))
    for path, items in by_file.items():
        items.sort(key=lambda pair: pair[1].frame or 0)
        _check_promise(path, items[0][1])
        frames = _decoded(path, [item.frame or 0 for _, item in items], items[0][1].size)
        for (k, item), stored in zip(items, frames, strict=True):
            if stored.shape != item.size[::-1]:
                raise InputFileError(f"{path} says {item.size[::-1]} pixels but holds {stored.shape}; get it again")
            yield k, item, stored


def _check_promise(path: Path, item: Slice) -> None:
    """Raises InputFileError, before any memory is taken, where the header promises more than the file can hold."""
    frames = int(item.header.get("NumberOfFrames") or 1)
    needed = item.size[0] * item.size[1] * frames * int(item.header.get("BitsAllocated") or 16) // 8
    syntax = UID(syntax_of(item.header))
    packed = syntax.is_compressed or syntax == DeflatedExplicitVRLittleEndian
    size = path.stat().st_size
    if needed > size * (MOST_COMPRESSED if packed else 1):
        raise InputFileError(
            f"{path} is cut off or damaged: its {times((*item.size, frames))} pixels need {needed} bytes, the file has"
            f" {size}; get it again"
        )


def _decoded(path: Path, frames: Sequence[int], size: tuple[int, int]) -> Iterator[npt.NDArray[Any]]:
    """The stored values of those frames, in ascending order; `size` is what the header says: columns, rows."""
    with _readable(path):
        pixels = iter_pixels(_source(path, size), indices=frames)
    for number in range(len(frames)):
        with _readable(path):
            stored = next(pixels, None)
        if stored is None:
            raise InputFileError(f"{path} is cut off: it holds {number} of {len(frames)} frames; get it again")
        yield stored


def _source(path: Path, size: tuple[int, int]) -> Path | pydicom.Dataset:
    """The path, to read frame by frame where nothing is packed; else the file as a whole, checked."""
    syntax = pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID
    if syntax == DeflatedExplicitVRLittleEndian:
        check_inflated(path)
        return parsed(path)
    if not UID(syntax).is_compressed or syntax == RLELossless:
        return path
    dataset = parsed(path)
    for frame in generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)):
        stated = stated_size(frame)
        if stated is not None and stated != size:
            raise InputFileError(f"{path} says {times(size)} pixels but packs {times(stated)}; get it again")
    return dataset


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns whatever a parser or decoder raises in the block into one line that names `path`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # padding behind the pixels, odd values in unused tags
            yield
    except MedSegError:
        raise
    except Exception as error:  # decoders raise whatever they like
        said = " ".join(str(error).split())[:200]
        raise InputFileError(f"{path} is cut off or damaged: {said}; get it again") from error


def _rescaled(item: Slice, stored: npt.NDArray[Any], float_type: type[np.floating[Any]]) -> npt.NDArray[Any]:
    """int16 or int32 where the slope is 1 and the intercept whole, `float_type` otherwise."""
    fits = item.intercept.is_integer() and abs(item.intercept) <= MOST_SHIFTED
    if item.slope == 1 and fits and stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2:
        whole = np.asarray(stored, dtype=np.int32) + np.int32(item.intercept)
        narrow = whole.min() >= -32768 and whole.max() <= 32767
        return whole.astype(np.int16) if narrow else whole
    with np.errstate(over="ignore"):  # becomes infinite, which is looked for later
        return (np.asarray(stored, dtype=np.float64) * item.slope + item.intercept).astype(float_type)
