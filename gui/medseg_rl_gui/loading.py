"""Loads heavy packages on the worker so that the window goes on: no long hold of the interpreter's lock meanwhile.

Imports none of them itself. Two things would hold the lock for a tenth of a second and longer: the collector, which
walks all of the many objects that an import makes, and the loading of the largest library, which is taken out of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

LARGEST = ("torch", "lib/libtorch_cpu.so")  # package, and what of it takes longest to load
MANY_MODULES = 100


@contextlib.contextmanager
def unobtrusively() -> Iterator[None]:
    """While the heaviest packages are imported on the worker."""
    with without_collecting():
        _load_ahead(*LARGEST)
        yield


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """While packages are imported: the collector rests, and then leaves alone what they have made for good."""
    collects, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) - before > MANY_MODULES:
            gc.freeze()  # else each full collection walks them again, and the window waits
        if collects:
            gc.enable()


def _load_ahead(package: str, library: str) -> bool:
    """Has the system load a library before the package asks for it: called as a C function, without the lock.

    False where there is nothing to do: loaded already, not installed, or another kind of system.
    """
    if package in sys.modules or not sys.platform.startswith("linux"):
        return False
    found = importlib.util.find_spec(package)
    path = None if found is None or found.origin is None else Path(found.origin).parent / library
    if path is None or not path.is_file():
        return False
    system = ctypes.CDLL(None)
    system.dlopen.restype = ctypes.c_void_p
    return bool(system.dlopen(os.fsencode(path), os.RTLD_NOW))
