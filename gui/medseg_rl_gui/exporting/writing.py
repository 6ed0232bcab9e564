"""Writes an export: on the worker, from a copy that nobody changes. Asks nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg_rl.imageio import check_output, write_label_table, write_segmentation
from medseg_rl.imageio.meshes import check_mesh_output, mesh_parts, write_mesh
from medseg_rl.labels import LabelMap, label_dtype
from medseg_rl.segmentation import Segmentation
from medseg_rl.session import SegmentationSession
from medseg_rl_gui.exporting.formats import Exportable, ExportChoices


@dataclass(frozen=True, eq=False)
class Export:
    """All that is needed to write: `provenance` and `touched_by_model` say where the labels come from."""

    exportable: Exportable
    choices: ExportChoices
    touched_by_model: Collection[int]
    provenance: Mapping[str, object]

    def check(self, path: Path) -> None:
        """Raises OutputError before any work is done where the file could not be written."""
        if self.choices.format.family == "mesh":
            check_mesh_output(path)
        elif self.choices.format.family != "table":
            check_output(path)

    def write(self, path: Path) -> list[str]:
        """Writes the file, its provenance in it or beside it where the format has no place. Returns what to know.

        Raises OutputError; an old file is then as it was.
        """
        family = self.choices.format.family
        if family == "table":
            write_label_table(path, _table(self.exportable.segmentation, self.choices.values))
            return []
        if family == "mesh":
            return self._write_mesh(path)
        return self._write_labels(path)

    def _write_labels(self, path: Path) -> list[str]:
        chosen = self.choices
        return write_segmentation(
            path,
            self.exportable.segmentation.only(chosen.values),
            like=self.exportable.image,
            flatten=chosen.flatten,
            orthonormalise=chosen.orthonormalise,
            form="LABELMAP" if chosen.format.id == "seg_map" else "BINARY",
            deidentified=chosen.deidentified,
            touched_by_model=[value for value in chosen.values if value in self.touched_by_model],
            provenance=self.provenance,
        )

    def _write_mesh(self, path: Path) -> list[str]:
        chosen = self.choices
        parts = mesh_parts(
            self.exportable.segmentation,
            values=chosen.values,
            smoothing_passes=chosen.smoothing_passes,
            triangles=chosen.triangles or None,
        )
        write_mesh(path, parts)
        return []


def exportable_of(session: SegmentationSession) -> Exportable:
    """A copy of the accepted labels, as narrow as their values: the session may go on."""
    accepted = session.segmentation
    dtype = label_dtype(accepted.labels.values)
    layers = tuple(layer.with_array(layer.array.astype(dtype)) for layer in accepted.layers)
    return Exportable(Segmentation(layers, accepted.labels), session.image)


def _table(segmentation: Segmentation, values: Collection[int]) -> LabelMap:
    return LabelMap(tuple(label for label in segmentation.labels.labels if label.value in values))
