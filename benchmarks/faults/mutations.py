"""Turns a good input into a bad one: flips, truncations, lying headers, bombs, names that lead elsewhere. All seeded.

A mutation that does not suit a specimen gives None. Compressed files are also damaged inside, where the checksum of
their outside does not tell.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import random
import re
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from benchmarks.faults.lies import dicom_lie, header_lie
from benchmarks.faults.specimens import BUNDLE, RECORDS, SESSION, Specimen

Mutation = Callable[[Specimen, random.Random], Specimen | None]
WRONG: tuple[Any, ...] = (
    -1,
    0,
    1,
    2**31,
    2**40,
    10**400,
    1e308,
    None,
    "x",
    "",
    [],
    [[]],
    {},
    True,
    0.5,
    "\x00",
    "../x",
)
BOMB_BYTES = 1 << 28  # what a bomb unpacks to
ELSEWHERE = ("../evil.json", "/tmp/evil.json", "state/../../evil.json", "..\\evil.json", "C:\\evil.json", "a/" * 99)


def mutated(specimen: Specimen, rng: random.Random) -> tuple[str, Specimen]:
    """The name of a mutation that suits, and what it made of the specimen."""
    while True:
        name = rng.choices(list(MUTATIONS), [weight for weight, _ in MUTATIONS.values()])[0]
        found = MUTATIONS[name][1](specimen, rng)
        if found is not None:
            return name, found


def _flips(specimen: Specimen, rng: random.Random) -> Specimen:
    name = rng.choice(specimen.targets)
    return specimen.with_file(name, _flipped(specimen.files[name], rng))


def _flipped(content: bytes, rng: random.Random) -> bytes:
    """One to sixteen bytes other than they were, half the time near the beginning."""
    found = bytearray(content)
    reach = min(len(found), 400) if rng.random() < 0.5 else len(found)
    for _ in range(rng.choice((1, 1, 2, 4, 16)) if found else 0):
        at = rng.randrange(reach)
        found[at] = rng.choice((found[at] ^ (1 << rng.randrange(8)), rng.randrange(256), 0, 255))
    return bytes(found)


def _truncated(specimen: Specimen, rng: random.Random) -> Specimen:
    name = rng.choice(specimen.targets)
    content = specimen.files[name]
    kept = content[: rng.randrange(len(content) + 1)]
    if rng.random() < 0.3:  # as some file systems leave it after a power cut
        kept += bytes(len(content) - len(kept))
    return specimen.with_file(name, kept)


def _reshuffled(specimen: Specimen, rng: random.Random) -> Specimen:
    """A piece cut out, written twice, or put in from another place."""
    name = rng.choice(specimen.targets)
    content = specimen.files[name]
    a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    piece = content[a : min(b, a + 300)]
    place = rng.randrange(len(content) + 1)
    made = rng.choice((content[:a] + content[a + len(piece) :], content[:place] + piece + content[place:]))
    return specimen.with_file(name, made)


def _inside_gzip(specimen: Specimen, rng: random.Random) -> Specimen | None:
    """Flips within what is compressed, compressed again with a right checksum."""
    name = rng.choice(specimen.targets)
    content = specimen.files[name]
    head, packed = _packed_part(content)
    if packed is None:
        return None
    is_gzip = packed[:2] == b"\x1f\x8b"
    plain = gzip.decompress(packed) if is_gzip else zlib.decompress(packed)
    bad = _flipped(plain, rng) if rng.random() < 0.7 else plain[: rng.randrange(len(plain))]
    return specimen.with_file(name, head + (gzip.compress(bad, 1) if is_gzip else zlib.compress(bad)))


def _packed_part(content: bytes) -> tuple[bytes, bytes | None]:
    """A text header before compressed voxels, or none; None where nothing is compressed."""
    if content[:2] == b"\x1f\x8b":
        return b"", content
    ends = {b"NRRD": b"\n\n", b"Obje": b"ElementDataFile = LOCAL\n"}
    end = content.find(ends.get(content[:4], b"\0none\0"))
    if end < 0:
        return content, None
    cut = end + len(ends[content[:4]])
    return content[:cut], content[cut:] if content[cut : cut + 1] in (b"\x1f", b"\x78") else None


def _bomb(specimen: Specimen, rng: random.Random) -> Specimen | None:
    """A quarter of a gigabyte of zeros behind, or in place of, what is compressed."""
    name = rng.choice(specimen.targets)
    if specimen.kind == SESSION:
        return _zip_changed(specimen, lambda parts: _bombed_part(parts, rng))
    if specimen.name == "deflated series":
        return specimen.with_file(name, _deflate_bomb(specimen.files[name]))
    head, packed = _packed_part(specimen.files[name])
    if packed is None:
        return None
    if packed[:2] == b"\x1f\x8b":
        plain = gzip.decompress(packed)
        bomb = packed + _gzip_bomb(b"") if rng.random() < 0.5 else _gzip_bomb(plain)
    else:
        bomb = zlib.compress(zlib.decompress(packed) + bytes(BOMB_BYTES), 9)
    if rng.random() < 0.4:  # a header that promises as much
        head = re.sub(rb"sizes: [\d ]+", b"sizes: 1024 512 512", head)
        head = re.sub(rb"DimSize = [\d ]+", b"DimSize = 1024 512 512", head)
    return specimen.with_file(name, head + bomb)


@functools.cache
def _gzip_bomb(plain: bytes) -> bytes:
    return gzip.compress(plain + bytes(BOMB_BYTES), 9)


def _deflate_bomb(content: bytes) -> bytes:
    """A deflated DICOM file with a gigabyte and a quarter behind its elements."""
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    found = packer.compress(zlib.decompress(content[start:], -zlib.MAX_WBITS)) + packer.flush(zlib.Z_FULL_FLUSH)
    return content[:start] + found + 5 * _deflated_zeros() + b"\x03\x00"  # and an empty last block


@functools.cache
def _deflated_zeros() -> bytes:
    """Blocks of zeros that refer to nothing before them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(bytes(BOMB_BYTES)) + packer.flush(zlib.Z_FULL_FLUSH)


