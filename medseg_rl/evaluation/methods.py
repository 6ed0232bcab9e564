"""Names of methods as a command gives them, turned into refiners. Every comparator plugs in here, at one place."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from medseg_rl.errors import InputFileError
from medseg_rl.refiner import Percent, RefinementRequest, Refiner, never_cancelled, no_preview
from medseg_rl.refiners.registry import CLASSICAL, classical_refiner, parse_options

AUTOMATIC, BUNDLE, PYTHON = "automatic", "bundle", "python"
KINDS = (AUTOMATIC, *CLASSICAL, PYTHON, BUNDLE)


@dataclass(frozen=True)
class Method:
    """A row of a table: `name` is printed, `kind` and `options` say how to build it.

    `options` of a bundle: `model` (name or folder), `device`. Of a classical refiner: its parameters. `automatic` has
    no refiner: it is the start, after 0 clicks. `python` is a refiner of one's own: `module`, `function`, `argument`.
    `train_seed`: of the weights, where several share a name.
    """

    name: str
    kind: str
    options: tuple[tuple[str, Any], ...] = ()
    train_seed: int | None = None

    @property
    def label(self) -> str:
        """Name and training seed: what tells the methods of an evaluation apart."""
        return self.name if self.train_seed is None else f"{self.name} seed {self.train_seed}"

    def build(self) -> Refiner | None:
        """The refiner, loaded now; None for the start alone. Raises `BundleError` or `InputFileError`."""
        options = dict(self.options)
        if self.kind == AUTOMATIC:
            return None
        if self.kind in CLASSICAL:
            return classical_refiner(self.kind, self.options)
        if self.kind == PYTHON:
            return _own(**options)
        from medseg_rl.bundle import load_bundle  # loads torch with the weights

        bundle = load_bundle(options["model"])
        refiner = bundle.refiner(options.get("device", "cpu"))
        return OnePass(refiner) if bundle.steps == 1 else refiner

    def refinement_steps(self, steps: int) -> int:
        """Refinement steps of an interaction, where a network takes `steps`: one pass or none without one."""
        if self.kind == BUNDLE and _steps_of(dict(self.options)["model"]) == 1:
            return 1
        return {BUNDLE: steps, AUTOMATIC: 0, "enforce_only": 0}.get(self.kind, 1)


class OnePass:
    """A refiner that decides once an interaction, however many steps it is asked for: as its bundle says it does."""

    def __init__(self, refiner: Refiner) -> None:
        self._refiner = refiner
        self.name = refiner.name

    def describe(self) -> dict[str, Any]:
        """Its identity, that of the refiner."""
        return {**self._refiner.describe(), "steps": 1}

    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        """The state after one step."""
        return self._refiner.refine(replace(request, steps=min(1, request.steps)), cancel=cancel, preview=preview)


@lru_cache
def _steps_of(model: str) -> int:
    from medseg_rl.bundle import load_bundle

    return load_bundle(model).steps


def parse_method(text: str) -> Method:
    """`[NAME[@SEED]=]KIND[:OPTION=VALUE,...]`, such as `paint_ball:radius_mm=4`; any other KIND is a bundle.

    A bundle is given by name or folder. A refiner of one's own is `python:MODULE:FUNCTION[:ARGUMENT]`: the function
    is called with the argument, a text, and returns a `medseg_rl.refiner.Refiner`. Several of one NAME with different
    training seeds, `agent@1=...`, become one row of a table. Raises `InputFileError` naming the option that does not
    exist or the value that is no number.
    """
    given, _, spec = text.rpartition("=") if ":" not in text else _split_name(text)
    name, _, seed = given.partition("@")
    if seed and not seed.isdigit():
        raise InputFileError(f"the training seed in {given!r} must be a number, such as {name}@1")
    train_seed = int(seed) if seed else None
    kind, _, tail = spec.partition(":")
    if kind == PYTHON:
        return Method(name or tail.partition(":")[0], kind, _parts(tail), train_seed)
    if kind in KINDS and kind != BUNDLE:
        return Method(name or spec.replace(",", " "), kind, parse_options(kind, tail), train_seed)
    model = tail if kind == BUNDLE else spec
    return Method(name or model.rstrip("/").rpartition("/")[2], BUNDLE, (("model", model),), train_seed)


def _split_name(text: str) -> tuple[str, str, str]:
    head, colon, tail = text.partition(":")
    name, equals, kind = head.rpartition("=")
    return name, equals, kind + colon + tail


def _parts(text: str) -> tuple[tuple[str, str], ...]:
    module, _, rest = text.partition(":")
    function, _, argument = rest.partition(":")
    if not module or not function:
        raise InputFileError(f"python:{text} names no refiner; write python:MODULE:FUNCTION[:ARGUMENT]")
    return ("module", module), ("function", function), ("argument", argument)


def _own(module: str, function: str, argument: str) -> Refiner:
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputFileError(f"python:{module}:{function} cannot be loaded: {error}") from None
    refiner: Refiner = make(argument) if argument else make()
    return refiner
