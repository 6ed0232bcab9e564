"""Names of the refiners that learn nothing, for whoever lets a user choose: a command, an evaluation, a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from medseg_rl.errors import InputFileError
from medseg_rl.refiner import Refiner
from medseg_rl.refiners.enforce_only import EnforceOnly
from medseg_rl.refiners.geodesic_threshold import GeodesicConfig, GeodesicThreshold
from medseg_rl.refiners.graph_cut import GraphCut, GraphCutConfig
from medseg_rl.refiners.grow_cut import GrowCut, GrowCutConfig
from medseg_rl.refiners.paint_ball import PaintBall
from medseg_rl.refiners.random_walker import RandomWalker, RandomWalkerConfig

Options = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Classical:
    """`make`: the refiner from its options by name. `options`: the names it knows."""

    make: Callable[..., Refiner]
    options: tuple[str, ...] = ()


def _names(config: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(config))


CLASSICAL: Mapping[str, Classical] = {
    "enforce_only": Classical(EnforceOnly),
    "paint_ball": Classical(PaintBall, ("radius_mm",)),
    "geodesic_threshold": Classical(lambda **o: GeodesicThreshold(GeodesicConfig(**o)), _names(GeodesicConfig)),
    "graph_cut": Classical(lambda **o: GraphCut(GraphCutConfig(**o)), _names(GraphCutConfig)),
    "random_walker": Classical(lambda **o: RandomWalker(RandomWalkerConfig(**o)), _names(RandomWalkerConfig)),
    "grow_cut": Classical(lambda **o: GrowCut(GrowCutConfig(**o)), _names(GrowCutConfig)),
}


def classical_refiner(kind: str, options: Options = ()) -> Refiner:
    """The refiner of that kind. Raises `InputFileError` for another kind, `MissingExtraError` where its library is
    not installed.
    """
    if kind not in CLASSICAL:
        raise InputFileError(f'there is no refiner "{kind}"; choose {", ".join(CLASSICAL)}')
    return CLASSICAL[kind].make(**dict(options))


def parse_options(kind: str, text: str) -> Options:
    """`OPTION=VALUE,...` sorted by name. Raises `InputFileError` naming the option that does not exist or the value
    that is no number.
    """
    known, options = CLASSICAL[kind].options if kind in CLASSICAL else (), []
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in known:
            raise InputFileError(f"{kind} has no option {key!r}; it has {', '.join(known) or 'none'}")
        try:
            options.append((key, float(value)))
        except ValueError:
            raise InputFileError(f"{kind}: {key} must be a number, not {value!r}") from None
    return tuple(sorted(options))


def named_refiner(text: str) -> Refiner:
    """The refiner of `KIND[:OPTION=VALUE,...]`, such as `graph_cut:smoothness=6`. Raises as the two above do."""
    kind, _, options = text.partition(":")
    return classical_refiner(kind, parse_options(kind, options) if kind in CLASSICAL else ())
