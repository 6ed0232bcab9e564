"""Box deltas and the one undo stack. Stores what a write changed, bit for bit; knows neither labels nor clicks.

A delta is made as part of the write, from the box that was written: nothing here compares whole volumes.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import Box, Index

AnyArray = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]
State = TypeVar("State")

ORIGIN: Index = (0, 0, 0)
ZLIB_LEVEL = 1
MANY_BYTES = 2**20  # from here on the parts of a delta are compressed side by side
DEFAULT_CAP_BYTES = 256 * 2**20
ENTRY_BYTES = 512  # name, clicks and bookkeeping of one entry, roughly
BEFORE, AFTER = "before", "after"  # under which a delta knows its plain values before they are let go


@dataclass(frozen=True, eq=False)
class Crossing:
    """Voxels that a write brought above a level (`entered`) and took from there (`left`).

    `gains`: along each axis entered less left in every slice of the delta's box. `box`: the tight box of those voxels.
    """

    entered: int
    left: int
    gains: tuple[Counts, Counts, Counts]
    box: Box | None

    @property
    def inverse(self) -> Crossing:
        """That of the write taken back."""
        a, b, c = self.gains
        return replace(self, entered=self.left, left=self.entered, gains=(-a, -b, -c))


@dataclass(frozen=True, eq=False)
class BoxDelta:
    """What one write changed inside `box` of an array.

    `changed`: packed bit mask of the changed voxels, C order. `old`, `new`: their values in that order. All three
    compressed. `voxels`: how many changed. `box` is tight: the first and last slice along each axis hold a change.

    What was worked out from it once is known from then on, so that a worker can do what would hold up a window.
    """

    box: Box
    dtype: np.dtype[Any]
    changed: bytes
    old: bytes
    new: bytes
    voxels: int
    _known: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def encode(cls, start: Index, before: AnyArray, after: AnyArray, *, keep: bool = False) -> Self | None:
        """The change from `before` to `after`, two arrays of one shape whose first voxel is `start`. None if equal.

        `keep`: nobody will write into either; they are held until `let_go`, and nothing has to be unpacked till then.
        """
        if before.shape != after.shape or before.dtype != after.dtype:
            raise ValueError(f"before is {before.shape} {before.dtype} but after is {after.shape} {after.dtype}")
        changed = before != after
        tight = Box.around_mask(changed)
        if tight is None:
            return None
        changed = changed[tight.slices]
        moved = Box(_add(tight.start, start), _add(tight.stop, start))
        before, after = before[tight.slices], after[tight.slices]
        plain = np.packbits(changed).tobytes(), before[changed].tobytes(), after[changed].tobytes()
        where, old, new = _compressed(*plain)
        delta = cls(moved, before.dtype, where, old, new, int(np.count_nonzero(changed)))
        if keep:
            delta._known.update({BEFORE: before, AFTER: after})
        return delta

    def let_go(self) -> None:
        """Hold nothing but the compressed parts, and what costs next to nothing."""
        for plain in (BEFORE, AFTER):
            self._known.pop(plain, None)

    @property
    def inverse(self) -> BoxDelta:
        """The write that takes this one back."""
        back = BoxDelta(self.box, self.dtype, self.changed, self.new, self.old, self.voxels)
        back._known.update({key: made.inverse for key, made in self._known.items() if isinstance(made, Crossing)})
        return back

    @property
    def nbytes(self) -> int:
        """Bytes the compressed parts take."""
        return len(self.changed) + len(self.old) + len(self.new)

    def changed_voxels(self) -> npt.NDArray[np.bool_]:
        """True where the write changed a voxel; shape of `box`."""
        bits = np.frombuffer(zlib.decompress(self.changed), np.uint8)
        return np.unpackbits(bits, count=self.box.voxels).view(np.bool_).reshape(self.box.shape)

    def old_values(self) -> AnyArray:
        """Values before, one for each True of `changed_voxels`, in C order."""
        return np.frombuffer(zlib.decompress(self.old), self.dtype)

    def new_values(self) -> AnyArray:
        """Values after, in the same order."""
        after = self._known.get(AFTER)
        if after is not None:
            values: AnyArray = after[self.changed_voxels()]
            return values
        return np.frombuffer(zlib.decompress(self.new), self.dtype)

    def crossing(self, level: int) -> Crossing:
        """What the write brought above a level and took from there; worked out once."""
        key = "crossing", level
        if key not in self._known:
            self._known[key] = self._crossing(level)
        found: Crossing = self._known[key]
        return found

    def _crossing(self, level: int) -> Crossing:
        a, b, c = (np.zeros(size, np.int64) for size in self.box.shape)
        change = self._change(level)
        tight = Box.around_mask(change.view(np.bool_))
        if tight is None:
            return Crossing(0, 0, (a, b, c), None)
        part = change[tight.slices]
        crossed, gained = int(np.count_nonzero(part)), int(part.sum(dtype=np.int64))
        last = part.sum(axis=2, dtype=np.int64)
        for gains, where, found in zip(
            (a, b, c),
            tight.slices,
            (last.sum(axis=1), last.sum(axis=0), part.sum(axis=(0, 1), dtype=np.int64)),
            strict=True,
        ):
            gains[where] = found
        return Crossing((crossed + gained) // 2, (crossed - gained) // 2, (a, b, c), tight.shifted(self.box.start))

    def _change(self, level: int) -> npt.NDArray[np.int8]:
        """1 where the write brought a voxel of `box` above a level, -1 where it took one from there, else 0."""
        before, after = self._known.get(BEFORE), self._known.get(AFTER)
        if before is not None and after is not None:
            there: npt.NDArray[np.int8] = (after > level).view(np.int8) - (before > level).view(np.int8)
            return there
        change = np.zeros(self.box.shape, np.int8)
        crossed = (self.new_values() > level).view(np.int8) - (self.old_values() > level).view(np.int8)
        if crossed.any():
            change[self.changed_voxels()] = crossed
        return change

    def apply(self, array: AnyArray, origin: Index = ORIGIN) -> None:
        """Write the new values into `array`, whose first voxel has index `origin`."""
        target, after = self._target(array, origin), self._known.get(AFTER)
        self._known.pop(BEFORE, None)  # it may be a view of what is written into now
        if after is None:
            self._put(target, self.new_values())
        else:
            np.copyto(target, after, where=self.changed_voxels())

    def revert(self, array: AnyArray, origin: Index = ORIGIN) -> None:
        """Write the old values back, so that `array` is bit for bit what it was."""
        self._put(self._target(array, origin), self.old_values())

    def _target(self, array: AnyArray, origin: Index) -> AnyArray:
        """The part of `array` that the delta covers, a view."""
        if array.dtype != self.dtype:
            raise ValueError(f"the delta is of {self.dtype} but the array of {array.dtype}")
        target = array[Box(_subtract(self.box.start, origin), _subtract(self.box.stop, origin)).slices]
        if target.shape != self.box.shape:
            raise ValueError(f"the delta covers {self.box} but the array is {array.shape} from {origin}")
        return target

    def _put(self, target: AnyArray, values: AnyArray) -> None:
        changed = self.changed_voxels()
        if values.size and (values == values[0]).all():  # one label, as most writes are: many times as fast
            np.copyto(target, values[0], where=changed)
        else:
            target[changed] = values


def write_box(array: AnyArray, start: Index, values: AnyArray) -> BoxDelta | None:
    """Write `values` into `array` from index `start` on and return what that changed; None if nothing."""
    stop = _add(start, values.shape)
    view = array[Box(start, stop).slices]
    delta = BoxDelta.encode(start, view, values.astype(array.dtype, copy=False))
    if delta is not None:
        view[...] = values
    return delta


@dataclass(frozen=True, eq=False)
class UndoEntry(Generic[State]):
    """One named action. `deltas`: (which array, what changed in it), in the order of the writes.

    `before` and `after`: everything small that is not an array, such as the click list; they are values and never
    change. `subject`: what the action was about, for whoever shows it. `action`, `parameters`: its id and what it takes
    to do it again, ready for JSON.
    """

    name: str
    deltas: tuple[tuple[Hashable, BoxDelta], ...]
    before: State
    after: State
    subject: Hashable = None
    action: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes that count against the cap of the stack."""
        return ENTRY_BYTES + sum(delta.nbytes for _, delta in self.deltas)


