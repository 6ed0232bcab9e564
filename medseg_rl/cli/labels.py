"""`medseg-rl labels FILE`: the labels of a segmentation or of a label table, shown or written as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from medseg_rl.cli.terminal import JsonOption, guarded, print_json, print_table, warn


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("labels")(labels)


@guarded
def labels(
    file: Annotated[Path, typer.Argument(help="Segmentation, or label table.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Table to write: .json, .csv (Slicer), .label (ITK-SNAP).", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List values, names, colours and volumes of labels, or turn one label table into another."""
    from medseg_rl.imageio import write_label_table

    table, entries, warnings = _found(file)
    said = [warn(message) for message in warnings]
    if output is not None:
        write_label_table(output, table)
    if as_json:
        print_json({"file": file, "labels": entries, "warnings": said})
    else:
        print_table("", ("value", "name", "colour", "layer", "voxels", "mL"), [_row(entry) for entry in entries])


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    colour = "#" + "".join(f"{part:02x}" for part in entry["colour"])
    counts = (str(entry["voxels"]), f"{entry['volume_mm3'] / 1000:.4g}") if "voxels" in entry else ("", "")
    return str(entry["value"]), entry["name"], colour, str(entry["layer"]), *counts


def _found(file: Path) -> tuple[Any, list[dict[str, Any]], list[str]]:
    """The table, an entry a label, and warnings."""
    from medseg_rl.imageio import TABLE_SUFFIXES, read_label_table, read_segmentation

    if file.suffix.lower() in TABLE_SUFFIXES:
        table = read_label_table(file)
        entries = [
            {"value": own.value, "name": own.name, "colour": list(own.colour), "layer": own.layer}
            for own in table.labels
        ]
        return table, entries, []
    segmentation = read_segmentation(file)
    return segmentation.labels, segmentation.facts(), segmentation.warnings
