"""Where labels come from, as files say it: in a text of the file where its format has a place, else in one beside it.

Writes what it is given, and reads back only what it knows: programs, hashes, counts, and the ban on measuring. What a
stranger's file says besides stays there, so that no name goes on into the next export.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medseg_rl import __version__

KEY = "provenance"  # in `Volume.source`, and of a header field
NRRD_FIELD = "MedSegRL_Provenance"
BY_MODEL = "touched_by_model"  # in `Volume.source`: values of labels that a model made, as the file says
QUANTITIES = "quantities"  # in `Volume.source`: "disabled: why"
PROGRAM = f"medseg-rl {__version__}"
NOTICE = "For research use only. Not a medical device."
LONGEST_FILE = 1 << 20  # bytes
LONGEST_REASON = 300  # characters: why nothing may be measured
MOST_LABELS = 4096
SOURCES = ("model", "brush", "operation", "mask")
_HEX = re.compile(r"[0-9a-f]{64}")
_WORDS = re.compile(r"[\w .+\-/()]{0,64}")
_CASE = re.compile(r"case-[0-9a-f]{8}")

Provenance = Mapping[str, object]


def completed(provenance: Provenance | None, source: Mapping[str, Any]) -> dict[str, Any]:
    """What a file is to say, this program at least. `source`: of its image, which may forbid to measure on it."""
    disabled = {QUANTITIES: str(source[QUANTITIES])[:LONGEST_REASON]} if source.get(QUANTITIES) else {}
    return {"program": PROGRAM, **disabled, **(provenance or {}), **disabled}


def as_text(provenance: Provenance, longest: int | None = None) -> str:
    """As JSON on one line; where it is too long the last entries are left out."""
    said = dict(provenance)
    text = json.dumps(said, separators=(",", ":"), default=str)
    while longest is not None and len(text) > longest and said:
        said.popitem()
        text = json.dumps(said, separators=(",", ":"), default=str)
    return text


def as_line(provenance: Provenance, longest: int) -> str:
    """Program, and the beginnings of the hashes of model and journal, in printable ASCII."""
    models = provenance.get("models")
    bundles = [str(m.get("bundle_hash", ""))[:12] for m in models if m] if isinstance(models, list | tuple) else []
    parts = [str(provenance.get("program", PROGRAM)), *(f"bundle {bundle}" for bundle in bundles if bundle)]
    if provenance.get("journal_sha256"):
        parts.append(f"journal {str(provenance['journal_sha256'])[:12]}")
    return "; ".join((*parts, "research use only")).encode("ascii", "replace").decode()[:longest]


def beside(path: Path) -> Path:
    """Where it lies for a format that has no place for it: mask.provenance.json beside mask.nii.gz."""
    from medseg_rl.imageio.kinds import stem_of

    return path.parent / f"{stem_of(path)}.provenance.json"


def file_content(provenance: Provenance) -> bytes:
    """The file beside."""
    return (json.dumps({"notice": NOTICE, **provenance}, indent=1, default=str) + "\n").encode("utf-8")


def read_beside(path: Path) -> dict[str, Any]:
    """What the file beside `path` says; nothing where there is none that can be read."""
    try:
        with beside(path).open("rb") as stream:
            return parsed(stream.read(LONGEST_FILE))
    except OSError:
        return {}


def parsed(text: str | bytes) -> dict[str, Any]:
    """What is known of what a file says, nothing where it says nothing that can be read."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(given, dict):
        return {}
    found = {key: cleaned(given[key]) for key, cleaned in KNOWN.items() if key in given}
    return {key: value for key, value in found.items() if value is not None}


def into_source(source: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """The source of a volume with what its file says: its origin, labels of a model, the ban on measuring."""
    if not said:
        return dict(source)
    touched = {int(value) for value, counts in said.get("written_by_label", {}).items() if counts.get("model")}
    merged = {**source, KEY: dict(said), BY_MODEL: sorted(touched.union(source.get(BY_MODEL, ())))}
    if said.get(QUANTITIES):
        merged[QUANTITIES] = said[QUANTITIES]
    return merged


def _words(given: object) -> str | None:
    return given if isinstance(given, str) and _WORDS.fullmatch(given) else None


def _hex(given: object) -> str | None:
    return given if isinstance(given, str) and _HEX.fullmatch(given) else None


def _case(given: object) -> str | None:
    return given if isinstance(given, str) and _CASE.fullmatch(given) else None


def _count(given: object) -> int | None:
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 2**63 else None


def _models(given: object) -> list[dict[str, str]] | None:
    if not isinstance(given, list):
        return None
    kept = []
    for item in given[:64]:
        if isinstance(item, dict) and (name := _words(item.get("name"))):
            version, bundle = _words(item.get("version")), _hex(item.get("bundle_hash"))
            kept.append({"name": name, "version": version or "", "bundle_hash": bundle or ""})
    return kept


def _written(given: object) -> dict[str, int] | None:
    if not isinstance(given, dict):
        return None
    counts = {source: _count(given.get(source)) for source in SOURCES}
    return {source: count for source, count in counts.items() if count is not None}


def _by_label(given: object) -> dict[str, dict[str, int]] | None:
    if not isinstance(given, dict):
        return None
    rows = list(given.items())[:MOST_LABELS]
    return {
        value: counts
        for value, found in rows
        if re.fullmatch(r"-?\d{1,18}", str(value)) and (counts := _written(found)) is not None
    }


def _disabled(given: object) -> str | None:
    if not isinstance(given, str) or not given.startswith("disabled"):
        return None
    return "".join(c for c in given if c.isprintable())[:LONGEST_REASON]


KNOWN: Mapping[str, Callable[[object], Any]] = {
    "program": _words,
    "converted_by": _words,
    "application": _words,
    "case": _case,
    "image_sha256": _hex,
    "models": _models,
    "journal_sha256": _hex,
    "steps": _count,
    "written": _written,
    QUANTITIES: _disabled,
    "written_by_label": _by_label,
}