class UndoStack(Generic[State]):
    """Entries that can be taken back and done again, within a byte cap: the oldest goes first, the newest always stays.

    `dropped` counts the entries that left for want of room. Moving through the stack changes no array: the owner of
    the arrays applies what `undo` and `redo` hand out.
    """

    def __init__(self, cap_bytes: int = DEFAULT_CAP_BYTES) -> None:
        if cap_bytes <= 0:
            raise ValueError(f"cap_bytes is {cap_bytes}; the undo stack needs a positive cap")
        self.cap_bytes = cap_bytes
        self.dropped = 0
        self.nbytes = 0
        self._done: list[UndoEntry[State]] = []
        self._undone: list[UndoEntry[State]] = []

    @classmethod
    def of(
        cls,
        done: Iterable[UndoEntry[State]],
        undone: Iterable[UndoEntry[State]] = (),
        *,
        cap_bytes: int = DEFAULT_CAP_BYTES,
        dropped: int = 0,
    ) -> Self:
        """A stack as it was saved: `done` and `undone` as the properties of these names give them."""
        stack = cls(cap_bytes)
        stack._done, stack._undone, stack.dropped = list(done), list(undone), dropped
        stack.nbytes = sum(entry.nbytes for entry in (*stack._done, *stack._undone))
        return stack

    @property
    def done(self) -> tuple[UndoEntry[State], ...]:
        """What can be undone, oldest first."""
        return tuple(self._done)

    @property
    def undone(self) -> tuple[UndoEntry[State], ...]:
        """What can be done again, what was undone first first: redo takes the last."""
        return tuple(self._undone)

    @property
    def undo_names(self) -> tuple[str, ...]:
        """Names of what can be undone, newest first."""
        return tuple(entry.name for entry in reversed(self._done))

    @property
    def redo_names(self) -> tuple[str, ...]:
        """Names of what can be done again, in the order it would be."""
        return tuple(entry.name for entry in reversed(self._undone))

    @property
    def notice(self) -> str:
        """Says that old entries are gone; empty while all are there."""
        if not self.dropped:
            return ""
        noun = "entry" if self.dropped == 1 else "entries"
        return f"{self.dropped} oldest {noun} dropped: the undo list is capped at {self.cap_bytes / 2**20:g} MB"

    def push(self, entry: UndoEntry[State]) -> tuple[str, ...]:
        """Add what was just done; what was undone can no longer be done again. Names that fell off the old end."""
        for _, delta in entry.deltas:
            delta.let_go()
        self.nbytes -= sum(undone.nbytes for undone in self._undone)
        self._undone.clear()
        self._done.append(entry)
        self.nbytes += entry.nbytes
        names = []
        while self.nbytes > self.cap_bytes and len(self._done) > 1:
            oldest = self._done.pop(0)
            self.nbytes -= oldest.nbytes
            names.append(oldest.name)
        self.dropped += len(names)
        return tuple(names)

    def undo(self) -> UndoEntry[State] | None:
        """The newest entry, to be reverted by the caller; None when there is none."""
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        return self._undone[-1]

    def redo(self) -> UndoEntry[State] | None:
        """The entry undone last, to be applied by the caller; None when there is none."""
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        return self._done[-1]


def _compressed(*parts: bytes) -> Iterable[bytes]:
    if sum(len(part) for part in parts) < MANY_BYTES:
        return (zlib.compress(part, ZLIB_LEVEL) for part in parts)
    with ThreadPoolExecutor(len(parts)) as threads:
        return list(threads.map(lambda part: zlib.compress(part, ZLIB_LEVEL), parts))


def _add(a: Index, b: tuple[int, ...]) -> Index:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _subtract(a: Index, b: Index) -> Index:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]
