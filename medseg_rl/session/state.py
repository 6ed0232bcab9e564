"""What a session knows beside its arrays: small values, replaced as a whole, so that undo puts back the old ones.

Indices and boxes are in working order: nearest RAS+, as networks see it. The session translates at its border.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click, ClickLabel, newest_per_voxel
from medseg_rl.history import BoxDelta
from medseg_rl.interaction import Stroke, Variation
from medseg_rl.labels import LabelMap
from medseg_rl.refiner import LOWEST, MASK_THRESHOLD, NO_COMMAND, Refiner
from medseg_rl.volume import Box

BINARY_OBJECT, BINARY_BACKGROUND = 90, 10  # hundredths of a binary start: a wrong one must stay correctable

Source = Literal["model", "brush", "operation", "mask"]
TurnKind = Literal["click", "refine", "start", "operation"]


@dataclass(frozen=True, eq=False)
class OpenTurn:
    """One action of the open proposal: its new clicks and what it changed in the percent state.

    `command`, `variation`: how it was asked for. `strokes`: what was painted while it ran. `by_model`: False for a
    start from a mask that was given.
    """

    kind: TurnKind
    clicks: tuple[Click, ...]
    delta: BoxDelta | None
    command: int = NO_COMMAND
    variation: Variation | None = None
    strokes: tuple[Stroke, ...] = ()
    by_model: bool = True

    @property
    def is_settled(self) -> bool:
        """Whether it stands on its own: what came before it cannot be taken back any more."""
        return self.kind in ("start", "operation")


@dataclass(frozen=True)
class LabelWork:
    """What is known of one label beside its arrays.

    `background`: hundredths of every voxel that was never written. `accepted_clicks`: of proposals accepted before.
    `turns`: of the open proposal, oldest first; empty when none is open. `start_box`: box of the start mask. `base`:
    this work as it was when the proposal opened.
    """

    background: int = LOWEST
    accepted_clicks: tuple[Click, ...] = ()
    turns: tuple[OpenTurn, ...] = ()
    start_box: Box | None = None
    base: LabelWork | None = None

    def with_turn(self, turn: OpenTurn, **changes: Any) -> LabelWork:
        """With one more action in the open proposal, which opens if none was."""
        return replace(self, turns=(*self.turns, turn), base=self.base if self.turns else self, **changes)

    def accepted(self) -> LabelWork:
        """With the open proposal accepted: its clicks stay in the hints."""
        return replace(self, accepted_clicks=self.clicks, turns=(), base=None)

    def discarded(self) -> LabelWork:
        """As it was when the proposal opened."""
        return self if self.base is None else self.base

    def agreeing_with(self, box: Box, inside: npt.NDArray[np.bool_]) -> LabelWork:
        """Without the accepted clicks in a box that an edit by hand contradicts; `inside`: the label after it."""
        kept = tuple(c for c in self.accepted_clicks if not _contradicts(c, box, inside))
        return self if len(kept) == len(self.accepted_clicks) else replace(self, accepted_clicks=kept)

    def without_click(self, number: int) -> LabelWork:
        """With one click less in the list; what it did to the mask stays."""
        if number < len(self.accepted_clicks):
            return replace(self, accepted_clicks=_without(self.accepted_clicks, number))
        at, within = self.turn_of(number)
        thinner = replace(self.turns[at], clicks=_without(self.turns[at].clicks, within))
        return replace(self, turns=(*self.turns[:at], thinner, *self.turns[at + 1 :]))

    def turn_of(self, number: int) -> tuple[int, int]:
        """Which turn of the open proposal a click number belongs to, and its place among that turn's clicks."""
        within = number - len(self.accepted_clicks)
        for at, turn in enumerate(self.turns):
            if within < len(turn.clicks):
                return at, within
            within -= len(turn.clicks)
        raise IndexError(number)

    def is_settled(self, number: int) -> bool:
        """Whether deleting that click only takes it from the hints: accepted, or a start or operation came after it."""
        if number < len(self.accepted_clicks):
            return True
        at, _ = self.turn_of(number)
        return any(turn.is_settled for turn in self.turns[at + 1 :])

    @property
    def open_clicks(self) -> tuple[Click, ...]:
        """Clicks of the open proposal, oldest first."""
        return tuple(click for turn in self.turns for click in turn.clicks)

    @property
    def clicks(self) -> tuple[Click, ...]:
        """All clicks, oldest first, several of one voxel included."""
        return (*self.accepted_clicks, *self.open_clicks)

    @property
    def open_box(self) -> Box | None:
        """Box of everything the open proposal changed."""
        return union_of(turn.delta.box for turn in self.turns if turn.delta is not None)

    @property
    def crossed_box(self) -> Box | None:
        """The same of the mask alone, which is much smaller: most of what a first click changes stays outside it."""
        found = (turn.delta.crossing(MASK_THRESHOLD).box for turn in self.turns if turn.delta is not None)
        return union_of(box for box in found if box is not None)


