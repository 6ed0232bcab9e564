"""`medseg-rl quantities MASK`: what a mask measures, alone, on its image, or against another mask."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg_rl.cli.options import (
    MissingOption,
    SeriesOption,
    TiltOption,
    TimePointOption,
    TransformOption,
    UnitsOption,
    refuse_overwriting,
    series_choice,
)
from medseg_rl.cli.terminal import JsonOption, guarded, interruptible, print_json, print_table, progress, warn
from medseg_rl.errors import InputFileError, OutputError

if TYPE_CHECKING:
    from medseg_rl.quantities import QuantityReport

STOPPED = "stopping after this label; nothing will be written"
ENDINGS = (".csv", ".json")

ImageOption = Annotated[
    Path | None, typer.Option(help="Its image: adds intensities; the mask takes its grid.", show_default=False)
]
ReferenceOption = Annotated[
    Path | None, typer.Option(help="Mask to compare with, by equal label values.", show_default=False)
]
ValuesOption = Annotated[
    list[int] | None, typer.Option("--label", help="Only this label value; repeat it.", show_default=False)
]
ToleranceOption = Annotated[float, typer.Option(min=0, help="For the surface score NSD, in mm.")]
ThresholdOption = Annotated[
    float | None, typer.Option(help="For a map of probabilities: above it lies label 1.", show_default=False)
]
ShiftOption = Annotated[bool, typer.Option("--accept-shift", help="Take a mask that lies up to a voxel off.")]
ResampleOption = Annotated[bool, typer.Option("--resample", help="Nearest voxel where two grids differ.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write .csv or .json instead of printing.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("quantities")(quantities)


@guarded
def quantities(
    mask: Annotated[Path, typer.Argument(help="Mask or segmentation to measure.", show_default=False)],
    image: ImageOption = None,
    reference: ReferenceOption = None,
    values: ValuesOption = None,
    tolerance: ToleranceOption = 2.0,
    threshold: ThresholdOption = None,
    accept_shift: ShiftOption = False,
    resample: ResampleOption = False,
    series: SeriesOption = None,
    missing: MissingOption = "refuse",
    tilt: TiltOption = "keep",
    units: UnitsOption = "suv",
    time_point: TimePointOption = None,
    transform: TransformOption = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a line for each number, axial slices too.")] = False,
) -> None:
    """Measure a mask: volume, surface, diameters; intensities with --image, Dice and distances with --reference.

    Each number stands with its formula. A mask that touches the edge of the volume says at which side it is cut off.
    Choices of series, slices and units are for a DICOM image, those of time point and transform for a NIfTI mask.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    if output is not None:
        _check_output(output, [path for path in (mask, image, reference) if path])
    choices: dict[str, Any] = {"threshold": threshold, "accept_shift": accept_shift, "resample": resample}
    slices: dict[str, Any] = {"series": series_choice(series), "missing": missing, "tilt": tilt, "units": units}
    own = {"time_point": time_point, "prefer": transform}
    report = _measure(mask, image, reference, values, tolerance, (choices, slices, own))
    for line in report.warnings:
        warn(line)
    if output is not None:
        _write(output, report)
    if as_csv:
        print(report.as_csv(), end="")
    elif as_json:
        print_json(report.as_json())
    elif output is None:
        _print(report)


def _measure(
    mask: Path,
    image: Path | None,
    reference: Path | None,
    values: list[int] | None,
    tolerance: float,
    reading: tuple[dict[str, Any], dict[str, Any], dict[str, Any]],
) -> QuantityReport:
    from medseg_rl.imageio import read_segmentation, read_volume
    from medseg_rl.labels import listed
    from medseg_rl.quantities import quantities_of

    choices, slices, own_choices = reading
    with interruptible(STOPPED) as cancel, progress("reading") as bar:
        volume = read_volume(image, **slices) if image else None
        for line in volume.source.get("warnings", []) if volume else ():
            warn(line)  # on the screen alone: a reader may name a file
        own = read_segmentation(mask, like=volume, **choices, **own_choices)
        other = read_segmentation(reference, like=volume or own.grid, **choices) if reference else None
        known = {*own.labels.values, *(other.labels.values if other else ())}
        if known and (missing := [value for value in values or () if value not in known]):
            raise InputFileError(f"{mask} has no label {missing[0]}; choose of {listed(sorted(known))}")
        bar.rename("measuring")
        return quantities_of(
            own,
            image=volume,
            reference=other,
            values=values,
            tolerance_mm=tolerance,
            cancel=cancel,
            progress=bar.show,
        )


def _check_output(output: Path, inputs: Iterable[Path]) -> None:
    from medseg_rl.imageio.atomic import check_output_path

    if output.suffix.lower() not in ENDINGS:
        raise OutputError(f"cannot write {output}: its ending is none of {', '.join(ENDINGS)}")
    refuse_overwriting(output, inputs)
    check_output_path(output)


def _write(output: Path, report: QuantityReport) -> None:
    from medseg_rl.imageio import atomic_path

    text = report.as_csv() if output.suffix.lower() == ".csv" else json.dumps(report.as_json(), indent=2) + "\n"
    with atomic_path(output) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _print(report: QuantityReport) -> None:
    from medseg_rl.quantities import NOTICE

    for label in report.labels:
        rows = [(q.name, q.text, q.unit, "" if q.value is None else q.note, q.method) for q in label.quantities]
        print_table(f"{label.name} (label {label.value})", ("quantity", "value", "unit", "note", "formula"), rows)
    if not report.labels:
        print("The mask has no labels.")
    print(NOTICE)
