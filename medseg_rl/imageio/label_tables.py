"""Label tables as files of their own: ITK-SNAP's label descriptions, 3D Slicer's colour tables, JSON.

Values, names and colours only; voxels are elsewhere, and nothing is renumbered. Background (0) is no label and is left
out. JSON holds locks and layers too, the others do not.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from medseg_rl.errors import InputFileError, OutputError
from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.labels import BACKGROUND, Colour, Label, LabelMap, default_colour

TABLE_SUFFIXES = (".json", ".csv", ".label", ".txt", ".ctbl")
LONGEST_TABLE = 8 << 20  # bytes
HIGHEST_VALUE = 65535  # of ITK-SNAP and of 3D Slicer's tables
FORMAT, VERSION = "medseg-rl labels", 1

SNAP_LINE = re.compile(r'\s*(-?\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+[\d.eE+-]+\s+\d+\s+\d+\s+"(.*)"\s*$')
SLICER_LINE = re.compile(r"\s*(-?\d+)\s+(\S+)\s+(\d+)\s+(\d+)\s+(\d+)(?:\s+\d+)?\s*$")
CSV_COLOURS = ("color_r", "color_g", "color_b")
SNAP_HEADER = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    IDX:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
    0     0    0    0        0  0  0    "Clear Label"
"""


def read_table(path: Path) -> LabelMap:
    """A table of any of the formats, told by content. Raises InputFileError, with the line where there is one."""
    text = _text(path)
    try:
        if text.lstrip().startswith("{"):
            labels = list(_from_json(text))
        elif "labelvalue" in text.partition("\n")[0].lower():
            labels = list(_from_csv(text))
        else:
            labels = list(_from_lines(text))
        table = LabelMap(tuple(label for label in labels if label is not None))
    except (ValueError, KeyError, TypeError, csv.Error, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise InputFileError(f"{path} is no label table that can be used: {reason}; mend it") from error
    if not table.labels:
        raise InputFileError(f"{path} holds no label but background; add one, or leave the table out")
    return table


def write_table(path: Path, table: LabelMap) -> None:
    """Writes JSON (.json), 3D Slicer's CSV (.csv) or ITK-SNAP's format (.label, .txt), atomically.

    Raises OutputError: another ending, or a value that the format cannot hold.
    """
    content = table_content(path, table)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def table_content(path: Path, table: LabelMap) -> bytes:
    """What `write_table` writes to a file of that name."""
    writers: dict[str, Callable[[LabelMap], str]] = {
        ".json": _to_json,
        ".csv": _to_csv,
        ".label": _to_snap,
        ".txt": _to_snap,
    }
    suffix = path.suffix.lower()
    if suffix not in writers:
        raise OutputError(f"cannot write {path}: a label table ends in {', '.join(writers)}")
    beyond = [v for v in table.values if not BACKGROUND < v <= HIGHEST_VALUE]
    if beyond and suffix != ".json":
        raise OutputError(f"cannot write {path}: it holds values 1 to {HIGHEST_VALUE}, not {beyond[0]}; write .json")
    return writers[suffix](table).encode("utf-8")


def is_default(table: LabelMap) -> bool:
    """Whether a table says nothing that its values do not say: default names and colours, no locks."""
    return all(label.locked is False and _is_default(label) for label in table.labels)


def _is_default(label: Label) -> bool:
    return label.name == f"Label {label.value}" and label.colour == default_colour(label.value)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LONGEST_TABLE:
            raise InputFileError(f"{path} is {path.stat().st_size} bytes, too long for a label table; check the name")
        return path.read_bytes().decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise InputFileError(f"there is no file {path}; check the name") from None
    except OSError as error:
        raise InputFileError(f"{path} cannot be read: {error.strerror or error}; check its permissions") from error


def _label(value: int, name: str, colour: Colour | None, **more: Any) -> Label | None:
    """None for background."""
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"value {value} is beyond any label")
    if value == BACKGROUND:
        return None
    return Label(value, name or f"Label {value}", colour or default_colour(value), **more)


def _from_json(text: str) -> Iterator[Label | None]:
    content = json.loads(text)
    if content.get("format") != FORMAT:
        raise ValueError(f'its "format" is not "{FORMAT}"')
    if content.get("version") != VERSION:
        raise ValueError(f"its version is {content.get('version')}, this program reads {VERSION}")
    for entry in content["labels"]:
        red, green, blue = (_whole(part) for part in entry["colour"])
        locked, layer = entry.get("locked", False), _whole(entry.get("layer", 0))
        if not isinstance(entry["name"], str) or not isinstance(locked, bool):
            raise ValueError(f"label {entry['value']} has a name that is no text or a lock that is not true or false")
        yield _label(_whole(entry["value"]), entry["name"], (red, green, blue), locked=locked, layer=layer)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is no whole number")
    return value


def _from_csv(text: str) -> Iterator[Label | None]:
    rows = csv.DictReader(io.StringIO(text))
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
    for row in rows:
        value = int(row["labelvalue"])
        shares = [(row.get(column) or "").strip() for column in CSV_COLOURS]
        colour = (int(shares[0]), int(shares[1]), int(shares[2])) if all(shares) else None
        yield _label(value, (row.get("name") or "").strip(), colour)


def _from_lines(text: str) -> Iterator[Label | None]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if found := SNAP_LINE.match(line):
            value, red, green, blue, name = found.groups()
        elif found := SLICER_LINE.match(line):  # .ctbl: blanks of a name are underscores
            value, name, red, green, blue = found.groups()
            name = name.replace("_", " ")
        else:
            raise ValueError(f"line {number} is neither ITK-SNAP's nor 3D Slicer's")
        yield _label(int(value), name, (int(red), int(green), int(blue)))


def _to_json(table: LabelMap) -> str:
    entries = [
        {
            "value": label.value,
            "name": label.name,
            "colour": list(label.colour),
            "locked": label.locked,
            "layer": label.layer,
        }
        for label in table.labels
    ]
    return json.dumps({"format": FORMAT, "version": VERSION, "labels": entries}, indent=1, ensure_ascii=False) + "\n"


def _to_csv(table: LabelMap) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("LabelValue", "Name", "Color_R", "Color_G", "Color_B", "Color_A"))
    for label in table.labels:
        writer.writerow((label.value, one_line(label.name), *label.colour, 255))
    return stream.getvalue()


def _to_snap(table: LabelMap) -> str:
    lines = []
    for label in table.labels:
        red, green, blue = label.colour
        lines.append(f'{label.value:5d} {red:5d}{green:5d}{blue:5d}        1  1  1    "{one_line(label.name)}"')
    return SNAP_HEADER + "\n".join(lines) + "\n"


def one_line(name: str) -> str:
    """A name without line ends, and with single quotation marks for the double ones that these formats cannot hold."""
    return " ".join(name.replace('"', "'").split())