@dataclass(frozen=True)
class Change:
    """What an undo, redo, accept or discard did: its name, the label, and the box to paint again (file order)."""

    name: str
    label: int | None
    box: Box | None


@dataclass(frozen=True)
class Proposal:
    """The open proposal against the accepted mask of its label."""

    label: int
    clicks: int
    added_voxels: int
    removed_voxels: int


@dataclass(frozen=True)
class ModelUsed:
    """A model that had a hand in a case. `bundle_hash`: SHA-256 that identifies its bundle; "" where it has none."""

    name: str
    version: str = ""
    bundle_hash: str = ""

    @classmethod
    def of(cls, refiner: Refiner | None) -> ModelUsed | None:
        """What a refiner says of itself."""
        if refiner is None:
            return None
        about = refiner.describe()
        return cls(refiner.name, str(about.get("version", "")), str(about.get("bundle_hash", "")))


@dataclass(frozen=True)
class Ledger:
    """Everything small: undo and redo put back whole ledgers.

    `written`: how many voxels of each label each source ("model", "brush", "operation", or "mask" for one that was
    given as a start) wrote or erased. `models`: those that had a hand in what there is now, in their order.
    """

    labels: LabelMap
    works: Mapping[int, LabelWork] = field(default_factory=lambda: MappingProxyType({}))
    written: Mapping[int, Mapping[str, int]] = field(default_factory=lambda: MappingProxyType({}))
    models: tuple[ModelUsed, ...] = ()

    @property
    def open_label(self) -> int | None:
        """Value of the label whose proposal is open."""
        return next((value for value, work in self.works.items() if work.turns), None)

    def with_work(self, value: int, work: LabelWork) -> Ledger:
        """With other work for one label."""
        return replace(self, works=MappingProxyType({**self.works, value: work}))

    def with_model(self, model: ModelUsed | None) -> Ledger:
        """With one more model, unless it is known or None."""
        return self if model is None or model in self.models else replace(self, models=(*self.models, model))

    def with_written(self, value: int, source: Source, voxels: int) -> Ledger:
        """With more voxels of a label written by `source`."""
        if not voxels:
            return self
        before = self.written.get(value, {})
        of_label = MappingProxyType({**before, source: before.get(source, 0) + voxels})
        return replace(self, written=MappingProxyType({**self.written, value: of_label}))

    def without(self, value: int) -> Ledger:
        """With one label less, and nothing that was known of it."""
        works = MappingProxyType({v: work for v, work in self.works.items() if v != value})
        written = MappingProxyType({v: counts for v, counts in self.written.items() if v != value})
        return replace(self, labels=self.labels.without(value), works=works, written=written)

    def with_labels(self, labels: LabelMap) -> Ledger:
        """With another label table."""
        return replace(self, labels=labels)


def _contradicts(click: Click, box: Box, inside: npt.NDArray[np.bool_]) -> bool:
    if not box.contains(click.index):
        return False
    i, j, k = (n - m for n, m in zip(click.index, box.start, strict=True))
    return bool(inside[i, j, k]) != (click.label == ClickLabel.FOREGROUND)


def _without(clicks: tuple[Click, ...], number: int) -> tuple[Click, ...]:
    return clicks[:number] + clicks[number + 1 :]


def deduplicated(earlier: tuple[Click, ...], new: tuple[Click, ...]) -> tuple[tuple[Click, ...], int]:
    """One click for each voxel, the newest, and how many of them are new; the new ones come last."""
    return newest_per_voxel((*earlier, *new)), len(newest_per_voxel(new))


def union_of(boxes: Iterable[Box]) -> Box | None:
    """Smallest box that holds all; None for none."""
    whole: Box | None = None
    for box in boxes:
        whole = box if whole is None else whole.union(box)
    return whole
