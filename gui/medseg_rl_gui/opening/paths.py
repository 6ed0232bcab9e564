"""What a path that was dropped, picked or given on the command line could be, by its ending or its first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medseg_rl.errors import MedSegError
from medseg_rl.imageio import READ_SUFFIXES, TABLE_SUFFIXES, holds_labels
from medseg_rl.journal import SESSION_ENDING
from medseg_rl_gui.i18n import tr

PathKind = Literal["session", "labels", "table", "image"]
MOST_OBJECTS = 20  # files of a folder that are looked into
Filters = tuple[tuple[str, tuple[str, ...]], ...]


def kind_of_path(path: Path) -> PathKind:
    """A folder is an image: a DICOM series in it. What cannot be told counts as an image, whose reader says why not."""
    name = path.name.lower()
    if name.endswith(SESSION_ENDING):
        return "session"
    if path.is_file() and name.endswith(TABLE_SUFFIXES) and not name.endswith(READ_SUFFIXES):
        return "table"
    try:
        return "labels" if path.is_file() and holds_labels(path) else "image"
    except MedSegError:
        return "image"


def in_their_stead(path: Path) -> list[Path]:
    """What a path that was dropped stands for: a folder with nothing but SEG or RTSTRUCT in it, for those files."""
    if not path.is_dir():
        return [path]
    files = []
    for found in path.iterdir():
        files.append(found)
        if len(files) > MOST_OBJECTS or found.is_dir():
            return [path]
    objects = sorted(found for found in files if _is_object(found))
    return objects if objects and len(objects) == len(files) else [path]


def _is_object(path: Path) -> bool:
    try:
        return holds_labels(path)
    except MedSegError:
        return False


def open_filters() -> Filters:
    """For the file dialog."""
    images = tuple(f"*{suffix}" for suffix in READ_SUFFIXES)
    sessions = (f"*{SESSION_ENDING}",)
    return (
        (tr("Images, masks and sessions"), (*images, *sessions)),
        (tr("Sessions"), sessions),
        (tr("All files (DICOM has often no ending)"), ("*",)),
    )


def mask_filters() -> Filters:
    """For loading labels onto an image."""
    return (
        (tr("Masks"), tuple(f"*{suffix}" for suffix in READ_SUFFIXES)),
        (tr("Label tables"), tuple(f"*{suffix}" for suffix in TABLE_SUFFIXES)),
        (tr("All files"), ("*",)),
    )
