"""Small frozen values (label tables, clicks, what is known of a label) as rows of JSON, each stored once.

`ValueWriter` turns a value into a reference and the rows that were new since the last time, so that a journal line
costs what changed. `ValueReader` builds values back by the annotations of their classes: a file names no class, so it
can make none but those that its reader asks for. Deltas are referred to by their digest and stored elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
import weakref
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar, Union, get_args, get_origin

from medseg_rl.errors import InputFileError
from medseg_rl.history import BoxDelta
from medseg_rl.journal.deltas import digest_of, packed

T = TypeVar("T")
Row = dict[str, Any]


class ValueWriter:
    """Numbers values in the order they are first met. Keeps none of them alive."""

    def __init__(self) -> None:
        self.rows: list[Row] = []  # not yet taken
        self.deltas: dict[str, bytes] = {}  # digest and packed form of those met since the last `taken`
        self._count = 0
        self._known: dict[int, tuple[weakref.ref[Any], int | str]] = {}

    def reference(self, value: Any) -> Any:
        """What stands for `value` in JSON."""
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, int | float):
            return _number(value)
        if isinstance(value, Mapping):
            return [[self.reference(k), self.reference(v)] for k, v in value.items()]
        if isinstance(value, tuple | list):
            return [self.reference(item) for item in value]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._stored(value)
        if hasattr(value, "item"):  # a NumPy number
            return _number(value.item())
        raise TypeError(f"a {type(value).__name__} cannot be stored in a session")

    def taken(self) -> tuple[list[Row], dict[str, bytes]]:
        """New rows and new deltas since the last time."""
        rows, deltas = self.rows, self.deltas
        self.rows, self.deltas = [], {}
        return rows, deltas

    def _stored(self, value: Any) -> int | str:
        known = self._known.get(id(value))
        if known is not None and known[0]() is value:
            return known[1]
        if isinstance(value, BoxDelta):
            payload = packed(value)
            name: int | str = digest_of(payload)
            self.deltas[str(name)] = payload
        else:
            row = {f.name: self.reference(getattr(value, f.name)) for f in dataclasses.fields(value)}
            name = self._count
            self._count += 1
            self.rows.append(row)
        self._known[id(value)] = (weakref.ref(value), name)
        if len(self._known) > 100_000:
            self._known = {key: kept for key, kept in self._known.items() if kept[0]() is not None}
        return name


class ValueReader:
    """Builds values from rows. `delta_of`: gives the delta of a digest.

    Every mistake in a file ends in an InputFileError.
    """

    def __init__(self, delta_of: Callable[[str], BoxDelta]) -> None:
        self._delta_of = delta_of
        self._rows: list[Row] = []
        self._built: dict[tuple[int, type[Any]], Any] = {}

    def extend(self, rows: Sequence[Any]) -> None:
        """Take the rows that a writer gave next."""
        if not all(isinstance(row, dict) for row in rows):
            raise InputFileError("a stored value is no table of fields; the file is damaged")
        self._rows += rows

    def restart(self) -> None:
        """Begin again as a fresh writer does."""
        self._rows, self._built = [], {}

    def value(self, kind: type[T], reference: Any) -> T:
        """The value of a class that a reference stands for. Raises InputFileError."""
        try:
            built: T = self._value(kind, reference)
        except (TypeError, ValueError, KeyError, IndexError, OverflowError, RecursionError) as error:
            raise InputFileError(f"a stored {kind.__name__} makes no sense ({error}); the file is damaged") from None
        return built

    def _value(self, kind: Any, given: Any) -> Any:
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            return self._one_of(get_args(kind), given)
        if origin is typing.Literal:
            return _expect(given in get_args(kind), given, kind)
        if origin is tuple:
            return self._tuple(get_args(kind), given)
        if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
            of_key, of_value = get_args(kind)
            pairs = _expect(isinstance(given, list), given, kind)
            return MappingProxyType({self._value(of_key, k): self._value(of_value, v) for k, v in pairs})
        if kind is BoxDelta:
            return self._delta_of(_expect(isinstance(given, str), given, kind))
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return self._dataclass(kind, given)
        return _plain(kind, given)

    def _one_of(self, kinds: tuple[Any, ...], given: Any) -> Any:
        if given is None:
            return _expect(type(None) in kinds, given, kinds)
        real = [kind for kind in kinds if kind is not type(None)]
        for kind in real[:-1]:
            try:
                return self._value(kind, given)
            except (TypeError, ValueError):
                continue
        return self._value(real[-1], given)

    def _tuple(self, kinds: tuple[Any, ...], given: Any) -> tuple[Any, ...]:
        items = _expect(isinstance(given, list), given, tuple)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            return tuple(self._value(kinds[0], item) for item in items)
        return tuple(self._value(kind, item) for kind, item in zip(kinds, items, strict=True))

    def _dataclass(self, kind: Any, given: Any) -> Any:
        _expect(isinstance(given, int) and 0 <= given < len(self._rows), given, kind)
        key = (given, kind)
        if key not in self._built:
            row = self._rows[given]
            hints = _hints(kind)
            unknown = set(row) - set(hints)
            if unknown:
                raise ValueError(f"it has the field {sorted(unknown)[0]!r} of another version")
            self._built[key] = kind(**{name: self._value(hints[name], row[name]) for name in row})
        return self._built[key]


def expanded(value: Any) -> Any:
    """A value as plain lists and tables, nothing shared: equal for two values that would be stored alike."""
    if isinstance(value, BoxDelta):
        return digest_of(packed(value))
    if isinstance(value, Mapping):
        return {key: expanded(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [expanded(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: expanded(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return value


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _plain(kind: Any, given: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(given)
    if kind is float:
        return float(_expect(isinstance(given, int | float) and not isinstance(given, bool), given, kind))
    if kind is int:
        return _expect(isinstance(given, int) and not isinstance(given, bool), given, kind)
    if kind in (str, bool):
        return _expect(isinstance(given, kind), given, kind)
    if kind is Any or kind is object:
        return given
    raise TypeError(f"a field of {kind} cannot be read")


def _expect(right: bool, given: Any, kind: Any) -> Any:
    if not right:
        raise TypeError(f"{str(given)[:40]!r} is no {getattr(kind, '__name__', kind)}")
    return given


def _number(value: float) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"{value} cannot be stored in a session")
    return value
