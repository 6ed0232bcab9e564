"""The list of recent files, the newest first. Reads no file; it only asks whether one is still there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medseg_rl_gui.preferences import RECENT, PreferenceStore


@dataclass(frozen=True)
class RecentEntry:
    """A path as it was opened. `missing`: it is no longer there and is greyed."""

    path: Path
    missing: bool

    @property
    def text(self) -> str:
        """Name and folder, short enough for a menu."""
        folder = str(self.path.parent)
        return f"{self.path.name}   ({folder if len(folder) <= 50 else '…' + folder[-49:]})"


def entries(store: PreferenceStore) -> list[RecentEntry]:
    """What the menu shows."""
    paths = [Path(name) for name in store.current.files.recent]
    return [RecentEntry(path, not path.exists()) for path in paths]


def remember(store: PreferenceStore, path: Path) -> None:
    """Puts a path first; does nothing where recent files are switched off."""
    if store.current.files.keep_recent:
        _put(store, [str(path.absolute()), *store.current.files.recent])


def forget_all(store: PreferenceStore) -> None:
    """Empties the list."""
    _put(store, [])


def _put(store: PreferenceStore, names: Iterable[str]) -> None:
    store.change("files", recent=tuple(dict.fromkeys(names))[:RECENT])
