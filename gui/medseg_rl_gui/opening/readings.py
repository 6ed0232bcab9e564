"""How an image was read, so that it can be read the same way again: after a crash, or with its saved session.

Names no file, no patient and no series UID: a series is known by its place in the list of its folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_type_hints

from medseg_rl.errors import InputFileError
from medseg_rl.imageio import read_volume
from medseg_rl.journal.case_folder import LINES, START, VIEW, bases_of
from medseg_rl.journal.lines import read_lines
from medseg_rl.session.session_file import SessionFile, describe_session
from medseg_rl.volume import Volume

KEY = "reading"  # under which a view keeps it


@dataclass(frozen=True)
class Reading:
    """The choices of `read_volume`; None and the first words mean that nothing was chosen."""

    series: int | None = None
    missing: Literal["refuse", "resample", "keep"] = "refuse"
    tilt: Literal["keep", "resample"] = "keep"
    units: Literal["suv", "stored"] = "suv"
    prefer: Literal["sform", "qform"] | None = None
    time_point: int | None = None
    replace_nonfinite: float | None = None
    slices: tuple[int, int] | None = None

    def read(self, path: Path) -> Volume:
        """The image. Raises InputFileError and GeometryError."""
        return read_volume(path, **self.stored())

    def stored(self) -> dict[str, Any]:
        """What was chosen, ready for JSON."""
        usual = Reading()
        return {name: value for name, value in asdict(self).items() if value != getattr(usual, name)}

    @classmethod
    def of(cls, stored: object) -> Self:
        """From what `stored` gave; whatever is not understood counts as not chosen."""
        table = stored if isinstance(stored, Mapping) else {}
        hints = get_type_hints(cls)
        known = {spec.name: table[spec.name] for spec in fields(cls) if spec.name in table}
        if isinstance(known.get("slices"), list) and len(known["slices"]) == 2:
            known["slices"] = (known["slices"][0], known["slices"][1])
        return cls(**{name: value for name, value in known.items() if _fits(value, hints[name])})


def _fits(value: object, hint: Any) -> bool:
    words = [word for part in (hint, *get_args(hint)) for word in get_args(part) if isinstance(word, str)]
    if words:
        return value in words
    if isinstance(value, tuple):
        return tuple in {getattr(part, "__origin__", None) for part in get_args(hint)} and all(
            type(n) is int for n in value
        )
    kinds = [kind for kind in get_args(hint) if kind in (int, float)]
    return type(value) in kinds or (float in kinds and type(value) is int)


def known_of_case(folder: Path) -> tuple[Reading, SessionFile | None]:
    """How the image of a case folder was read, and what its newest readable generation says of it."""
    about = next((found for _, path in bases_of(folder) if (found := _described(path))), None)
    about = about or _described(folder / START)
    for line in reversed(read_lines(folder / LINES).lines):
        view = line.get("view")
        if line.get("kind") == VIEW and isinstance(view, dict) and KEY in view:
            return Reading.of(view[KEY]), about
    return Reading.of(None if about is None else about.view.get(KEY)), about


def _described(path: Path) -> SessionFile | None:
    try:
        return describe_session(path)
    except InputFileError:
        return None
