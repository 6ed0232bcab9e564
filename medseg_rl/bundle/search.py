"""Where bundles lie: a path, $MEDSEG_RL_BUNDLES, a checkout's `models`, the installed package. Opens none."""

from __future__ import annotations

import os
from pathlib import Path

from medseg_rl.bundle.layout import AUTOMATIC_WEIGHTS, MANIFEST
from medseg_rl.errors import BundleError

BUNDLES_VARIABLE = "MEDSEG_RL_BUNDLES"
DEFAULT_BUNDLE = "general"  # for any structure
_PACKAGE = Path(__file__).resolve().parents[1]


def bundle_names() -> tuple[str, ...]:
    """Names of the bundles that `find_bundle` finds, sorted."""
    return tuple(sorted({folder.name for place in _places() for folder in _held(place)}))


def find_bundle(name: str | Path | None = None, *, automatic: bool = False) -> Path:
    """Folder of a bundle by path or by name; a path is taken before a name.

    Without one it is "general", or else the only one, of the first place that has any; `automatic`: that has any that
    gives an automatic start, and among those alone. The places: $MEDSEG_RL_BUNDLES (folders of bundles), `models` of a
    source checkout, the installed package; of two bundles of one name the first wins. Raises `BundleError` with the
    names.
    """
    names = bundle_names()
    if name is None:
        able = [[folder for folder in _held(place) if not automatic or _starts(folder)] for place in _places()]
        first = {folder.name: folder for folder in next(filter(None, able), [])}
        if len(first) != 1 and DEFAULT_BUNDLE not in first:
            raise BundleError(f"which bundle? {_known(tuple(first) or names)}")
        return first.get(DEFAULT_BUNDLE) or next(iter(first.values()))
    if (Path(name) / MANIFEST).is_file():
        return Path(name)
    if isinstance(name, str) and name in names:
        return next(place / name for place in _places() if (place / name / MANIFEST).is_file())
    if Path(name).is_dir():
        raise BundleError(f"{name} is a folder without {MANIFEST}, so it is no bundle; {_known(names)}")
    raise BundleError(f"there is no bundle {str(name)!r}; {_known(names)}")


def _held(place: Path) -> list[Path]:
    return sorted(path.parent for path in place.glob(f"*/{MANIFEST}"))


def _starts(folder: Path) -> bool:
    return (folder / AUTOMATIC_WEIGHTS).is_file()


def _places() -> list[Path]:
    named = [Path(part) for part in os.environ.get(BUNDLES_VARIABLE, "").split(os.pathsep) if part]
    checkout = _PACKAGE.parent
    beside = [checkout / "models"] if (checkout / "pyproject.toml").is_file() else []
    return [place for place in (*named, *beside, _PACKAGE / "_bundles") if place.is_dir()]


def _known(names: tuple[str, ...]) -> str:
    if names:
        return f"give one of {', '.join(names)}, or the path of a folder"
    return f"none is installed: give the path of a folder, or set {BUNDLES_VARIABLE} to a folder of bundles"
