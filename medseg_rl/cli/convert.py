"""`medseg-rl convert IN OUT`: an image or a segmentation from one format into another, told by content and by ending.

What a format cannot hold is refused with the option that allows it, never lost in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medseg_rl.cli.options import (
    MissingOption,
    SeriesOption,
    TiltOption,
    TimePointOption,
    TransformOption,
    UnitsOption,
    check_mask_output,
    series_choice,
)
from medseg_rl.cli.terminal import JsonOption, guarded, print_json, warn
from medseg_rl.errors import OutputError

if TYPE_CHECKING:
    from medseg_rl.segmentation import Segmentation
    from medseg_rl.volume import Volume

LikeOption = Annotated[
    Path | None, typer.Option(help="Image whose grid the segmentation gets; DICOM needs it.", show_default=False)
]
AsOption = Annotated[
    Literal["image", "mask"] | None,
    typer.Option("--as", help="What IN is. Without it: a mask where IN, OUT or an option says so, else an image."),
]
TableOption = Annotated[
    Path | None, typer.Option("--labels", help="Label table: ITK-SNAP, Slicer or JSON.", show_default=False)
]
ValuesOption = Annotated[
    list[int] | None, typer.Option("--label", help="Only this label value; repeat it.", show_default=False)
]
ShiftOption = Annotated[bool, typer.Option("--accept-shift", help="Take a mask that lies up to a voxel off --like.")]
ResampleOption = Annotated[bool, typer.Option("--resample", help="Nearest voxel where mask and --like differ.")]
ThresholdOption = Annotated[
    float | None, typer.Option(help="For a map of probabilities: above it lies label 1.", show_default=False)
]
FlattenOption = Annotated[bool, typer.Option("--flatten", help="Where labels overlap, let the later one win.")]
OrthonormaliseOption = Annotated[
    bool, typer.Option("--orthonormalise", help="Give MetaImage right-angled axes in place of sheared ones.")
]
LabelmapOption = Annotated[bool, typer.Option("--labelmap", help="For DICOM SEG: one label map, values as they are.")]
ArchiveOption = Annotated[
    bool, typer.Option("--for-archive", help="For DICOM: copy the patient from the images; left out otherwise.")
]
NonfiniteOption = Annotated[
    float | None, typer.Option(help="Number in place of NaN and infinite voxels.", show_default=False)
]
SmoothingOption = Annotated[int, typer.Option("--smooth", min=0, help="For meshes: passes of smoothing.")]
TrianglesOption = Annotated[
    int | None, typer.Option(min=4, help="For meshes: at most about that many for each label.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("convert")(convert)


@guarded
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="File, or folder of DICOM images.", show_default=False)],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="File to write; its ending says what.")],
    like: LikeOption = None,
    take_as: AsOption = None,
    labels: TableOption = None,
    values: ValuesOption = None,
    accept_shift: ShiftOption = False,
    resample: ResampleOption = False,
    threshold: ThresholdOption = None,
    flatten: FlattenOption = False,
    orthonormalise: OrthonormaliseOption = False,
    labelmap: LabelmapOption = False,
    for_archive: ArchiveOption = False,
    replace_nonfinite: NonfiniteOption = None,
    series: SeriesOption = None,
    missing: MissingOption = "refuse",
    tilt: TiltOption = "keep",
    units: UnitsOption = "suv",
    time_point: TimePointOption = None,
    transform: TransformOption = None,
    smoothing: SmoothingOption = 0,
    triangles: TrianglesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Convert images, segmentations and surfaces between formats; values, grid, names and colours stay."""
    is_mesh = _check_output(output, [path for path in (source, like, labels) if path])
    wants_mask = like or labels or values or threshold is not None or flatten or accept_shift or resample
    if take_as is None:
        take_as = "mask" if wants_mask or is_mesh or _is_segmentation(source, output) else "image"
    slices: dict[str, Any] = {"series": series_choice(series), "missing": missing, "tilt": tilt, "units": units}
    if take_as == "image":
        choices = {"time_point": time_point, "prefer": transform, "replace_nonfinite": replace_nonfinite}
        report = _convert_image(source, output, choices | slices, orthonormalise)
    else:
        choices = {"time_point": time_point, "prefer": transform, "threshold": threshold}
        choices |= {"accept_shift": accept_shift, "resample": resample}
        segmentation, image = _read_mask(source, like, labels, values, choices, slices)
        if is_mesh:
            report = _write_mesh(output, segmentation, _origin(segmentation, image), smoothing, triangles)
        else:
            writing: dict[str, Any] = {
                "flatten": flatten,
                "orthonormalise": orthonormalise,
                "deidentified": not for_archive,
            }
            writing |= {"provenance": _origin(segmentation, image), "touched_by_model": _by_model(segmentation)}
            report = _write_mask(output, segmentation, image, "LABELMAP" if labelmap else "BINARY", writing)
    if as_json:
        print_json(report)
    else:
        _print(report)


