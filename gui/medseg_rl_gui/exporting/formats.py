"""The formats that labels can be exported to: what each can hold, why one cannot be chosen. Asks and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medseg_rl.imageio.itk import orthonormalisation_shift
from medseg_rl.labels import Label
from medseg_rl.segmentation import Segmentation
from medseg_rl.volume import Volume
from medseg_rl_gui.i18n import mark, number, tr, whole

Family = Literal["dicom", "map", "mesh", "table"]


@dataclass(frozen=True)
class Format:
    """One entry of the list. `ending`: of the file. `note`: what to know. `overlap`: whether labels may overlap."""

    id: str
    text: str
    ending: str
    family: Family
    note: str
    overlap: bool = False


FORMATS: tuple[Format, ...] = (
    Format(
        "seg",
        mark("DICOM SEG, binary"),
        ".seg.dcm",
        "dicom",
        mark("Segments are numbered 1, 2, 3…; your label values are kept in the tracking identifiers."),
        overlap=True,
    ),
    Format(
        "seg_map",
        mark("DICOM SEG, label map"),
        ".seg.dcm",
        "dicom",
        mark("Keeps label values as they are. Few programs read this newer form yet."),
    ),
    Format(
        "rtstruct",
        mark("DICOM RTSTRUCT"),
        ".rtstruct.dcm",
        "dicom",
        mark("Contours along the borders of the voxels; region numbers are your label values."),
        overlap=True,
    ),
    Format("nifti", mark("NIfTI"), ".nii.gz", "map", mark("Names and colours go into a table beside the file.")),
    Format(
        "seg_nrrd",
        mark("Slicer segmentation"),
        ".seg.nrrd",
        "map",
        mark("Keeps values, names, colours and overlap."),
        overlap=True,
    ),
    Format("nrrd", mark("NRRD"), ".nrrd", "map", mark("Names and colours go into a table beside the file.")),
    Format("mha", mark("MetaImage"), ".mha", "map", mark("Names and colours go into a table beside the file.")),
    Format("stl", mark("Surface, STL"), ".stl", "mesh", mark("One label; LPS millimetres.")),
    Format("obj", mark("Surfaces, OBJ"), ".obj", "mesh", mark("LPS millimetres, no colours.")),
    Format("ply", mark("Surfaces, PLY"), ".ply", "mesh", mark("LPS millimetres, with colours.")),
    Format("json", mark("Label table, JSON"), ".labels.json", "table", mark("No voxels.")),
    Format("ctbl", mark("Label table, 3D Slicer"), ".csv", "table", mark("No voxels.")),
    Format("label", mark("Label table, ITK-SNAP"), ".label", "table", mark("No voxels.")),
)
BY_ID = {format_.id: format_ for format_ in FORMATS}


@dataclass(frozen=True)
class ExportChoices:
    """What the user chose. `values`: labels in the order of the table.

    `flatten`: the later label wins where they overlap. `orthonormalise`: axes may be made right-angled. `triangles`: at
    most about that many a surface; 0 for all.
    """

    format: Format
    values: tuple[int, ...]
    deidentified: bool = True
    flatten: bool = False
    orthonormalise: bool = False
    smoothing_passes: int = 0
    triangles: int = 0


@dataclass(frozen=True, eq=False)
class Exportable:
    """The accepted labels of a case and the image they belong to."""

    segmentation: Segmentation
    image: Volume

    @property
    def labels(self) -> tuple[Label, ...]:
        """Those that have voxels."""
        return tuple(label for label in self.segmentation.labels.labels if self.segmentation.voxels[label.value])

    @property
    def shear_shift_mm(self) -> float:
        """How far right-angled axes would move a corner; 0 where they are right-angled."""
        return orthonormalisation_shift(self.image) if self.image.is_sheared else 0.0

    def why_not(self, format_: Format) -> str:
        """Why a format cannot be chosen; empty where it can."""
        if format_.family == "dicom" and not self.image.source.get("series_uid"):
            return tr("Only for images that were opened from DICOM")
        if format_.family == "dicom" and self.image.source.get("resampled"):
            return tr("The image was resampled, so there are no DICOM slices these labels lie on")
        if format_.family != "table" and not self.labels:
            return tr("No label has voxels yet")
        return ""

    def overlap_of(self, values: Sequence[int]) -> int:
        """Voxels that more than one of these labels hold."""
        if len(self.segmentation.layers) == 1:
            return 0
        return self.segmentation.only(values).overlap_voxels


def stored_as(format_: Format, values: Sequence[int]) -> tuple[str, ...]:
    """How each label value is found in the file."""
    if format_.id == "seg":
        return tuple(
            tr("segment {n}, value {value} kept").format(n=whole(n), value=value) for n, value in enumerate(values, 1)
        )
    if format_.id == "rtstruct":
        return tuple(tr("region {value}").format(value=value) for value in values)
    if format_.family == "mesh":
        return tuple(tr("a surface") for _ in values)
    return tuple(tr("value {value}").format(value=value) for value in values)


def problem_with(choices: ExportChoices, overlap: int, shear_shift_mm: float) -> str:
    """Why these choices cannot be written; empty where they can."""
    if not choices.values and choices.format.family != "table":
        return tr("Choose at least one label")
    if choices.format.id == "stl" and len(choices.values) > 1:
        return tr("STL holds one surface: choose one label, or OBJ or PLY")
    if overlap and not choices.format.overlap and choices.format.family == "map" and not choices.flatten:
        return tr("{n} voxels lie in more than one label, which this format cannot hold").format(n=whole(overlap))
    if overlap and choices.format.id == "seg_map" and not choices.flatten:
        return tr("{n} voxels lie in more than one label, which this format cannot hold").format(n=whole(overlap))
    if choices.format.id == "mha" and shear_shift_mm and not choices.orthonormalise:
        text = tr("The grid is sheared, which MetaImage cannot hold; right angles would move a corner by {mm} mm")
        return text.format(mm=number(shear_shift_mm, 2))
    return ""
