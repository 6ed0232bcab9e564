"""What the user prefers: one validated value, stored as TOML. Reads and writes the file; applies nothing.

Unknown keys are kept for newer versions; a bad value is reported and takes its default. `portable_folder` beside the
executable, where there is one, takes the place of the user's configuration folder.
"""

from __future__ import annotations

import math
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.user_data import HOME_VARIABLE
from medseg_rl_gui.i18n import tr
from medseg_rl_gui.toml_text import toml_text

FILE_NAME = "preferences.toml"
PORTABLE = "medseg-rl-portable"
RECENT = 10


def _number(default: Any, low: float, high: float) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


def _choice(default: str, *others: str) -> Any:
    return field(default=default, metadata={"choices": (default, *others)})


@dataclass(frozen=True)
class ViewPreferences:
    """How images and labels look. `windows`: the last (width, level) by modality, used where `keep_window` is on."""

    theme: str = _choice("system", "dark", "light")
    font_points: int = field(default=0, metadata={"low": 12, "high": 24, "or": 0})  # 0: as the system has it
    convention: str = _choice("radiological", "neurological")
    layout: str = _choice("four-up", "3+1", "single")
    smooth: bool = True
    crosshair: bool = True
    outline: bool = False
    opacity: float = _number(0.4, 0.0, 1.0)
    keep_window: bool = True
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    hide_identifiers: bool = True


@dataclass(frozen=True)
class InputPreferences:
    """Mouse and keys. `changes`: by preset and action id, the user's own keys and gestures."""

    preset: str = _choice("default", "slicer", "itksnap", "pacs")
    changes: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class EditPreferences:
    """Brush, guard and undo. Lengths in mm."""

    auto_accept: bool = False
    guard: bool = True
    guard_mm: float = _number(40.0, 5.0, 100.0)
    overwrite: str = _choice("keep", "replace", "overlap")
    brush_mm: float = _number(4.0, 0.2, 100.0)
    brush_sphere: bool = False
    undo_megabytes: int = _number(256, 64, 4096)


@dataclass(frozen=True)
class ModelPreferences:
    """`bundle`: name or folder, empty for the one that fits best. `candidates`: how many to rank. `user_name`: kept in
    provenance only where it is not empty. `consent_asked`: version of the consent text that was answered."""

    bundle: str = ""
    candidates: int = _number(4, 4, 9)
    user_name: str = ""
    consent_asked: int = _number(0, 0, 1000)


@dataclass(frozen=True)
class FilePreferences:
    """`recent`: paths, the newest first; none is kept where `keep_recent` is off."""

    keep_recent: bool = True
    recent: tuple[str, ...] = ()
    autosave_seconds: int = _number(30, 5, 60)
    open_folder: str = ""
    save_folder: str = ""


@dataclass(frozen=True)
class WindowPreferences:
    """How the window was left; base64 of Qt. `notice`: version of the research-use notice that was ticked."""

    geometry: str = ""
    state: str = ""
    notice: int = _number(0, 0, 1000)


@dataclass(frozen=True)
class Preferences:
    """All of them. `unknown`: what a newer version wrote, by section; written back as it was."""

    view: ViewPreferences = ViewPreferences()
    input: InputPreferences = InputPreferences()
    edit: EditPreferences = EditPreferences()
    model: ModelPreferences = ModelPreferences()
    files: FilePreferences = FilePreferences()
    window: WindowPreferences = WindowPreferences()
    unknown: Mapping[str, Any] = field(default_factory=dict)

    def changing(self, section: str, **changes: Any) -> Self:
        """With other values in one section. Raises ValueError for a value that is out of range or of another type."""
        current = getattr(self, section)
        for spec in fields(current):
            if spec.name in changes:
                changes[spec.name] = _checked(section, spec, changes[spec.name])
        return replace(self, **{section: replace(current, **changes)})

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> tuple[Self, list[str]]:
        """From the tables of a file; and what was wrong with them, in words."""
        unknown, problems, sections = {}, [], {}
        known = {spec.name: spec for spec in fields(cls) if spec.name != "unknown"}
        for name, table in stored.items():
            if name not in known or not isinstance(table, Mapping):
                unknown[name] = table
                continue
            sections[name], left, said = _section(name, type(getattr(cls(), name)), table)
            problems += said
            if left:
                unknown[name] = left
        return cls(**sections, unknown=unknown), problems

    def tables(self) -> dict[str, Any]:
        """Ready for a file: what differs from the defaults, and what was unknown."""
        found: dict[str, Any] = {}
        for section in fields(self):
            if section.name == "unknown":
                continue
            value, usual = getattr(self, section.name), getattr(Preferences(), section.name)
            names = [spec.name for spec in fields(value)]
            own = {name: getattr(value, name) for name in names if getattr(value, name) != getattr(usual, name)}
            left = self.unknown.get(section.name, {})
            if own or left:
                found[section.name] = {**own, **left}
        return {**{name: table for name, table in self.unknown.items() if name not in found}, **found}


