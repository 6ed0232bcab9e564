"""Settings of a run from a preset, a TOML file and single changes: each names a field of the dataclass that owns it.

A settings file has tables [training], with [training.learner], [training.scenes], [training.hints],
[automatic] and [validation]. Whatever it leaves out keeps the preset's value. Knows no default of its own.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from medseg_rl.errors import InputFileError

if TYPE_CHECKING:
    from medseg_rl.training_run import RunConfig

Settings = Mapping[str, Any]
Config = TypeVar("Config")

SUPERVISED: Settings = {
    "network": "small",
    "policy": "twin_a",
    "binary_state": True,
    "steps_choices": (1,),
    "zero_click_share": 0.0,
    "updates": 4000,
    "validate_every": 400,
}

PRESETS: dict[str, Settings] = {
    # The defaults of the dataclasses: the net that was designed for the machine.
    "product": {},
    # As far as the published description goes (arXiv 1911.10334): what it leaves open keeps our default.
    "itermrl": {
        "training": {
            "network": "iso",
            "adjustments": (-40, -20, -10, 10, 20, 40),
            "steps_choices": (1,),
            "max_interactions": 5,
            "one_click_share": 0.0,
            "zero_click_share": 0.0,
            "min_clicks": 5,  # and so five exactly, where there are as many errors
            "max_clicks": 5,
            "learner": {"mode": "sampled", "discount": 0.95},
            "scenes": {"automatic_share": 1.0, "corrupted_share": 0.0, "reader_share": 0.0, "boundary_weight": 3.0},
        },
    },
    # For small regions such as the hippocampus, on two cores in at most an hour.
    "small": {"training": {"updates": 4000, "validate_every": 400}},
    # Comparators of the evaluation protocol, "in the style of": the published ideas on our data, clicks and budget.
    # DeepIGeoS' R-Net: image, binary mask, two geodesic maps; trained for one refinement, with few or many clicks.
    "rnet_style": {"training": {**SUPERVISED, "max_interactions": 1, "one_click_share": 0.3, "max_clicks": 10}},
    # InterCNN: the same net and input, trained over its own predictions of up to ten interactions.
    "intercnn_style": {"training": {**SUPERVISED, "max_interactions": 10}},
}


def run_config(preset: str = "product", file: Path | None = None, changes: Iterable[str] = ()) -> RunConfig:
    """The preset, then the TOML `file`, then `changes` such as "training.updates=100", each over the one before.

    Raises InputFileError naming the preset, file, key or value that cannot be used, and those that can.
    """
    from medseg_rl.training_run import RunConfig

    if preset not in PRESETS:
        raise InputFileError(f'there is no preset "{preset}"; choose {_choice(PRESETS)}')
    config = changed(RunConfig(), PRESETS[preset], where=f"preset {preset}")
    if file is not None:
        config = changed(config, _read_toml(file), where=str(file))
    return with_changes(config, changes)


def with_changes(config: Config, changes: Iterable[str]) -> Config:
    """A frozen dataclass after single changes such as "learner.discount=0.9"."""
    for change in changes:
        config = changed(config, _parse_change(change), where=f'"{change}"')
    return config


def changed(config: Config, values: Settings, *, where: str) -> Config:
    """A frozen dataclass with other values in some fields; tables go into nested dataclasses.

    Raises InputFileError, which starts with `where`, at an unknown field or a value of another type.
    """
    owner: Any = config  # TypeVar bounds cannot say "a dataclass"
    hints = typing.get_type_hints(type(owner))
    fresh: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            raise InputFileError(f'{where}: there is no setting "{name}"; choose {_choice(hints)}')
        current = getattr(owner, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise InputFileError(f"{where}: {name} is a table of settings, not {value!r}")
            fresh[name] = changed(current, value, where=f"{where}: {name}")
        else:
            fresh[name] = _fitted(value, hints[name], f"{where}: {name}")
    try:
        return typing.cast("Config", dataclasses.replace(owner, **fresh))
    except ValueError as error:  # a dataclass that checks itself
        raise InputFileError(f"{where}: {error}") from error


def _fitted(value: Any, wanted: Any, where: str) -> Any:
    """`value` as the type `wanted`: whole numbers pass as float, lists as tuples, nothing else is converted."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Literal:
        if value in arguments:
            return value
        raise InputFileError(f"{where} is {value!r}; choose {_choice(arguments)}")
    if origin in (types.UnionType, typing.Union):
        for choice in arguments:
            try:
                return _fitted(value, choice, where)
            except InputFileError:
                continue
    elif origin is tuple and isinstance(value, list | tuple):
        types_of = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(types_of) == len(value):
            return tuple(_fitted(item, kind, where) for item, kind in zip(value, types_of, strict=True))
    elif wanted is type(None) and value is None:
        return None
    elif wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(wanted, type) and type(value) is wanted:
        return value
    raise InputFileError(f"{where} is {value!r}; it must be {_type_name(wanted)}")


def _type_name(wanted: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if typing.get_origin(wanted) is tuple:
        arguments = typing.get_args(wanted)
        items = [words.get(item, str(item)) for item in arguments if item is not Ellipsis]
        return (
            f"a list of {items[0]} each" if arguments[-1] is Ellipsis else f"a list of {len(items)}: {', '.join(items)}"
        )
    return words.get(wanted, str(wanted))


def _choice(names: Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names)


def _read_toml(file: Path) -> Settings:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputFileError(f"there is no settings file {file}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputFileError(f"{file} cannot be read as TOML: {error}") from error


def _parse_change(change: str) -> Settings:
    """ "training.learner.discount=0.9" as nested tables. A value that is no TOML is taken as text."""
    name, sign, text = change.partition("=")
    if not sign or not name.strip():
        raise InputFileError(f'"{change}" is no setting; write name=value, such as training.updates=100')
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for part in reversed(name.strip().split(".")):
        value = {part: value}
    return typing.cast("Settings", value)
