"""The arrays of a case: the accepted labels in layers and one percent state for each label. Changed by deltas alone.

Working order. What a write may change, under locks and where labels overlap, is decided in `writing`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medseg_rl.history import BoxDelta
from medseg_rl.interaction import MaskExtent, filled
from medseg_rl.labels import BACKGROUND
from medseg_rl.refiner import MASK_THRESHOLD, Percent
from medseg_rl.session.state import BINARY_BACKGROUND, BINARY_OBJECT, LabelWork, union_of
from medseg_rl.volume import Box, Index

Mask = npt.NDArray[np.bool_]
ReadLocks = Callable[[Box], Mask | None]

LABEL_MAP = "label map"  # key of its deltas in the undo list; further layers have their number behind it


def layer_key(layer: int) -> str:
    """Key of the deltas of a layer of accepted labels."""
    return f"{LABEL_MAP} {layer}" if layer else LABEL_MAP


def layer_of(key: Hashable) -> int | None:
    """The layer whose deltas have that key; None for those of a percent state."""
    if not isinstance(key, str):
        return None
    return int(key.removeprefix(LABEL_MAP) or 0)


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
    def of_mask(cls, mask: Mask, box: Box, shape: Index) -> SoftState:
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
        self.extent.follow(delta)
        delta.apply(self.array)
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

    def mask(self, box: Box) -> Mask:
        """True inside the object, over a box."""
        inside: Mask = self.array[box.slices] > MASK_THRESHOLD
        return inside


class CaseArrays:
    """`layers`: accepted label of each voxel, 0 for none; more than one only where labels overlap, all of one type.

    Percent states come into being when first asked for. Layers and states cost memory only where they were written.
    """

    def __init__(self, shape: Index, accepted: Sequence[npt.NDArray[Any]] = ()) -> None:
        self.shape = shape
        self._soft: dict[int, SoftState] = {}
        dtype = np.result_type(np.uint16, *(array.dtype for array in accepted))
        self.layers = [array.astype(dtype, order="C") for array in accepted] or [np.zeros(shape, dtype)]
        self._occupied = [Box.around_mask(layer != BACKGROUND) if accepted else None for layer in self.layers]

    @classmethod
    def of_stored(cls, shape: Index, stored: Iterable[StoredArray]) -> CaseArrays:
        """The arrays that `stored` gave."""
        arrays = cls(shape)
        for key, dtype, box, values in stored:
            layer = layer_of(key)
            if layer is None:
                assert isinstance(key, tuple)
                arrays._soft[key[1]] = SoftState.of_stored(shape, box, values)
                continue
            arrays._make_layers(layer)
            arrays.layers[layer], arrays._occupied[layer] = np.zeros(shape, dtype), box
            if box is not None:
                arrays.layers[layer][box.slices] = values
        return arrays

    def stored(self) -> tuple[StoredArray, ...]:
        """Every array there is: key, type, a box of all that was ever written in it, and a copy of that box."""
        every: list[tuple[Hashable, npt.NDArray[Any], Box | None]] = [
            (layer_key(n), layer, box) for n, (layer, box) in enumerate(zip(self.layers, self._occupied, strict=True))
        ]
        every += [(percent_key(value), soft.array, soft.touched) for value, soft in self._soft.items()]
        return tuple(
            StoredArray(key, array.dtype, box, None if box is None else array[box.slices].copy())
            for key, array, box in every
        )

    def has(self, key: Hashable) -> bool:
        """Whether there is an array of that key; percent states are there as soon as they are asked for."""
        layer = layer_of(key)
        return layer is None or layer < len(self.layers)

    def array(self, key: Hashable) -> npt.NDArray[Any]:
        """The array of that key."""
        layer = layer_of(key)
        if layer is not None:
            return self.layers[layer]
        assert isinstance(key, tuple)
        return self.soft(key[1]).array

    @property
    def occupied(self) -> Box | None:
        """A box of all accepted labels."""
        return union_of(box for box in self._occupied if box is not None)

    def is_empty_in(self, box: Box) -> bool:
        """Whether no label was accepted in a box; says so only where that is known without looking."""
        occupied = self.occupied
        return occupied is None or not occupied.intersection(box).voxels

    @property
    def soft_values(self) -> tuple[int, ...]:
        """The labels whose percent state was asked for so far."""
        return tuple(self._soft)

    def soft(self, value: int) -> SoftState:
        """Percent state of a label; that of its accepted mask at first."""
        if value not in self._soft:
            box = self.accepted_box(value)
            if box is None:
                state = SoftState(self.shape)
            else:
                state = SoftState.of_mask(self.accepted_mask(value, box), box, self.shape)
            self._soft.setdefault(value, state)
        return self._soft[value]

    def accepted_mask(self, value: int, box: Box) -> Mask:
        """True where the label was accepted, over a box."""
        first, *others = (layer[box.slices] == value for layer in self.layers)
        inside: Mask = first
        for other in others:
            inside |= other
        return inside

    def accepted_box(self, value: int) -> Box | None:
        """The smallest box that holds every accepted voxel of a label; None where it has none."""
        for layer, occupied in zip(self.layers, self._occupied, strict=True):
            tight = None if occupied is None else Box.around_mask(layer[occupied.slices] == value)
            if occupied is not None and tight is not None:
                return tight.shifted(occupied.start)
        return None

    def values_at(self, index: Index) -> tuple[int, ...]:
        """The accepted labels of one voxel."""
        return tuple(int(layer[index]) for layer in self.layers if layer[index] != BACKGROUND)

    def first_work(self, value: int) -> LabelWork:
        """What is known of a label before any action on it: an accepted mask is its start."""
        box = self.soft(value).extent.box
        return LabelWork() if box is None else LabelWork(background=BINARY_BACKGROUND, start_box=box)

    def write(self, key: Hashable, delta: BoxDelta, *, reverted: bool = False) -> None:
        """Apply or revert a delta of the array with that key."""
        layer = layer_of(key)
        if layer is not None:
            self._make_layers(layer)
            (delta.revert if reverted else delta.apply)(self.layers[layer])
            self._occupied[layer] = union_of(box for box in (self._occupied[layer], delta.box) if box is not None)
            return
        assert isinstance(key, tuple)
        soft = self.soft(key[1])
        (soft.revert if reverted else soft.apply)(delta)

    def difference(self, value: int, box: Box | None) -> tuple[int, int]:
        """Voxels the state of a label adds to and removes from its accepted mask inside `box`."""
        if box is None:
            return 0, 0
        shown, accepted = self.soft(value).mask(box), self.accepted_mask(value, box)
        return int(np.count_nonzero(shown & ~accepted)), int(np.count_nonzero(accepted & ~shown))

    def _make_layers(self, layer: int) -> None:
        while len(self.layers) <= layer:
            self.layers.append(np.zeros(self.shape, self.layers[0].dtype))
            self._occupied.append(None)