def _section(name: str, kind: type[Any], table: Mapping[str, Any]) -> tuple[Any, dict[str, Any], list[str]]:
    """One section: its value, the keys it does not know, what was wrong."""
    specs = {spec.name: spec for spec in fields(kind)}
    good, problems = {}, []
    for key, value in table.items():
        if key in specs:
            try:
                good[key] = _checked(name, specs[key], value)
            except ValueError as error:
                problems.append(str(error))
    return kind(**good), {key: value for key, value in table.items() if key not in specs}, problems


def _default(spec: Field[Any]) -> Any:
    return spec.default if spec.default_factory is MISSING else spec.default_factory()


def _checked(section: str, spec: Field[Any], value: Any) -> Any:
    """A value as the field wants it. Raises ValueError that names key, value, what is allowed and the default."""
    usual, rules = _default(spec), spec.metadata
    wrong = tr("{key} = {value} is refused; {usual} is used").format(
        key=f"{section}.{spec.name}", value=repr(value), usual=repr(usual)
    )
    if isinstance(usual, bool) or isinstance(value, bool):
        if isinstance(usual, bool) and isinstance(value, bool):
            return value
        raise ValueError(wrong)
    if isinstance(usual, int | float):
        whole = isinstance(usual, int)
        fits = isinstance(value, int if whole else (int, float))
        if not fits or not (rules["low"] <= value <= rules["high"] or value == rules.get("or")):
            allowed = tr("it must lie between {low} and {high}").format(low=rules["low"], high=rules["high"])
            raise ValueError(f"{wrong} ({allowed})")
        return value if whole else float(value)
    if isinstance(usual, str):
        if not isinstance(value, str) or value not in rules.get("choices", (value,)):
            raise ValueError(wrong)
        return value
    return _collection(spec.name, value, wrong)


def _collection(name: str, value: Any, wrong: str) -> Any:
    """The three fields that are no single value, made of tuples and dictionaries."""
    try:
        if name == "recent":
            return tuple(_text(path) for path in value)[:RECENT]
        if name == "windows":
            return {_text(modality): _window(*pair) for modality, pair in value.items()}
        return {
            _text(preset): {_text(id_): tuple(_text(key) for key in keys) for id_, keys in table.items()}
            for preset, table in value.items()
        }
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(wrong) from error


def _window(width: object, level: object) -> tuple[float, float]:
    numbers = float(str(width)), float(str(level))
    if not (math.isfinite(numbers[0]) and math.isfinite(numbers[1]) and numbers[0] > 0):
        raise ValueError("no window")
    return numbers


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def limits(section: str, key: str) -> tuple[float, float]:
    """The smallest and the largest value of a number."""
    (rules,) = (spec.metadata for spec in fields(getattr(Preferences(), section)) if spec.name == key)
    return float(rules["low"]), float(rules["high"])


def portable_folder() -> Path | None:
    """The folder beside the executable that makes the program portable; None where there is none."""
    for program in (Path(sys.argv[0] or "."), Path(sys.executable)):
        folder = program.absolute().parent / PORTABLE
        if folder.is_dir():
            return folder
    return None


def configuration_folder() -> Path:
    """Where preferences lie: the portable folder, `$MEDSEG_RL_HOME`, or the user's configuration folder."""
    chosen = portable_folder() or os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "medseg-rl"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Preferences" / "medseg-rl"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "medseg-rl"


@dataclass
class PreferenceStore:
    """The preferences in force and their file. `problems`: what was wrong with the file, in words."""

    path: Path
    current: Preferences = field(default_factory=Preferences)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path | None = None) -> Self:
        """Reads the file; where it is missing or unreadable all defaults hold, and an unreadable one is set aside."""
        path = configuration_folder() / FILE_NAME if path is None else path
        try:
            stored = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError) as error:
            return cls(path, problems=[tr("the preferences cannot be read: {why}").format(why=_why(path, error))])
        current, problems = Preferences.of(stored)
        return cls(path, current, problems)

    def change(self, section: str, **changes: Any) -> None:
        """Takes other values and writes them. Raises ValueError for bad ones, OSError if the file cannot be written."""
        self.put(self.current.changing(section, **changes))

    def put(self, preferences: Preferences) -> None:
        """Takes all of them and writes them, unless nothing changed. Raises OSError."""
        if preferences != self.current:
            self.current = preferences
            self.save()

    def save(self) -> None:
        """Writes the file, whole or not at all. Raises OSError or OutputError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.path) as temporary:
            temporary.write_text(toml_text(self.current.tables()), encoding="utf-8")


def _why(path: Path, error: Exception) -> str:
    """What is wrong, after the file was renamed so that saving does not destroy what it may hold."""
    if isinstance(error, ValueError):
        aside = path.with_suffix(".unreadable.toml")
        try:
            path.replace(aside)
        except OSError:
            return str(error)
        return f"{error}; {aside.name}"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
