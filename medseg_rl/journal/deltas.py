"""Box deltas as bytes that name themselves by their SHA-256, one after another in a file that only grows.

A delta that was read is checked before anybody may apply it: no count, box or compressed part is taken at its word.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import IO, Any

import numpy as np

from medseg_rl.errors import InputFileError
from medseg_rl.history import BoxDelta
from medseg_rl.imageio.limits import MAX_VOXELS
from medseg_rl.volume import Box, Index

DIGEST_BYTES = 32
LENGTH_BYTES = 4
MOST_RECORD_BYTES = 2**30  # of one delta, compressed
MOST_HEADER_BYTES = 512
INTEGERS = frozenset({"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8"})


def packed(delta: BoxDelta) -> bytes:
    """A delta as bytes: one line of JSON, then its three compressed parts."""
    header = {
        "start": [int(i) for i in delta.box.start],
        "stop": [int(i) for i in delta.box.stop],
        "type": delta.dtype.newbyteorder("<").str,
        "voxels": delta.voxels,
        "bytes": [len(delta.changed), len(delta.old), len(delta.new)],
    }
    line = json.dumps(header, separators=(",", ":")).encode("ascii")
    return b"".join((line, b"\n", delta.changed, delta.old, delta.new))


def unpacked(payload: bytes) -> BoxDelta:
    """The delta that `packed` gave. Raises InputFileError where its parts do not agree."""
    line, found, _ = payload[: MOST_HEADER_BYTES + 1].partition(b"\n")
    try:
        header = json.loads(line)
        box = Box(_index(header["start"]), _index(header["stop"]))
        voxels, lengths, kind = int(header["voxels"]), [int(n) for n in header["bytes"]], str(header["type"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InputFileError("a stored change has no readable header; the file is damaged") from None
    at = len(line) + 1
    if not found or kind not in INTEGERS or len(lengths) != 3 or min(lengths) < 0 or at + sum(lengths) != len(payload):
        raise InputFileError("a stored change does not have the length it states; the file is damaged")
    cuts = [at, at + lengths[0], at + lengths[0] + lengths[1], len(payload)]
    changed, old, new = (payload[a:b] for a, b in pairwise(cuts))
    delta = BoxDelta(box, np.dtype(kind).newbyteorder("="), changed, old, new, voxels)
    _check(delta)
    return delta


def digest_of(payload: bytes) -> str:
    """The name of a packed delta."""
    return hashlib.sha256(payload).hexdigest()


def record(payload: bytes) -> bytes:
    """A packed delta as it stands in a file of records: length, digest, payload."""
    return len(payload).to_bytes(LENGTH_BYTES, "little") + hashlib.sha256(payload).digest() + payload


def records(handle: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Digest and payload of every whole record from here on; ends silently where one is cut off or damaged."""
    while True:
        head = handle.read(LENGTH_BYTES + DIGEST_BYTES)
        length = int.from_bytes(head[:LENGTH_BYTES], "little")
        if len(head) < LENGTH_BYTES + DIGEST_BYTES or length > MOST_RECORD_BYTES:
            return
        payload = handle.read(length)
        if len(payload) < length or hashlib.sha256(payload).digest() != head[LENGTH_BYTES:]:
            return
        yield head[LENGTH_BYTES:].hex(), payload


def check_fits(delta: BoxDelta, shape: Index, dtype: np.dtype[Any]) -> None:
    """Raises InputFileError where a delta cannot be applied to an array of that shape and type."""
    if any(b > n for b, n in zip(delta.box.stop, shape, strict=True)) or delta.dtype != dtype:
        raise InputFileError(
            f"a stored change of {delta.dtype} reaches to voxel {delta.box.stop}, "
            f"but its array is {shape} of {dtype}; the session belongs to another image or is damaged"
        )


def _check(delta: BoxDelta) -> None:
    shape = delta.box.shape
    if min(delta.box.start) < 0 or min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        raise InputFileError(f"a stored change covers the impossible box {delta.box}; the file is damaged")
    if not 1 <= delta.voxels <= delta.box.voxels:
        raise InputFileError(f"a stored change claims {delta.voxels} voxels in {delta.box}; the file is damaged")
    bits = _inflated(delta.changed, -(-delta.box.voxels // 8))
    if int(np.unpackbits(np.frombuffer(bits, np.uint8), count=delta.box.voxels).sum(dtype=np.int64)) != delta.voxels:
        raise InputFileError("a stored change does not mark as many voxels as it claims; the file is damaged")
    for part in (delta.old, delta.new):
        _inflated(part, delta.voxels * delta.dtype.itemsize)


def _inflated(part: bytes, size: int) -> bytes:
    """A compressed part that must give `size` bytes; never takes more memory than that."""
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(part, size + 1)
    except zlib.error:
        raise InputFileError("a stored change cannot be unpacked; the file is damaged") from None
    if len(content) != size or not stream.eof or stream.unused_data:
        raise InputFileError(f"a stored change does not unpack to its {size} bytes; the file is damaged")
    return content


def _index(numbers: Any) -> Index:
    a, b, c = (int(n) for n in numbers)
    return a, b, c
