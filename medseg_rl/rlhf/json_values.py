"""Turns frozen dataclasses into values for JSON and back, by their annotations. Strict: no key is guessed or dropped.

Knows nothing of what the dataclasses mean; they check their own values.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast

Value = TypeVar("Value")


def as_json(value: Any) -> Any:
    """A dataclass as a dict, tuples as lists. None stays None. Raises ValueError for NaN and infinite numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no number for JSON")
    return value


def from_json(kind: type[Value], values: Any) -> Value:
    """`as_json` back. Raises ValueError naming the key: unknown, missing, or of another type."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{_shown(values)} stands where the keys of {kind.__name__} should")
    owner: Any = kind
    hints = _hints(owner)
    unknown = sorted(str(key) for key in values if key not in hints)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}")
    for field in dataclasses.fields(owner):
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if needed and field.name not in values:
            raise ValueError(f"no key {field.name!r}")
    return cast("Value", owner(**{name: _fitted(value, hints[name], name) for name, value in values.items()}))


@lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    every = typing.get_type_hints(kind)
    return {field.name: every[field.name] for field in dataclasses.fields(kind)}


def _fitted(value: Any, wanted: Any, name: str) -> Any:
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (types.UnionType, typing.Union):
        return _fitted(value, _option(value, arguments, name), name)
    if origin is typing.Literal and any(value == a and type(value) is type(a) for a in arguments):
        return value
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(value):
            return tuple(_fitted(item, k, f"{name}[{i}]") for i, (item, k) in enumerate(zip(value, kinds, strict=True)))
    if wanted is types.NoneType and value is None:
        return None
    if wanted is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        try:
            return from_json(wanted, value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if wanted in (str, int, bool) and type(value) is wanted:
        return value
    raise ValueError(f"{name} is {_shown(value)}")


def _option(value: Any, options: tuple[Any, ...], name: str) -> Any:
    """Which type of a union a value of JSON is meant to be."""
    for option in options:
        plain = option if isinstance(option, type) else typing.get_origin(option)
        if plain is typing.Literal:
            if value in typing.get_args(option):
                return option
        elif plain is tuple:
            if isinstance(value, list):
                return option
        elif dataclasses.is_dataclass(plain):
            if isinstance(value, Mapping):
                return option
        elif type(value) is plain or (plain is float and type(value) is int):
            return option
    raise ValueError(f"{name} is {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
