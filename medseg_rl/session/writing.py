"""What a write into the accepted labels changes: nothing in or out of a locked label, others by the overwrite policy.

Everything that writes an accepted mask goes through here: acceptance, edits by hand, moved labels. Changes nothing
itself; deltas come back. Working order.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medseg_rl.history import BoxDelta
from medseg_rl.labels import BACKGROUND, LabelMap, value_counts
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD
from medseg_rl.session.arrays import CaseArrays, Mask, ReadLocks, layer_key, no_locks, percent_key
from medseg_rl.volume import Box

Overwrite = Literal["keep", "replace", "overlap"]
OVERWRITE: tuple[Overwrite, ...] = ("keep", "replace", "overlap")
DEFAULT_OVERWRITE: Overwrite = "keep"
Deltas = tuple[tuple[Hashable, BoxDelta], ...]
AnyArray = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Written:
    """What writing a mask comes to. `inside`: the label afterwards, over the box that was written.

    `table`: with another layer for the label where it had to move. `refused`: voxels that each label, by value, did
    not give up.
    """

    deltas: Deltas
    table: LabelMap
    inside: Mask
    added: int
    removed: int
    refused: dict[int, int] = field(default_factory=dict)


def barrier(parts: Sequence[AnyArray], table: LabelMap, value: int, policy: Overwrite) -> Mask:
    """True where the label may not grow. `parts`: the layers over one box.

    Those are the voxels of locked labels and, where others are kept, of all others; not the label's own voxels, also
    where another lies on them in another layer: those it may lose and win back.
    """
    blocked = np.zeros(parts[0].shape, np.bool_)
    for part in parts:
        if policy == "keep":
            blocked |= (part != BACKGROUND) & (part != value)
        else:
            blocked |= table.locked_voxels(part, active=value)
    if len(parts) > 1:
        for part in parts:
            blocked &= part != value
    return blocked


def read_barrier(arrays: CaseArrays, area: Box, table: LabelMap, value: int, policy: Overwrite) -> ReadLocks:
    """Tells, for boxes inside `area`, where the label may not grow; from a copy of that part of the layers."""
    occupied = arrays.occupied
    part = None if occupied is None else occupied.intersection(area)
    if part is None or part.voxels == 0 or len(table.labels) == 1:
        return no_locks
    copies = []
    for layer in arrays.layers:
        copy = np.zeros(arrays.shape, layer.dtype)  # untouched memory; zeros_like would write all of it
        copy[part.slices] = layer[part.slices]
        copies.append(copy)

    def blocked(box: Box) -> Mask | None:
        voxels = barrier([copy[box.slices] for copy in copies], table, value, policy)
        return voxels if voxels.any() else None

    return blocked


def written(arrays: CaseArrays, table: LabelMap, value: int, box: Box, wanted: Mask, policy: Overwrite) -> Written:
    """What it takes to make the label `wanted` over `box`, as far as locks and the policy let it.

    The percent states of all labels that change follow: 99 where a label gains a voxel, 1 where it loses one.
    """
    if arrays.is_empty_in(box):
        return _into_nothing(arrays, table, value, box, wanted)
    parts = [layer[box.slices] for layer in arrays.layers]
    layer = table[value].layer
    own = parts[layer] == value if layer < len(parts) else np.zeros(box.shape, np.bool_)
    blocked = barrier(parts, table, value, policy)
    inside = wanted & ~blocked
    gained, lost = inside & ~own, own & ~inside
    if policy == "overlap" and layer < len(parts) and bool((parts[layer][gained] != BACKGROUND).any()):
        table, deltas = _moved(arrays, table, value, box, inside)
    else:
        deltas = _in_place(parts, layer, box, value, gained, lost, clears=policy == "replace")
    deltas += _followed(arrays, value, box, inside)
    if policy == "replace":
        for other in _values_in(parts, gained):
            deltas += _followed(arrays, other, box, arrays.accepted_mask(other, box) & ~gained)
    refused = _counts(parts, wanted & blocked)
    return Written(tuple(deltas), table, inside, int(np.count_nonzero(gained)), int(np.count_nonzero(lost)), refused)


def _into_nothing(arrays: CaseArrays, table: LabelMap, value: int, box: Box, wanted: Mask) -> Written:
    """The same where nothing is labelled yet: no lock and no other label is in the way, and no array has to be read."""
    after = wanted.astype(arrays.layers[0].dtype)
    after *= value
    delta = BoxDelta.encode(box.start, np.broadcast_to(after.dtype.type(BACKGROUND), box.shape), after, keep=True)
    deltas: Deltas = () if delta is None else ((layer_key(table[value].layer), delta),)
    deltas += tuple(_followed(arrays, value, box, wanted))
    return Written(deltas, table, wanted, 0 if delta is None else delta.voxels, 0)


def _in_place(
    parts: list[AnyArray], layer: int, box: Box, value: int, gained: Mask, lost: Mask, *, clears: bool
) -> list[tuple[Hashable, BoxDelta]]:
    """Writes the label into its layer; `clears`: takes what it gains from those that hold it in other layers."""
    deltas: list[tuple[Hashable, BoxDelta]] = []
    for n in range(max(len(parts), layer + 1)) if clears else (layer,):
        before = parts[n] if n < len(parts) else np.zeros(box.shape, parts[0].dtype)
        after = np.where(gained, value if n == layer else BACKGROUND, before).astype(before.dtype)
        if n == layer:
            after[lost] = BACKGROUND
        delta = BoxDelta.encode(box.start, before, after)
        if delta is not None:
            deltas.append((layer_key(n), delta))
    return deltas


def _moved(
    arrays: CaseArrays, table: LabelMap, value: int, box: Box, inside: Mask
) -> tuple[LabelMap, list[tuple[Hashable, BoxDelta]]]:
    """Moves the whole label to the first layer where it lies on nobody, a new one if need be."""
    old, all_of_it = table[value].layer, arrays.accepted_box(value)
    whole = box if all_of_it is None else box.union(all_of_it)
    mask = arrays.accepted_mask(value, whole)
    mask[box.shifted((-whole.start[0], -whole.start[1], -whole.start[2])).slices] = inside
    free = len(arrays.layers)
    for n, layer in enumerate(arrays.layers):
        if n != old and not layer[whole.slices][mask].any():
            free = n
            break
    deltas: list[tuple[Hashable, BoxDelta]] = []
    for n in (old, free):
        dtype = arrays.layers[0].dtype
        before = arrays.layers[n][whole.slices] if n < len(arrays.layers) else np.zeros(whole.shape, dtype)
        after = np.where(before == value, BACKGROUND, before).astype(dtype)
        if n == free:
            after[mask] = value
        delta = BoxDelta.encode(whole.start, before, after)
        if delta is not None:
            deltas.append((layer_key(n), delta))
    return table.changing(value, layer=free), deltas


def _followed(arrays: CaseArrays, value: int, box: Box, inside: Mask) -> list[tuple[Hashable, BoxDelta]]:
    """What brings the percent state of a label to show `inside` over a box; where it already does, it stays."""
    before = arrays.soft(value).array[box.slices]
    shown = before > MASK_THRESHOLD
    if np.array_equal(shown, inside):
        return []
    after = before.copy()
    after[inside & ~shown] = HIGHEST
    after[shown & ~inside] = LOWEST
    delta = BoxDelta.encode(box.start, before, after)
    return [] if delta is None else [(percent_key(value), delta)]


def separated(
    arrays: CaseArrays, table: LabelMap, value: int, box: Box, inside: Mask, parts: Sequence[Mask]
) -> tuple[Written, tuple[int, ...]]:
    """What it takes to cut `parts` out of a label, as labels of their own in its layer, and the values of those."""
    layer, new = table[value].layer, []
    before = arrays.layers[layer][box.slices]
    after = before.copy()
    after[(before == value) & ~inside] = BACKGROUND
    deltas: list[tuple[Hashable, BoxDelta]] = []
    for part in parts:
        table = table.adding(layer=layer)
        new.append(table.values[-1])
        after[part] = new[-1]
        deltas += _followed(arrays, new[-1], box, part)
    whole = BoxDelta.encode(box.start, before, after)
    deltas = [*([] if whole is None else [(layer_key(layer), whole)]), *_followed(arrays, value, box, inside), *deltas]
    removed = int(np.count_nonzero((before == value) & ~inside))
    return Written(tuple(deltas), table, inside, 0, removed), tuple(new)


def emptied(arrays: CaseArrays, value: int) -> Deltas:
    """What takes a label out of the layers and its percent state back to nothing."""
    deltas: list[tuple[Hashable, BoxDelta]] = []
    box, soft = arrays.accepted_box(value), arrays.soft(value)
    for n, layer in enumerate(arrays.layers if box is not None else ()):
        assert box is not None
        before = layer[box.slices]
        delta = BoxDelta.encode(box.start, before, np.where(before == value, BACKGROUND, before).astype(before.dtype))
        if delta is not None:
            deltas.append((layer_key(n), delta))
    if soft.touched is not None:
        before = soft.array[soft.touched.slices]
        delta = BoxDelta.encode(soft.touched.start, before, np.zeros_like(before))
        if delta is not None:
            deltas.append((percent_key(value), delta))
    return tuple(deltas)


def _values_in(parts: Sequence[AnyArray], voxels: Mask) -> tuple[int, ...]:
    return tuple(_counts(parts, voxels))


def _counts(parts: Sequence[AnyArray], voxels: Mask) -> dict[int, int]:
    """Voxels of each label among those marked."""
    found: dict[int, int] = {}
    if voxels.any():
        for part in parts:
            for value, count in value_counts(part[voxels]).items():
                if value != BACKGROUND:
                    found[value] = found.get(value, 0) + count
    return found
