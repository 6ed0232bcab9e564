"""`medseg-rl segment` and `predict`: a mask from clicks, or from the automatic start alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg_rl.cli.options import (
    BundleOption,
    DeviceOption,
    ImageArgument,
    LabelOption,
    OutputOption,
    TimePointOption,
    TransformOption,
    check_mask_output,
)
from medseg_rl.cli.terminal import JsonOption, guarded, interruptible, print_json, progress, warn
from medseg_rl.errors import Cancelled, InputFileError

if TYPE_CHECKING:
    from medseg_rl.bundle import Bundle
    from medseg_rl.hints.click_files import WorldClick
    from medseg_rl.session import SegmentationSession
    from medseg_rl.volume import Volume

STOPPED = "stopping after this step; nothing is written"
AUTOMATIC, EMPTY = "automatic", "empty"

Cancel = Callable[[], bool]


def add_to(app: typer.Typer) -> None:
    """Adds both commands to the application."""
    app.command("segment")(segment)
    app.command("predict")(predict)


@guarded
def segment(
    image: ImageArgument,
    output: OutputOption,
    clicks: Annotated[
        Path, typer.Option(help="Clicks in world mm: our JSON, or 3D Slicer's .mrk.json.", show_default=False)
    ],
    start: Annotated[
        str,
        typer.Option(help='What the clicks correct: "automatic", "empty", or a mask file on the grid of the image.'),
    ] = AUTOMATIC,
    bundle: BundleOption = None,
    label: LabelOption = 1,
    steps: Annotated[
        int | None, typer.Option(min=1, max=8, help="Refinement steps a click; the model's own number by default.")
    ] = None,
    together: Annotated[bool, typer.Option("--together", help="All clicks in one turn, not one by one.")] = False,
    device: DeviceOption = "cpu",
    time_point: TimePointOption = None,
    transform: TransformOption = None,
    as_json: JsonOption = False,
) -> None:
    """Segment one structure of IMAGE with clicks. Other labels of a start mask are kept and never overwritten."""
    from medseg_rl.bundle import load_bundle
    from medseg_rl.hints.click_files import read_clicks, to_index
    from medseg_rl.imageio import read_volume

    mask_file = Path(start) if start not in (AUTOMATIC, EMPTY) else None
    check_mask_output(output, [image, clicks, *([mask_file] if mask_file else [])])
    volume = read_volume(image, time_point=time_point, prefer=transform)
    world_clicks = read_clicks(clicks)
    to_index(volume, world_clicks)  # refuses a click outside before anything slow begins
    model = load_bundle(bundle)
    warnings = _warn(volume, model)
    began = time.perf_counter()
    with interruptible(STOPPED) as cancel, progress("reading", len(world_clicks)) as bar:
        session = _session(volume, model, mask_file, label, steps, device)
        bar.rename("start")
        _start(session, start, model, device, label, cancel)
        bar.rename("clicks")
        turns = []
        for done, turn in enumerate(_turns(world_clicks, together), 1):
            turns.append(_click(session, turn, cancel))
            bar.show(done, len(world_clicks))
        session.accept()
        if cancel():
            raise Cancelled("stopped; nothing was written")
    session.export(output)
    inside = int((session.label_map == label).sum())
    if inside == 0:
        warnings.append(warn(f"the mask holds no voxel of label {label}"))
    report = _report(session, output, model, label) | {
        "start": start,
        "clicks": turns,
        "warnings": warnings,
        "seconds": round(time.perf_counter() - began, 3),
    }
    if as_json:
        print_json(report)
    else:
        print(f"{output}: {inside} voxels, {report['volume_mm3']:.1f} mm3 after {len(world_clicks)} clicks")


@guarded
def predict(
    image: ImageArgument,
    output: OutputOption,
    bundle: BundleOption = None,
    label: LabelOption = 1,
    device: DeviceOption = "cpu",
    time_point: TimePointOption = None,
    transform: TransformOption = None,
    as_json: JsonOption = False,
) -> None:
    """Segment IMAGE automatically, without a click: what `segment` starts from."""
    from medseg_rl.bundle import load_bundle
    from medseg_rl.imageio import read_volume

    check_mask_output(output, [image])
    volume = read_volume(image, time_point=time_point, prefer=transform)
    model = load_bundle(bundle)
    warnings = _warn(volume, model)
    began = time.perf_counter()
    with interruptible(STOPPED) as cancel, progress("automatic start"):
        session = _session(volume, model, None, label, None, device)
        _start(session, AUTOMATIC, model, device, label, cancel)
        session.accept()
    session.export(output)
    report = _report(session, output, model, label) | {
        "warnings": warnings,
        "seconds": round(time.perf_counter() - began, 3),
    }
    if as_json:
        print_json(report)
    else:
        print(f"{output}: {report['voxels']} voxels, {report['volume_mm3']:.1f} mm3")


def _warn(volume: Volume, model: Bundle) -> list[str]:
    return [warn(text) for text in (*volume.source.get("warnings", ()), *model.warnings(volume))]


def _session(
    volume: Volume, model: Bundle, mask_file: Path | None, label: int, steps: int | None, device: str
) -> SegmentationSession:
    """A session whose accepted masks are the other labels of `mask_file`; the active one is left to `_start`."""
    from medseg_rl.imageio import read_mask
    from medseg_rl.interaction import InteractionConfig
    from medseg_rl.labels import LabelMap
    from medseg_rl.session import SegmentationSession

    config = InteractionConfig()
    if model.has_agent:
        config = replace(config, steps=steps or model.steps)
    others = None
    if mask_file is not None:
        mask = read_mask(mask_file, like=volume)
        others = volume.with_array(mask.array * (mask.array != label))
    return SegmentationSession(
        volume,
        lambda: model.refiner(device),
        config,
        labels=LabelMap.of_values([label]),
        label_map=others,
        active=label,
    )


def _start(session: SegmentationSession, start: str, model: Bundle, device: str, label: int, cancel: Cancel) -> None:
    """Opens the proposal that the clicks correct."""
    from medseg_rl.imageio import read_mask
    from medseg_rl.labels import LabelMap

    if start == AUTOMATIC:
        segmenter = model.automatic(device)
        session.automatic_start(lambda volume: segmenter.predict(volume, cancel=cancel))
    elif start != EMPTY:
        mask = read_mask(start, like=session.image)
        inside = mask.array == label
        if not inside.any():
            values = ", ".join(str(value) for value in LabelMap.of_array(mask.array).values) or "no label"
            raise InputFileError(f"{start} holds {values}, but not label {label}; choose one with --label")
        session.set_start(inside)


def _turns(clicks: Sequence[WorldClick], together: bool) -> list[Sequence[WorldClick]]:
    return [clicks] if together and clicks else [[click] for click in clicks]


def _click(session: SegmentationSession, clicks: Sequence[WorldClick], cancel: Cancel) -> dict[str, Any]:
    """One turn; what came of it."""
    from medseg_rl.session import PlaceClicks

    points = tuple((click.point_mm, click.label) for click in clicks)
    report = session.apply(session.prepare(PlaceClicks(points)).run(cancel))
    return {
        "points_mm": [list(point) for point, _ in points],
        "labels": ["object" if label else "background" for _, label in points],
        "added_voxels": report.added_voxels,
        "removed_voxels": report.removed_voxels,
        "seconds": round(report.timings.total, 4),
        "message": report.message,
    }


def _report(session: SegmentationSession, output: Path, model: Bundle, label: int) -> dict[str, Any]:
    inside = int((session.label_map == label).sum())
    return {
        "mask": output,
        "label": label,
        "voxels": inside,
        "volume_mm3": inside * session.image.voxel_volume,
        "bundle": {"name": model.name, "version": model.version, "hash": model.hash},
    }
