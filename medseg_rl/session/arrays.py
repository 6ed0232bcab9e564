"""The arrays of a case: the accepted label map and one percent state for each label. Changed by deltas alone.

Working order. Computes what accept and discard would write, from the box of the proposal; writes only through `write`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medseg_rl.history import BoxDelta
from medseg_rl.interaction import MaskExtent, filled
from medseg_rl.labels import BACKGROUND, LabelMap
from medseg_rl.refiner import MASK_THRESHOLD, Percent
from medseg_rl.session.state import BINARY_BACKGROUND, BINARY_OBJECT, LabelWork
from medseg_rl.volume import Box, Index

ReadLocks = Callable[[Box], npt.NDArray[np.bool_] | None]

LABEL_MAP = "label map"  # key of its deltas in the undo list


def percent_key(value: int) -> tuple[str, int]:
    """Key of the deltas of a label's percent state."""
    return "percent", value


class StoredArray(NamedTuple):
    """What was ever written of one array: the `values` of `box`; both None where nothing was."""

    key: Hashable
    dtype: np.dtype[Any]
    box: Box | None
    values: npt.NDArray[Any] | None


def no_locks(box: Box) -> None:
    """Says of every box that nothing in it is locked."""


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

    @classmethod
    def of_stored(cls, shape: Index, box: Box | None, values: Percent | None) -> SoftState:
        """The state whose box `touched` had these values."""
        state = cls(shape)
        if box is not None and values is not None:
            state.array[box.slices] = values
            state.extent.add_mask(values > MASK_THRESHOLD, box.start)
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


class CaseArrays:
    """`labels`: accepted label of each voxel, 0 for none. Percent states come into being when first asked for."""

    def __init__(self, shape: Index, accepted: npt.NDArray[Any] | None = None) -> None:
        self.shape = shape
        self.labels: npt.NDArray[Any] = np.zeros(shape, np.uint16)
        self._occupied: Box | None = None  # a box of all labels
        self._soft: dict[int, SoftState] = {}
        if accepted is not None:
            self.labels = accepted.astype(np.result_type(accepted.dtype, np.uint16), order="C")
            self._occupied = Box.around_mask(self.labels != BACKGROUND)

    @classmethod
    def of_stored(cls, shape: Index, stored: Iterable[StoredArray]) -> CaseArrays:
        """The arrays that `stored` gave."""
        arrays = cls(shape)
        for key, dtype, box, values in stored:
            if isinstance(key, tuple):
                arrays._soft[key[1]] = SoftState.of_stored(shape, box, values)
                continue
            arrays.labels, arrays._occupied = np.zeros(shape, dtype), box
            if box is not None:
                arrays.labels[box.slices] = values
        return arrays

    def stored(self) -> tuple[StoredArray, ...]:
        """Every array there is: key, type, a box of all that was ever written in it, and a copy of that box."""
        every: list[tuple[Hashable, npt.NDArray[Any], Box | None]] = [(LABEL_MAP, self.labels, self._occupied)]
        every += [(percent_key(value), soft.array, soft.touched) for value, soft in self._soft.items()]
        return tuple(
            StoredArray(key, array.dtype, box, None if box is None else array[box.slices].copy())
            for key, array, box in every
        )

    def soft(self, value: int) -> SoftState:
        """Percent state of a label; that of its accepted mask at first."""
        if value not in self._soft:
            box = self._occupied
            inside = None if box is None else self.labels[box.slices] == value
            tight = None if inside is None else Box.around_mask(inside)
            if box is None or inside is None or tight is None:
                self._soft[value] = SoftState(self.shape)
            else:
                self._soft[value] = SoftState.of_mask(inside[tight.slices], tight.shifted(box.start), self.shape)
        return self._soft[value]

    def first_work(self, value: int) -> LabelWork:
        """What is known of a label before any action on it: an accepted mask is its start."""
        box = self.soft(value).extent.box
        return LabelWork() if box is None else LabelWork(background=BINARY_BACKGROUND, start_box=box)

    def write(self, key: Hashable, delta: BoxDelta, *, reverted: bool = False) -> None:
        """Apply or revert a delta of the array with that key."""
        if key == LABEL_MAP:
            (delta.revert if reverted else delta.apply)(self.labels)
            self._occupied = delta.box if self._occupied is None else self._occupied.union(delta.box)
            return
        assert isinstance(key, tuple)
        soft = self.soft(key[1])
        (soft.revert if reverted else soft.apply)(delta)

    def locks(self, area: Box, table: LabelMap, active: int) -> ReadLocks:
        """Tells, for boxes inside `area`, where locked labels lie; from a copy of that part of the label map."""
        part = None if self._occupied is None else self._occupied.intersection(area)
        if part is None or part.voxels == 0 or len(table.labels) == 1:
            return no_locks
        copy = np.zeros(self.shape, self.labels.dtype)  # untouched memory; zeros_like would write all of it
        copy[part.slices] = self.labels[part.slices]

        def locked(box: Box) -> npt.NDArray[np.bool_] | None:
            voxels = table.locked_voxels(copy[box.slices], active=active)
            return voxels if voxels.any() else None

        return locked

    def difference(self, value: int, box: Box | None) -> tuple[int, int]:
        """Voxels the state of a label adds to and removes from its accepted mask inside `box`."""
        if box is None:
            return 0, 0
        shown, accepted = self.soft(value).mask(box), self.labels[box.slices] == value
        return int(np.count_nonzero(shown & ~accepted)), int(np.count_nonzero(accepted & ~shown))

    def accepted(self, value: int, box: Box | None, table: LabelMap) -> BoxDelta | None:
        """What accepting the state of a label inside `box` writes into the label map: nothing in or out of a lock."""
        if box is None:
            return None
        before = self.labels[box.slices]
        shown = self.soft(value).mask(box) & ~table.locked_voxels(before, active=value)
        after = np.where(shown, value, np.where(before == value, BACKGROUND, before)).astype(before.dtype)
        return BoxDelta.encode(box.start, before, after)

    def discarded(self, value: int, work: LabelWork) -> BoxDelta | None:
        """What discarding the open proposal of a label writes into its percent state."""
        box = work.open_box
        if box is None:
            return None
        shown = self.soft(value).array[box.slices]
        before = shown.copy()
        for turn in reversed(work.turns):
            if turn.delta is not None:
                turn.delta.revert(before, box.start)
        return BoxDelta.encode(box.start, shown, before)