def _bombed_part(parts: dict[str, bytes], rng: random.Random) -> None:
    parts[rng.choice(sorted(parts))] = bytes(BOMB_BYTES)


def _slip(specimen: Specimen, rng: random.Random) -> Specimen | None:
    """A part, a file or a reference that would lie outside of where it belongs."""
    where = rng.choice(ELSEWHERE)
    if specimen.kind == SESSION:
        return _zip_changed(specimen, lambda parts: parts.update({where: parts.pop(rng.choice(sorted(parts)))}))
    if specimen.kind == BUNDLE:
        manifest = json.loads(specimen.files["manifest.json"])
        manifest["files"][where] = manifest["files"].pop(rng.choice(sorted(manifest["files"])))
        return specimen.with_file("manifest.json", json.dumps(manifest).encode())
    if specimen.kind == RECORDS:
        line = specimen.files["records.jsonl"]
        return specimen.with_file(
            "records.jsonl", re.sub(rb"arrays/[0-9a-f]+\.npz", lambda _: json.dumps(where)[1:-1].encode(), line)
        )
    name = rng.choice(specimen.targets)
    text = specimen.files[name]
    made = re.sub(rb"ElementDataFile = \S+", lambda _: b"ElementDataFile = " + where.encode(), text)
    made = re.sub(rb"encoding: \w+", lambda _: b"encoding: raw\ndata file: " + where.encode(), made)
    return None if made == text else specimen.with_file(name, made)


