"""`medseg-rl info FILE`: what a file is, where it lies in the patient, and what stands in the way of using it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from medseg_rl.cli.terminal import JsonOption, guarded, print_json, print_table

MOST_GAPS = 8  # with their files; --json has them all


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("info")(info)


@guarded
def info(
    file: Annotated[Path, typer.Argument(help="Image, mask or folder of DICOM images.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Describe a file: kind, grid, spacing, orientation, transforms, values, warnings."""
    from medseg_rl.imageio import describe

    described = describe(file)
    if as_json:
        print_json(described)
    else:
        print_table("", ("", str(file)), list(_rows(described)))


def _rows(described: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested entries flattened: one row for each value, matrices one row for each of theirs."""
    for key, value in described.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if key == "series":
            yield from (row for series in value for row in _series_rows(series))
        elif key == "regions":
            yield from (_region_row(region) for region in value)
        elif key == "segments":
            yield from (_segment_row(segment) for segment in value)
        elif isinstance(value, Mapping):
            yield from _rows(value, f"{name}: ")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], list | tuple | Mapping):
            for number, item in enumerate(value):
                entry = item if isinstance(item, Mapping) else {"": item}
                yield from ((f"{name} {number}{': ' * bool(key)}{key}", text) for key, text in _rows(entry, ""))
        else:
            yield name, _text(value)


def _series_rows(series: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What it is, its geometry with the verdict, and the files on either side of what is uneven."""
    name, shape = f"series {series['number']}", " x ".join(str(n) for n in series["shape"])
    called = f' "{series["description"]}"' if series["description"] else ""
    if "image" not in series["kind"]:
        yield name, f"{series['kind']}{called}"
        return
    yield name, f"{series['modality']} {series['kind']}{called}, {shape}, {series['files']} files"
    yield f"{name}: geometry", f"{series['verdict']}: {series['report'][0]}"
    yield from ((f"{name}: note", line) for line in series["report"][1:])
    yield from ((f"{name}: gap", line) for line in series["uneven_gaps"][:MOST_GAPS])
    if len(series["uneven_gaps"]) > MOST_GAPS:
        yield f"{name}: gap", f"and {len(series['uneven_gaps']) - MOST_GAPS} more"


def _segment_row(segment: Mapping[str, Any]) -> tuple[str, str]:
    counts = f"{segment['voxels']} voxels, {segment['volume_mm3'] / 1000:.4g} mL"
    return f"label {segment['value']}", f"{segment['name']}, layer {segment['layer']}, {counts}"


def _region_row(region: Mapping[str, Any]) -> tuple[str, str]:
    contours = f"{region['contours']} contour{'' if region['contours'] == 1 else 's'} of {region['points']} points"
    colour = " ".join(str(part) for part in region["colour"])
    return f"region {region['value']}", f"{region['name']}, {contours}, colour {colour}"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return str(value)
