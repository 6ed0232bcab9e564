"""The segment table that 3D Slicer keeps in the header of a .seg.nrrd file: read, and written.

Slicer's values are unique within a layer only. Where two layers use one value for different segments, the later one
gets a free value and the user is told; nothing else is ever renumbered. Opens no file.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medseg_rl.labels import BACKGROUND, Colour, Label, LabelMap, default_colour, label_dtype, values_in
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume

TAGS = "segment_tags"  # key of `Volume.source`: Slicer's tags (status, terminology) of each value, written back as read


@dataclass(frozen=True)
class Segment:
    """One entry of the table. `label`: with the value as stored, which another layer may use too."""

    label: Label
    tags: str = ""


def read_segments(fields: Mapping[str, str], layers: int) -> list[Segment]:
    """The entries of a NRRD header (keys in lower case) in their order. Raises ValueError where they make no sense."""
    segments: list[Segment] = []
    for n in itertools.count():
        prefix = f"segment{n}_"
        if f"{prefix}id" not in fields:
            return segments
        is_old = f"{prefix}labelvalue" not in fields  # before Slicer 4.11: one segment a layer, stored as 1
        layer = int(fields.get(f"{prefix}layer", n if is_old and layers > 1 else 0))
        value = int(fields.get(f"{prefix}labelvalue", 1 if layers > 1 else n + 1))
        if not 0 <= layer < layers:
            raise ValueError(f"segment {n} lies in layer {layer}, the file has {layers}")
        if value == BACKGROUND or not -(2**63) <= value < 2**63:
            raise ValueError(f"segment {n} has the label value {value}")
        name = fields.get(f"{prefix}name", "") or f"Label {value}"
        colour = _colour(fields.get(f"{prefix}color", ""), value)
        segments.append(Segment(Label(value, name, colour, layer=layer), fields.get(f"{prefix}tags", "")))
    raise AssertionError("unreachable")


def _colour(text: str, value: int) -> Colour:
    shares = [float(share) for share in text.split()]
    if len(shares) != 3 or not all(0 <= share <= 1 for share in shares):
        return default_colour(value)
    red, green, blue = (round(255 * share) for share in shares)
    return red, green, blue


def segmentation_of(layers: tuple[Volume, ...], segments: list[Segment]) -> Segmentation:
    """Layers and table joined, values made unique; a value that occurs without a segment gets a default label.

    What had to be changed is in `source["warnings"]` of the first layer.
    """
    present = [values_in(layer.array) for layer in layers]
    free = itertools.count(max(max((*(s.label.value for s in segments), *v)) for v in present) + 1)
    named = {(segment.label.value, segment.label.layer) for segment in segments}
    unnamed = [
        Segment(Label(value, f"Label {value}", default_colour(value), layer=number))
        for number, values in enumerate(present)
        for value in values
        if value != BACKGROUND and (value, number) not in named
    ]
    labels: list[Label] = []
    changes: dict[int, dict[int, int]] = {}  # layer, stored value: new value
    tags: dict[int, str] = {}
    warnings: list[str] = list(layers[0].source.get("warnings", []))
    seen: set[tuple[int, int]] = set()
    taken: set[int] = set()
    for segment in (*segments, *unnamed):
        label = segment.label
        if (label.value, label.layer) in seen:
            warnings.append(f"{label.name!r} has the voxels of another segment, value {label.value}, and is left out")
            continue
        seen.add((label.value, label.layer))
        if label.value in taken:
            new = next(free)
            warnings.append(f"{label.name!r} shares value {label.value} with another segment and becomes {new}")
            changes.setdefault(label.layer, {})[label.value] = new
            label = replace(label, value=new)
        labels.append(label)
        taken.add(label.value)
        if segment.tags:
            tags[label.value] = segment.tags
    changed = [_renumbered(layer, changes.get(number, {})) for number, layer in enumerate(layers)]
    changed[0] = replace(changed[0], source={**changed[0].source, "warnings": warnings, TAGS: tags})
    return Segmentation(tuple(changed), LabelMap(tuple(labels)))


def _renumbered(layer: Volume, changes: Mapping[int, int]) -> Volume:
    if not changes:
        return layer
    ends = (int(layer.array.min()), int(layer.array.max()))
    array = layer.array.astype(label_dtype((*ends, *changes.values())))
    for stored, new in changes.items():
        array[layer.array == stored] = new
    return layer.with_array(array)


def header_fields(segmentation: Segmentation) -> dict[str, str]:
    """The table as key/value pairs of a NRRD header, as 3D Slicer 5 writes them."""
    extent = " ".join(f"0 {n - 1}" for n in segmentation.shape)
    tags: Mapping[int, Any] = segmentation.grid.source.get(TAGS, {})
    fields: dict[str, str] = {}
    for n, label in enumerate(segmentation.labels.labels):
        fields |= {
            f"Segment{n}_Color": " ".join(f"{part / 255:.6g}" for part in label.colour),
            f"Segment{n}_ColorAutoGenerated": "0",
            f"Segment{n}_Extent": extent,
            f"Segment{n}_ID": f"Segment_{label.value}",
            f"Segment{n}_LabelValue": str(label.value),
            f"Segment{n}_Layer": str(label.layer),
            f"Segment{n}_Name": label.name,
            f"Segment{n}_NameAutoGenerated": "0",
            f"Segment{n}_Tags": str(tags.get(label.value, "")),
        }
    return fields | {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }


def as_one_array(segmentation: Segmentation) -> np.ndarray[Any, np.dtype[Any]]:
    """The layers (layer, x, y, z) in one type, or (x, y, z) where there is one layer."""
    if len(segmentation.layers) == 1:
        return segmentation.grid.array
    ends = (int(end) for layer in segmentation.layers for end in (layer.array.min(), layer.array.max()))
    stacked: np.ndarray[Any, np.dtype[Any]] = np.stack(
        [layer.array for layer in segmentation.layers], dtype=label_dtype(ends), casting="unsafe"
    )
    return stacked
