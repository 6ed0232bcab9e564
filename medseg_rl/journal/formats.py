"""The version of the session file, and how earlier ones are brought up to it. Knows manifests, no arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medseg_rl.errors import InputFileError

FORMAT = "medseg session"
FORMAT_VERSION = 1
SESSION_ENDING = ".medseg"

State = dict[str, Any]
MIGRATIONS: Mapping[int, Callable[[State], State]] = {}  # version: brings a state of it to the next one


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


def migrated(state: State, version: int) -> State:
    """A stored state of an earlier version as one of the present version. Raises InputFileError."""
    try:
        for step in range(version, FORMAT_VERSION):
            state = MIGRATIONS[step](state)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputFileError(f"a session of version {version} cannot be read ({error}); the file is damaged") from None
    return state
