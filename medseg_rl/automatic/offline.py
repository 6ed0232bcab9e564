"""Loads MONAI without what it brings to go online: `requests`, whose import alone opens a socket to look for IPv6.

MONAI takes `requests` where it finds it, for downloads that nobody here asks for, and does without where it does not.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType

_ONLINE = "requests"


def offline_module(name: str) -> ModuleType:
    """A module of MONAI. `requests` stays as it was: loaded where somebody else had loaded it, else not."""
    hidden = _ONLINE not in sys.modules and "monai" not in sys.modules
    if hidden:
        sys.modules[_ONLINE] = None  # type: ignore[assignment]  # the documented way to let an import fail
    try:
        return importlib.import_module(name)
    finally:
        if hidden:
            with contextlib.suppress(KeyError):
                del sys.modules[_ONLINE]
