"""The report of the quantities of a case: as JSON, as CSV, as a tab-separated table for the clipboard.

Numbers keep every digit and a decimal point in all three. What identifies the case are hashes, never names or paths.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from medseg_rl import __version__
from medseg_rl.quantities.quantity import LabelQuantities, Quantity, cut_off_note
from medseg_rl.quantities.shape import ACROSS, AXIAL
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Index, Spacing, content_hash

NOTICE = "For research use only. Not a medical device."
SCHEMA = 1
CSV_COLUMNS = ("label", "name", "quantity", "slice", "value", "unit", "method", "note")
CASE_COLUMNS = ("image_sha256", "mask_sha256", "reference_sha256", "version", "notice", "provenance")
TABLE_COLUMNS = ("label", "name", "quantity", "slice", "value", "unit", "note", "method")
IN_SLICE = AXIAL.partition(";")[0]


@dataclass(frozen=True)
class QuantityReport:
    """The labels' quantities and what they were taken from. Hashes are SHA-256 of voxels and affine, None without.

    `provenance`: where the mask comes from (models, journal, voxels by source), as far as it is known.
    """

    labels: tuple[LabelQuantities, ...]
    shape: Index
    spacing: Spacing
    orientation: str
    shear_degrees: float
    image_sha256: str | None
    mask_sha256: str
    reference_sha256: str | None = None
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)
    version: str = __version__

    def __getitem__(self, value: int) -> LabelQuantities:
        for label in self.labels:
            if label.value == value:
                return label
        raise KeyError(f"label {value} was not measured; these were: {[label.value for label in self.labels]}")

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "format": "medseg-rl quantities",
            "schema": SCHEMA,
            "notice": NOTICE,
            "version": self.version,
            "image_sha256": self.image_sha256,
            "mask_sha256": self.mask_sha256,
            "reference_sha256": self.reference_sha256,
            "provenance": dict(self.provenance),
            "grid": {
                "shape": list(self.shape),
                "spacing_mm": list(self.spacing),
                "orientation": self.orientation,
                "shear_degrees": self.shear_degrees,
            },
            "warnings": list(self.warnings),
            "labels": [label.as_json() for label in self.labels],
        }

    def as_csv(self) -> str:
        """One line a number, those of every axial slice included; an undefined one is empty and noted."""
        origin = json.dumps(self.provenance, separators=(",", ":")) if self.provenance else ""
        case = (self.image_sha256, self.mask_sha256, self.reference_sha256, self.version, NOTICE, origin)
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow([*CSV_COLUMNS, *CASE_COLUMNS])
        for row in self._rows(slices=True):
            value = "" if row["value"] is None else repr(row["value"])
            cells = {**row, "value": value}
            writer.writerow([*(cells[column] for column in CSV_COLUMNS), *(text or "" for text in case)])
        return lines.getvalue()

    def as_table(self) -> str:
        """Tab-separated, for a spreadsheet; what is not defined says why in place of its number."""
        lines = ["\t".join(TABLE_COLUMNS)]
        for row in self._rows(slices=False):
            value = row["text"] if row["value"] is None else repr(row["value"])
            cells = {**row, "value": value}
            lines.append("\t".join(" ".join(str(cells[column]).split()) for column in TABLE_COLUMNS))
        return "".join(f"{line}\n" for line in (*lines, NOTICE))

    def _rows(self, *, slices: bool) -> Iterator[dict[str, Any]]:
        for label in self.labels:
            for quantity in label.quantities:
                yield _row(label, quantity, "")
            note = cut_off_note(label.cut_off)
            for slice_ in label.axial if slices else ():
                pair = (("axial_diameter", slice_.longest, IN_SLICE), ("axial_across", slice_.across, ACROSS))
                for key, chord, method in pair:
                    quantity = Quantity(key, key.replace("_", " "), chord.length_mm, "mm", method, note)
                    yield _row(label, quantity, slice_.slice_index + 1)


def hash_of(segmentation: Segmentation) -> str:
    """SHA-256 (hex) of voxels and affine of a segmentation; of its layers' hashes in turn where there are several."""
    hashes = [content_hash(layer) for layer in segmentation.layers]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _row(label: LabelQuantities, quantity: Quantity, slice_index: int | str) -> dict[str, Any]:
    return {
        "label": label.value,
        "name": label.name,
        "quantity": quantity.key,
        "slice": slice_index,
        "value": quantity.value,
        "text": quantity.text,
        "unit": quantity.unit,
        "method": quantity.method,
        "note": quantity.note,
    }
