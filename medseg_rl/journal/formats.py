"""The version of the session file, and how earlier ones are brought up to it. Knows manifests, no arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medseg_rl.errors import InputFileError

FORMAT = "medseg session"
FORMAT_VERSION = 2
SESSION_ENDING = ".medseg"

Row = dict[str, Any]


def _by_label(row: Row) -> Row:
    """Version 1 counted what was written for all labels together; now the first that was worked on has it."""
    if set(row) != {"labels", "works", "written"} or not row["written"]:
        return row
    return row | {"written": [[row["works"][0][0], row["written"]]]}


# By version: what brings one stored value, a row of `values.py`, to the next version.
MIGRATIONS: Mapping[int, Callable[[Row], Row]] = {1: _by_label}


def checked_version(manifest: Any) -> int:
    """The version a manifest states. Raises InputFileError when it is no session, or one of a later program."""
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InputFileError("it holds no session of this program; choose a .medseg file")
    version = manifest.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputFileError("it states no version; the file is damaged")
    if version > FORMAT_VERSION:
        raise InputFileError(
            f"it is a session of version {version}, this program reads up to {FORMAT_VERSION}; update it"
        )
    return version


def migrated(rows: Any, version: Any) -> list[Row]:
    """Stored values (see `values.py`) of an earlier version as those of the present one. Raises InputFileError."""
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION or not isinstance(rows, list):
        raise InputFileError(f"it holds values of version {version!r}, this program reads up to {FORMAT_VERSION}")
    try:
        for step in range(version, FORMAT_VERSION):
            rows = [MIGRATIONS[step](row) for row in rows]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputFileError(f"its values of version {version} cannot be read ({error}); the file is damaged") from None
    return list(rows)
