"""What a session holds: small values that are replaced as a whole, and arrays that only deltas change.

All arrays and indices here are in working order: nearest RAS+, as networks see it. The session translates at its
border.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click, newest_per_voxel
from medseg_rl.history import BoxDelta
from medseg_rl.interaction import MaskExtent, filled
from medseg_rl.labels import LabelMap
from medseg_rl.preprocessing import normalise_intensity
from medseg_rl.refiner import LOWEST, MASK_THRESHOLD, Percent, Refiner
from medseg_rl.volume import AxisOrder, Box, Index, Volume

BINARY_OBJECT, BINARY_BACKGROUND = 90, 10  # hundredths of a binary start: a wrong one must stay correctable

TurnKind = Literal["click", "refine", "start"]


@dataclass(frozen=True, eq=False)
class OpenTurn:
    """One action of the open proposal: its new clicks and what it changed in the percent state."""

    kind: TurnKind
    clicks: tuple[Click, ...]
    delta: BoxDelta | None


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
        """Whether deleting that click only takes it from the hints: it was accepted, or a new start came after it."""
        if number < len(self.accepted_clicks):
            return True
        at, _ = self.turn_of(number)
        return any(turn.kind == "start" for turn in self.turns[at + 1 :])

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


@dataclass(frozen=True)
class Ledger:
    """Everything small: undo and redo put back whole ledgers. `written`: voxels of the label map each source wrote."""

    labels: LabelMap
    works: Mapping[int, LabelWork] = field(default_factory=lambda: MappingProxyType({}))
    written: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def open_label(self) -> int | None:
        """Value of the label whose proposal is open."""
        return next((value for value, work in self.works.items() if work.turns), None)

    def with_work(self, value: int, work: LabelWork) -> Ledger:
        """With other work for one label."""
        return Ledger(self.labels, MappingProxyType({**self.works, value: work}), self.written)

    def with_written(self, source: str, voxels: int) -> Ledger:
        """With more voxels written by `source`."""
        written = {**self.written, source: self.written.get(source, 0) + voxels}
        return Ledger(self.labels, self.works, MappingProxyType(written))

    def with_labels(self, labels: LabelMap) -> Ledger:
        """With another label table."""
        return Ledger(labels, self.works, self.written)


class SoftState:
    """Percent state of one label over the whole volume, 0 where nothing was ever written.

    The array starts as untouched memory, so a label costs what was written and not a volume. `touched`: a box of all
    that was ever written; `extent`: the exact box of the mask.
    """

    def __init__(self, shape: Index) -> None:
        self.array: Percent = np.zeros(shape, np.uint8)
        self.extent = MaskExtent(shape)
        self.touched: Box | None = None

    @classmethod
    def of_mask(cls, mask: npt.NDArray[np.bool_], box: Box, shape: Index) -> SoftState:
        """That of an accepted mask; `mask` over `box`."""
        state = cls(shape)
        state.array[box.slices][mask] = BINARY_OBJECT
        state.extent.add_mask(mask, box.start)
        state.touched = box
        return state

    def apply(self, delta: BoxDelta) -> None:
        """Write a change."""
        delta.apply(self.array)
        self.extent.follow(delta)
        self.touched = delta.box if self.touched is None else self.touched.union(delta.box)

    def revert(self, delta: BoxDelta) -> None:
        """Take a change back."""
        delta.revert(self.array)
        self.extent.follow(delta, reverted=True)

    def snapshot(self, box: Box) -> Percent:
        """An array of the whole volume with the state of `box`; what lies outside was not copied. Costs that box."""
        copy: Percent = np.zeros(self.array.shape, np.uint8)
        if self.touched is not None:
            part = box.intersection(self.touched).slices
            copy[part] = self.array[part]
        return copy

    def read(self, box: Box, background: int) -> Percent:
        """Hundredths 1..99 of a box."""
        return filled(self.array[box.slices], background)

    def mask(self, box: Box) -> npt.NDArray[np.bool_]:
        """True inside the object, over a box."""
        inside: npt.NDArray[np.bool_] = self.array[box.slices] > MASK_THRESHOLD
        return inside


class WorkingImage:
    """The image in working order, normalised once by the statistics of its whole volume when first read.

    Normalising waits for the first read because it takes a second on a large volume; any thread may cause it.
    """

    def __init__(self, image: Volume) -> None:
        self.order = AxisOrder.of(image.affine)
        self.shape = self.order.apply(np.broadcast_to(np.int8(0), image.shape)).shape
        self.spacing = self.order.apply_spacing(image.spacing)
        self._image = image
        self._lock = threading.Lock()
        self._normalised: npt.NDArray[np.float32] | None = None

    def read(self, box: Box) -> npt.NDArray[np.float32]:
        """Normalised values of a box, a copy in memory order."""
        with self._lock:
            if self._normalised is None:
                normalised = normalise_intensity(self._image.array, self._image.modality)
                self._normalised = self.order.apply(normalised)
        return np.ascontiguousarray(self._normalised[box.slices])


class LazyRefiner:
    """A refiner, or a callable that loads one at the first model action; loaded once."""

    def __init__(self, source: Refiner | Callable[[], Refiner]) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._refiner: Refiner | None = None

    @property
    def loaded(self) -> Refiner | None:
        """The refiner, or None before the first action."""
        return self._refiner

    def get(self) -> Refiner:
        """The refiner, loaded now if it was not."""
        with self._lock:
            if self._refiner is None:
                source: Any = self._source
                ready = hasattr(source, "refine") and not isinstance(source, type)
                self._refiner = source if ready else source()
            return self._refiner


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


def box_in_file_order(box: Box, order: AxisOrder, working_shape: Index) -> Box:
    """A box of an array in working order as the box of the same voxels in file order."""
    start, stop = [0, 0, 0], [0, 0, 0]
    for axis, (file_axis, flipped) in enumerate(zip(order.permutation, order.flipped, strict=True)):
        a, b, n = box.start[axis], box.stop[axis], working_shape[axis]
        start[file_axis], stop[file_axis] = (n - b, n - a) if flipped else (a, b)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def index_in_file_order(index: Index, order: AxisOrder, working_shape: Index) -> Index:
    """A voxel index in working order as that of the same voxel in file order."""
    one = Box(index, (index[0] + 1, index[1] + 1, index[2] + 1))
    return box_in_file_order(one, order, working_shape).start
