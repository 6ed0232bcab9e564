"""Labels of a segmentation: value, name, colour, lock. Values are the user's and are never renumbered.

Knows nothing of undo or files: a change is a new `LabelMap`, an array of labels is somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medseg_rl.errors import ClickError

Colour = tuple[int, int, int]
BACKGROUND = 0
LABEL_TYPES = (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)

# Okabe and Ito (2008), without black, in an order that keeps neighbours apart; then four of Paul Tol's muted set.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (153, 153, 153),
    (136, 34, 85),
    (170, 68, 153),
    (51, 34, 136),
    (153, 153, 51),
)


def default_colour(value: int) -> Colour:
    """The colour (red, green, blue, 0-255) of a label value, the same in every case."""
    return PALETTE[(value - 1) % len(PALETTE)]


def listed(values: Sequence[object], most: int = 8) -> str:
    """Values for a message: the first few, and how many more there are; "none" for none."""
    shown = ", ".join(str(value) for value in values[:most])
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return f"{shown}{more}" or "none"


def label_dtype(values: Iterable[int]) -> np.dtype[Any]:
    """The smallest integer type that holds all label values and the background."""
    found = [BACKGROUND, *(int(v) for v in values)]
    for dtype in LABEL_TYPES:
        if np.iinfo(dtype).min <= min(found) and max(found) <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    raise ValueError(f"no integer type holds label values from {min(found)} to {max(found)}")


def value_counts(label_array: npt.NDArray[Any]) -> dict[int, int]:
    """The values that occur in an array of integers, background among them, in rising order, and their voxels."""
    flat, dtype = label_array.ravel(order="K"), label_array.dtype
    if flat.size and (only := int(flat[0])) == flat.min() == flat.max():  # as most of what is written is
        return {only: flat.size}
    if dtype.itemsize > 2 or dtype.kind not in "iu":
        values, voxels = np.unique(flat, return_counts=True)
        return {int(v): int(n) for v, n in zip(values, voxels, strict=True)}
    lowest = int(np.iinfo(dtype).min)
    counts = np.zeros(int(np.iinfo(dtype).max) - lowest + 1, dtype=np.int64)
    for start in range(0, flat.size, 1 << 20):  # in parts: a quarter of the time of sorting, little memory
        part = flat[start : start + (1 << 20)].astype(np.intp) - lowest
        counts += np.bincount(part, minlength=counts.size)
    return {int(place) + lowest: int(counts[place]) for place in np.flatnonzero(counts)}


def translation_table(kind: np.dtype[Any], numbers: Mapping[int, int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """What every value of an integer type of up to 16 bits becomes: `table[label_array]`; background without an entry.

    Negative values stand at its end, where NumPy looks for them. An entry that the type cannot hold is left out.
    """
    if kind.itemsize > 2 or kind.kind not in "iu":
        raise ValueError(f"a table of all values of {kind} would be too long")
    ends = np.iinfo(kind)
    table = np.full(1 << 8 * kind.itemsize, BACKGROUND, dtype)
    for value, number in numbers.items():
        if ends.min <= value <= ends.max:
            table[value] = number
    return table


def values_in(label_array: npt.NDArray[Any]) -> tuple[int, ...]:
    """The values that occur in an array of integers, background among them, in rising order."""
    return tuple(value_counts(label_array))


@dataclass(frozen=True)
class Label:
    """`value`: in the array, not 0. `colour`: red, green, blue, 0-255. `locked`: by the user's own hand.

    `layer`: which array holds it, from 0; there is more than one only where labels overlap. `opened`: its lock was
    opened by hand, so that it stays open while another label is the active one; never together with `locked`.
    """

    value: int
    name: str
    colour: Colour
    locked: bool = False
    layer: int = 0
    opened: bool = False

    def __post_init__(self) -> None:
        if self.value == BACKGROUND:
            raise ValueError("value 0 is background and takes no label")
        if not all(0 <= c <= 255 for c in self.colour):
            raise ValueError(f"a colour has three parts from 0 to 255, this one is {self.colour}")
        if self.layer < 0:
            raise ValueError(f"layers are counted from 0, this label lies in {self.layer}")
        if self.locked and self.opened:
            raise ValueError(f"the lock of label {self.value} cannot be both closed and opened")


@dataclass(frozen=True)
class LabelMap:
    """The labels of a case in the order of the list, values unique.

    Every label but the active one is locked unless its lock was `opened`; the active one if its `locked` is set.
    Background is never locked.
    """

    labels: tuple[Label, ...] = ()

    def __post_init__(self) -> None:
        values = self.values
        if len(set(values)) != len(values):
            raise ValueError(f"each label needs a value of its own, these are {list(values)}")

    @classmethod
    def of_values(cls, values: Iterable[int]) -> Self:
        """Labels named "Label 3" in their default colours."""
        return cls(tuple(Label(v, f"Label {v}", default_colour(v)) for v in sorted({int(v) for v in values} - {0})))

    @classmethod
    def of_array(cls, label_array: npt.NDArray[Any]) -> Self:
        """The labels that occur in an array of integers."""
        return cls.of_values(values_in(label_array))

    @property
    def values(self) -> tuple[int, ...]:
        """In the order of the list."""
        return tuple(label.value for label in self.labels)

    @property
    def free_value(self) -> int:
        """The smallest positive value that no label has."""
        used = set(self.values)
        return next(v for v in range(1, len(used) + 2) if v not in used)

    def __getitem__(self, value: int) -> Label:
        for label in self.labels:
            if label.value == value:
                return label
        raise KeyError(f"no label has value {value}; there are {list(self.values)}")

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def named(self, name: str) -> Label:
        """The first label of that name, upper and lower case alike. Raises KeyError."""
        for label in self.labels:
            if label.name.casefold() == name.casefold():
                return label
        raise KeyError(f"no label is named {name!r}; there are {[label.name for label in self.labels]}")

    def in_layer(self, layer: int) -> tuple[Label, ...]:
        """The labels of one layer, in the order of the list."""
        return tuple(label for label in self.labels if label.layer == layer)

    def adding(
        self, name: str | None = None, *, value: int | None = None, colour: Colour | None = None, layer: int = 0
    ) -> LabelMap:
        """With one more label at the end; the next free value, its default name and colour unless given."""
        value = self.free_value if value is None else value
        new = Label(value, name or f"Label {value}", colour or default_colour(value), layer=layer)
        return LabelMap((*self.labels, new))

    def changing(
        self,
        value: int,
        *,
        name: str | None = None,
        colour: Colour | None = None,
        locked: bool | None = None,
        opened: bool | None = None,
        layer: int | None = None,
    ) -> LabelMap:
        """With another name, colour, lock or layer for one label; its value stays."""
        old = self[value]
        given = {"name": name, "colour": colour, "locked": locked, "opened": opened, "layer": layer}
        new = replace(old, **{key: wanted for key, wanted in given.items() if wanted is not None})  # type: ignore[arg-type]
        return LabelMap(tuple(new if label is old else label for label in self.labels))

    def without(self, value: int) -> LabelMap:
        """With one label less; the voxels are the caller's."""
        old = self[value]
        return LabelMap(tuple(label for label in self.labels if label is not old))

    def completed(self, label_array: npt.NDArray[Any]) -> LabelMap:
        """With a default label for every value of the array that has none."""
        missing = LabelMap.of_array(label_array).values
        return LabelMap((*self.labels, *LabelMap.of_values(v for v in missing if v not in self).labels))

    def is_locked(self, value: int, *, active: int) -> bool:
        """Whether nothing may write into or out of that label while `active` is the active one."""
        if value == BACKGROUND:
            return False
        if value not in self:
            return value != active
        return self[value].locked if value == active else not self[value].opened

    def open_values(self, active: int) -> tuple[int, ...]:
        """The labels that may be written while `active` is the active one, in the order of the list."""
        return tuple(value for value in self.values if not self.is_locked(value, active=active))

    def check_writable(self, active: int) -> None:
        """Raises ClickError, naming the lock, when the active label is locked by hand."""
        if self.is_locked(active, active=active):
            raise ClickError(f"label {active} ({self[active].name}) is locked; open its lock first")

    def locked_voxels(self, label_array: npt.NDArray[Any], *, active: int) -> npt.NDArray[np.bool_]:
        """True where a locked label lies; everything else may change while `active` is the active label."""
        locked: npt.NDArray[np.bool_] = label_array != BACKGROUND
        unknown = () if active in self else (active,)
        for value in (*self.open_values(active), *unknown):
            locked &= label_array != value
        return locked

    def lock_at(self, label_array: npt.NDArray[Any], index: tuple[int, int, int], *, active: int) -> Label | None:
        """The label whose lock stops a click at a voxel index; None when it is free."""
        value = int(label_array[index])
        if not self.is_locked(value, active=active):
            return None
        return self[value] if value in self else Label(value, f"Label {value}", default_colour(value))