def _zip_changed(specimen: Specimen, change: Callable[[dict[str, bytes]], None]) -> Specimen:
    """A session file with other parts, its table of contents and checksums right."""
    (name,) = specimen.targets
    with zipfile.ZipFile(io.BytesIO(specimen.files[name])) as archive:
        kinds = {info.filename: info.compress_type for info in archive.infolist()}
        parts = {part: archive.read(part) for part in archive.namelist()}
    change(parts)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part, content in parts.items():
            large = len(content) >= BOMB_BYTES
            archive.writestr(zipfile.ZipInfo(part), content, zipfile.ZIP_DEFLATED if large else kinds.get(part, 0))
    return specimen.with_file(name, buffer.getvalue())


def _zip_part(specimen: Specimen, rng: random.Random) -> Specimen | None:
    """A part of a session file flipped, cut, left out or with a wrong value, under a right checksum."""
    if specimen.kind != SESSION:
        return None

    def change(parts: dict[str, bytes]) -> None:
        name = rng.choice(sorted(parts))
        roll = rng.random()
        if roll < 0.1:
            del parts[name]
        elif roll < 0.7 and name.endswith(".json"):
            parts[name] = _with_wrong_value(parts[name], rng) or b""
        else:
            parts[name] = _flipped(parts[name], rng) if roll < 0.85 else parts[name][: rng.randrange(len(parts[name]))]

    return _zip_changed(specimen, change)


def _wrong_value(specimen: Specimen, rng: random.Random) -> Specimen | None:
    """A JSON file with one value that does not belong there; hashes and checksums over it are made right again."""
    name = rng.choice(specimen.targets)
    if name.endswith(".jsonl"):
        return _wrong_line(specimen, name, rng)
    made = _with_wrong_value(specimen.files[name], rng) if name.endswith(".json") else None
    if made is None:
        return None
    changed = specimen.with_file(name, made)
    if specimen.kind == BUNDLE and name != "manifest.json":
        from medseg_rl.bundle.layout import file_hash

        manifest = json.loads(specimen.files["manifest.json"])
        manifest["files"][name] = file_hash(made)
        changed = changed.with_file("manifest.json", json.dumps(manifest).encode())
    return changed


def _wrong_line(specimen: Specimen, name: str, rng: random.Random) -> Specimen | None:
    from medseg_rl.journal.lines import decoded_line, encoded_line

    lines = specimen.files[name].splitlines(keepends=True)
    number = rng.randrange(len(lines))
    journal = decoded_line(lines[number])
    plain = lines[number] if journal is None else json.dumps(journal).encode()
    made = _with_wrong_value(plain, rng, finite=journal is not None)
    if made is None:
        return None
    lines[number] = made + b"\n" if journal is None else encoded_line(json.loads(made))
    return specimen.with_file(name, b"".join(lines))


def _with_wrong_value(content: bytes, rng: random.Random, *, finite: bool = False) -> bytes | None:
    try:
        whole = json.loads(content)
    except ValueError:
        return None
    inner, key = whole, None
    while isinstance(inner, dict | list) and inner:
        key = rng.choice(sorted(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
        if not isinstance(inner[key], dict | list) or not inner[key] or rng.random() < 0.2:
            if isinstance(inner, dict) and rng.random() < 0.15:
                del inner[key]
            else:
                inner[key] = rng.choice(WRONG)
            break
        inner = inner[key]
    if key is None:
        return None
    made = json.dumps(whole)
    if not finite and rng.random() < 0.05:
        made = rng.choice(("[" * 100000, made.replace(":", ":" + "[" * 3000, 1), made.replace("1", "NaN", 1)))
    return made.encode()


MUTATIONS: dict[str, tuple[int, Mutation]] = {
    "byte flips": (6, _flips),
    "truncation": (4, _truncated),
    "pieces moved": (2, _reshuffled),
    "damage inside compression": (3, _inside_gzip),
    "lying header": (8, header_lie),
    "lying DICOM tag": (8, dicom_lie),
    "wrong value in JSON": (6, _wrong_value),
    "damaged zip part": (6, _zip_part),
    "decompression bomb": (2, _bomb),
    "name that leads elsewhere": (2, _slip),
}