def _check_output(output: Path, inputs: Sequence[Path]) -> bool:
    """Whether `output` is a mesh. Raises OutputError before any work is done where it cannot be written."""
    from medseg_rl.imageio.meshes import check_mesh_output, is_mesh_path

    if not is_mesh_path(output):
        check_mask_output(output, inputs)
        return False
    check_mesh_output(output)
    return True


def _is_segmentation(source: Path, output: Path) -> bool:
    from medseg_rl.imageio import holds_labels
    from medseg_rl.imageio.kinds import SEGMENTATION_KINDS, output_kind

    return output_kind(output) in SEGMENTATION_KINDS or holds_labels(source)


def _read_mask(
    source: Path,
    like: Path | None,
    labels: Path | None,
    values: Sequence[int] | None,
    choices: dict[str, Any],
    slices: dict[str, Any],
) -> tuple[Segmentation, Volume]:
    """The segmentation, of `values` alone where given, and the image whose grid it is on."""
    from medseg_rl.imageio import read_label_table, read_segmentation, read_volume
    from medseg_rl.labels import listed

    image = read_volume(like, **slices) if like else None
    table = read_label_table(labels) if labels else None
    segmentation = read_segmentation(source, like=image, labels=table, **choices)
    if values:
        absent = [value for value in values if value not in segmentation.labels]
        if absent:
            raise OutputError(f"{source} has no label {absent[0]}; it has {listed(segmentation.labels.values)}")
        segmentation = segmentation.only(values)
    return segmentation, image or segmentation.grid


def _origin(segmentation: Segmentation, image: Volume) -> dict[str, Any] | None:
    """Where the labels come from, as far as their file says so; `program` stays the one that made them.

    With the ban on measuring that the image brings.
    """
    from medseg_rl.imageio import provenance

    said = segmentation.grid.source.get(provenance.KEY)
    banned = image.source.get(provenance.QUANTITIES)
    if not said and not banned:
        return None
    return provenance.completed({**said, "converted_by": provenance.PROGRAM} if said else None, image.source)


def _by_model(segmentation: Segmentation) -> Sequence[int]:
    from medseg_rl.imageio.provenance import BY_MODEL

    touched: Sequence[int] = segmentation.grid.source.get(BY_MODEL, ())
    return touched


def _write_mask(
    output: Path,
    segmentation: Segmentation,
    image: Volume,
    form: Literal["BINARY", "LABELMAP"],
    choices: dict[str, Any],
) -> dict[str, Any]:
    from medseg_rl.imageio import write_segmentation

    said = write_segmentation(output, segmentation, like=image, form=form, **choices)
    if choices["flatten"]:
        segmentation = type(segmentation).of_label_map(segmentation.flattened(), segmentation.labels)  # as written
    return _report(output, segmentation.grid, segmentation.warnings + said) | {"labels": segmentation.facts()}


def _write_mesh(
    output: Path, segmentation: Segmentation, origin: dict[str, Any] | None, smoothing: int, triangles: int | None
) -> dict[str, Any]:
    from medseg_rl.imageio.meshes import mesh_parts, write_mesh

    parts = mesh_parts(segmentation, smoothing_passes=smoothing, triangles=triangles)
    write_mesh(output, parts, origin)
    report = _report(output, segmentation.grid, segmentation.warnings) | {"labels": segmentation.facts()}
    return report | {"triangles": sum(len(part.surface.triangles) for part in parts)}


def _convert_image(source: Path, output: Path, reading: dict[str, Any], orthonormalise: bool) -> dict[str, Any]:
    from medseg_rl.imageio import read_volume, write_volume

    image = read_volume(source, **reading)
    said = write_volume(output, image, orthonormalise=orthonormalise)
    return _report(output, image, [*image.source.get("warnings", []), *said])


def _report(output: Path, grid: Volume, warnings: Sequence[str]) -> dict[str, Any]:
    return {
        "output": output,
        "shape": list(grid.shape),
        "spacing_mm": list(grid.spacing),
        "orientation": grid.orientation,
        "warnings": [warn(message) for message in warnings],
    }


def _print(report: dict[str, Any]) -> None:
    shape = " x ".join(str(n) for n in report["shape"])
    spacing = " x ".join(f"{s:.4g}" for s in report["spacing_mm"])
    print(f"{report['output']}: {shape} voxels of {spacing} mm, {report['orientation']}")
    for label in report.get("labels", []):
        print(f"  {label['value']} {label['name']}: {label['voxels']} voxels")
    if "triangles" in report:
        print(f"  {report['triangles']} triangles")
