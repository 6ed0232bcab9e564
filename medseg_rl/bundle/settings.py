"""What a bundle says of its networks, apart from their weights: plain values that go to JSON and come back."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from medseg_rl.errors import BundleError
from medseg_rl.hints.maps import HintConfig
from medseg_rl.preprocessing import CT_HOUNSFIELD, CT_VALUE, HIGH_PERCENTILE, INTENSITY_BOUND, LOW_PERCENTILE

Settings = TypeVar("Settings")

INTENSITY: Mapping[str, Any] = types.MappingProxyType(
    {
        "method": "whole-volume percentiles, then z-score; CT through a fixed window",
        "percentiles": [LOW_PERCENTILE, HIGH_PERCENTILE],
        "bound": INTENSITY_BOUND,
        "ct_hounsfield": list(CT_HOUNSFIELD),
        "ct_value": list(CT_VALUE),
    }
)


@dataclass(frozen=True)
class AgentSettings:
    """How the voxel agents are built and run. `network` and `policy` are names; `steps`: refinement steps a click.

    `adjustments` in hundredths of probability. `precision`: "auto", "fp32" or "bf16". `view_voxels` > 0: agents that
    know no millimetres. They are shown that many voxels on a side around a click, from as far off as the error needs,
    so that a small structure on fine voxels and a large one on coarse voxels are the same to them.
    """

    network: str
    policy: str
    adjustments: tuple[int, ...]
    channels: tuple[str, ...]
    hints: HintConfig = field(default_factory=HintConfig)
    commands: int = 0
    steps: int = 3
    precision: str = "auto"
    view_voxels: int = 0


@dataclass(frozen=True)
class TrainingData:
    """One set that the weights were trained on."""

    name: str
    licence: str
    citation: str
    data_hash: str = ""
    split_hash: str = ""


@dataclass(frozen=True)
class BundleCard:
    """What a person reads of a bundle. `model_card` is Markdown, `licence` the text of LICENSE.

    `modalities`: such as ("MR",), empty where any will do. `spacing_range_mm`: smallest and largest spacing of the
    training volumes. `metrics`: figures with the names they have in the tables.
    """

    name: str
    version: str
    description: str
    model_card: str
    licence: str
    licence_name: str
    modalities: tuple[str, ...] = ()
    spacing_range_mm: tuple[float, float] = (0.0, float("inf"))
    targets: tuple[str, ...] = ()
    training_data: tuple[TrainingData, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    authors: str = "MedSeg-RL contributors"
    copyright: str = "Copyright (c) MedSeg-RL contributors"
    changelog: Mapping[str, str] = field(default_factory=dict)


def as_json(settings: Any) -> dict[str, Any]:
    """A settings dataclass as values for JSON."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


def from_json(kind: type[Settings], values: Any, where: str) -> Settings:
    """`as_json` back. Raises `BundleError` at an unknown field, a missing one, or a value of another type."""
    owner: Any = kind
    if not isinstance(values, Mapping):
        raise BundleError(f"{where} must be a table of settings; copy the bundle again")
    hints = typing.get_type_hints(owner)
    unknown = sorted(set(values) - {entry.name for entry in fields(owner)})
    if unknown:
        raise BundleError(f"{where} has the setting {unknown[0]!r}, unknown to this version; update medseg-rl")
    try:
        return typing.cast(
            "Settings",
            owner(**{name: _fitted(value, hints[name], f"{where}.{name}") for name, value in values.items()}),
        )
    except (TypeError, ValueError) as error:
        raise BundleError(f"{where} cannot be used ({error}); copy the bundle again") from None


def _fitted(value: Any, wanted: Any, where: str) -> Any:
    if wanted is HintConfig:
        return from_json(HintConfig, value, where)
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is tuple and isinstance(value, list):
        return tuple(_fitted(item, arguments[0], where) for item in value)
    if origin is typing.Literal and value in arguments:
        return value
    if wanted is float and type(value) in (int, float):
        return float(value)
    if isinstance(wanted, type) and type(value) is wanted:
        return value
    raise BundleError(f"{where} is {value!r}, which this version cannot use; update medseg-rl or copy the bundle again")
