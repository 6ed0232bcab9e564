"""Box deltas and the one undo stack. Stores what a write changed, bit for bit; knows neither labels nor clicks.

A delta is made as part of the write, from the box that was written: nothing here compares whole volumes.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import Box, Index

AnyArray = npt.NDArray[Any]
State = TypeVar("State")

ORIGIN: Index = (0, 0, 0)
ZLIB_LEVEL = 1
DEFAULT_CAP_BYTES = 256 * 2**20
ENTRY_BYTES = 512  # name, clicks and bookkeeping of one entry, roughly


@dataclass(frozen=True, eq=False)
class BoxDelta:
    """What one write changed inside `box` of an array.

    `changed`: packed bit mask of the changed voxels, C order. `old`, `new`: their values in that order. All three
    compressed. `voxels`: how many changed. `box` is tight: the first and last slice along each axis hold a change.
    """

    box: Box
    dtype: np.dtype[Any]
    changed: bytes
    old: bytes
    new: bytes
    voxels: int

    @classmethod
    def encode(cls, start: Index, before: AnyArray, after: AnyArray) -> Self | None:
        """The change from `before` to `after`, two arrays of one shape whose first voxel is `start`. None if equal."""
        if before.shape != after.shape or before.dtype != after.dtype:
            raise ValueError(f"before is {before.shape} {before.dtype} but after is {after.shape} {after.dtype}")
        changed = before != after
        tight = Box.around_mask(changed)
        if tight is None:
            return None
        changed = changed[tight.slices]
        moved = Box(_add(tight.start, start), _add(tight.stop, start))
        return cls(
            moved,
            before.dtype,
            zlib.compress(np.packbits(changed).tobytes(), ZLIB_LEVEL),
            zlib.compress(before[tight.slices][changed].tobytes(), ZLIB_LEVEL),
            zlib.compress(after[tight.slices][changed].tobytes(), ZLIB_LEVEL),
            int(np.count_nonzero(changed)),
        )

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
        return np.frombuffer(zlib.decompress(self.new), self.dtype)

    def apply(self, array: AnyArray, origin: Index = ORIGIN) -> None:
        """Write the new values into `array`, whose first voxel has index `origin`."""
        self._put(array, origin, self.new_values())

    def revert(self, array: AnyArray, origin: Index = ORIGIN) -> None:
        """Write the old values back, so that `array` is bit for bit what it was."""
        self._put(array, origin, self.old_values())

    def _put(self, array: AnyArray, origin: Index, values: AnyArray) -> None:
        if array.dtype != self.dtype:
            raise ValueError(f"the delta is of {self.dtype} but the array of {array.dtype}")
        target = array[Box(_subtract(self.box.start, origin), _subtract(self.box.stop, origin)).slices]
        if target.shape != self.box.shape:
            raise ValueError(f"the delta covers {self.box} but the array is {array.shape} from {origin}")
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


def _add(a: Index, b: tuple[int, ...]) -> Index:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _subtract(a: Index, b: Index) -> Index:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]
