"""Keeps what this program loads from going near a network: pydicom and MONAI load without `requests`.

Both take it where it is installed, for downloads that nobody here asks for, and do without where it is not. Its import
alone opens a socket, to look for IPv6. A script that wants their downloads imports `requests` before this package.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

ONLINE = "requests"
KEPT_OFFLINE = ("pydicom", "monai")


class _Offline(Loader):
    """Loads a package while `requests` cannot be found."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader  # whoever asks later meets the real one
        hidden = ONLINE not in sys.modules
        if hidden:
            sys.modules[ONLINE] = None  # type: ignore[assignment]  # the documented way to let an import fail
        try:
            self._loader.exec_module(module)
        finally:
            if hidden:
                sys.modules.pop(ONLINE, None)


class _Finder(MetaPathFinder):
    """Finds the packages of `KEPT_OFFLINE`, and nothing else."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in KEPT_OFFLINE:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            spec.loader = _Offline(spec.loader)
        return spec


def install() -> None:
    """From here on; a second call changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
