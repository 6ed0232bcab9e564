"""A folder of cases and how far each is: which files and folders are cases, and the marks the user gave them.

Marks lie with the user's own data, never in the folder of the images. Opens no image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from medseg_rl.errors import InputFileError
from medseg_rl.imageio import READ_SUFFIXES, atomic_path
from medseg_rl.imageio.kinds import stem_of
from medseg_rl.user_data import user_data_folder

FOLDER = "case-lists"


class Status(StrEnum):
    """How far a case is."""

    NOT_STARTED = "not started"
    IN_PROGRESS = "in progress"
    DONE = "done"
    FLAGGED = "flagged"


@dataclass(frozen=True)
class ListedCase:
    """A file or a folder with a DICOM series. `name`: in the folder of the list."""

    name: str
    path: Path
    status: Status


class CaseList:
    """The cases of a folder in the order of their names. Every mark is on the disk when it was set."""

    def __init__(self, folder: Path) -> None:
        """Raises InputFileError when the folder cannot be read."""
        self.folder = folder.resolve()
        try:
            self._paths = tuple(sorted((p for p in self.folder.iterdir() if _is_case(p)), key=lambda p: p.name.lower()))
        except OSError as error:
            raise InputFileError(f"{folder} cannot be read: {error.strerror or error}; choose another folder") from None
        self._marks = _read_marks(self._file)

    @property
    def cases(self) -> tuple[ListedCase, ...]:
        """All of them, with their marks as they are now."""
        found = ((path.name, path) for path in self._paths)
        return tuple(ListedCase(name, path, self._marks.get(name, Status.NOT_STARTED)) for name, path in found)

    def mark(self, name: str, status: Status) -> None:
        """Sets a mark. Raises OutputError."""
        self._marks = {**self._marks, name: status}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._file) as temporary:
            temporary.write_text(json.dumps(self._marks), encoding="utf-8")

    def started(self, path: Path) -> None:
        """Notes that a case was opened, unless it has a mark already."""
        here = next((case for case in self.cases if case.path == path.resolve()), None)
        if here is not None and here.status == Status.NOT_STARTED:
            self.mark(here.name, Status.IN_PROGRESS)

    @property
    def _file(self) -> Path:
        digest = hashlib.sha256(str(self.folder).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return user_data_folder() / FOLDER / f"{digest}.json"


def _is_case(path: Path) -> bool:
    """An image file, or a folder that is not empty. A mask beside its image, such as ct_label.nii.gz, is none."""
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return any(path.iterdir())
    if not path.name.lower().endswith(READ_SUFFIXES) or path.name.lower().endswith(".seg.nrrd"):
        return False
    stem = stem_of(path)
    has_table = path.with_name(f"{stem}.labels.json").exists()
    return not has_table and not stem.lower().endswith(
        ("_label", "_labels", "_seg", "_mask", "-label", "-seg", "-mask")
    )


def _read_marks(path: Path) -> Mapping[str, Status]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    known = set(Status)
    return {str(name): Status(mark) for name, mark in content.items() if mark in known}
