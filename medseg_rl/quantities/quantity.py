"""One number with its unit and the way it was found, and all numbers of one label. Computes none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medseg_rl.quantities.diameters import AxialDiameters


@dataclass(frozen=True)
class Quantity:
    """`key`: stable, for programs. `name`, `method`: for people. `unit`: "" for a pure number.

    `value` is None where it is not defined; `note` then says why, and otherwise what to know of it ("cut off at S").
    """

    key: str
    name: str
    value: float | int | None
    unit: str
    method: str
    note: str = ""

    @property
    def text(self) -> str:
        """The value for a person, six digits; the reason where there is none."""
        if self.value is None:
            return self.note or "not defined"
        return str(self.value) if isinstance(self.value, int) else f"{self.value:.6g}"

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON, without the key."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "method": self.method,
            "note": self.note,
        }


def cut_off_note(sides: tuple[str, ...]) -> str:
    """The note for a mask that touches these sides of the volume; "" where it touches none."""
    return f"cut off at {', '.join(sides)}" if sides else ""


@dataclass(frozen=True)
class LabelQuantities:
    """All quantities of one label. `cut_off`: sides of the volume that the mask touches, "R", "L", "A", "P", "S", "I".

    `axial`: diameters of every axial slice that the mask reaches, in rising order of their numbers.
    """

    value: int
    name: str
    quantities: tuple[Quantity, ...]
    cut_off: tuple[str, ...] = ()
    axial: tuple[AxialDiameters, ...] = ()

    def __getitem__(self, key: str) -> Quantity:
        for quantity in self.quantities:
            if quantity.key == key:
                return quantity
        raise KeyError(f"there is no quantity {key!r}; there are {[quantity.key for quantity in self.quantities]}")

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "value": self.value,
            "name": self.name,
            "cut_off": list(self.cut_off),
            "quantities": {quantity.key: quantity.as_json() for quantity in self.quantities},
            "axial_diameters": [slice_.as_json() for slice_ in self.axial],
        }
