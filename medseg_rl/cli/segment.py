"""`medseg-rl segment` and `predict`: a mask from clicks, or from the automatic start alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg_rl.cli.kept_session import SessionOption, check_session_output, kept_session
from medseg_rl.cli.options import (
    BundleOption,
    DeviceOption,
    ImageArgument,
    LabelOption,
    MissingOption,
    OutputOption,
    SeriesOption,
    TiltOption,
    TimePointOption,
    TransformOption,
    UnitsOption,
    check_mask_output,
    check_memory,
    series_choice,
)
from medseg_rl.cli.terminal import JsonOption, guarded, interruptible, print_json, progress, stop_if, warn
from medseg_rl.errors import ClickError, InputFileError

if TYPE_CHECKING:
    from medseg_rl.bundle import Bundle
    from medseg_rl.hints.click_files import WorldClick
    from medseg_rl.refiner import Refiner
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
        str | None,
        typer.Option(
            help='What the clicks correct: "automatic", "empty", or a mask file on the grid of the image. '
            "Left out: automatic where the model gives a start, else empty.",
            show_default=False,
        ),
    ] = None,
    bundle: BundleOption = None,
    refiner: Annotated[
        str | None,
        typer.Option(
            help="Refine without a network: graph_cut, random_walker, grow_cut, geodesic_threshold, paint_ball; "
            "with options if need be, such as graph_cut:smoothness=6,reach_mm=20.",
            show_default=False,
        ),
    ] = None,
    label: LabelOption = 1,
    steps: Annotated[
        int | None, typer.Option(min=1, max=8, help="Refinement steps a click; the model's own number by default.")
    ] = None,
    together: Annotated[bool, typer.Option("--together", help="All clicks in one turn, not one by one.")] = False,
    session_file: SessionOption = None,
    device: DeviceOption = "cpu",
    series: SeriesOption = None,
    missing: MissingOption = "refuse",
    tilt: TiltOption = "keep",
    units: UnitsOption = "suv",
    time_point: TimePointOption = None,
    transform: TransformOption = None,
    as_json: JsonOption = False,
) -> None:
    """Segment one structure of IMAGE with clicks. Other labels of a start mask are kept and never overwritten."""
    from medseg_rl.bundle import load_bundle
    from medseg_rl.hints.click_files import read_clicks, to_index
    from medseg_rl.imageio import read_volume
    from medseg_rl.refiners.registry import named_refiner

    mask_file = Path(start) if start not in (None, AUTOMATIC, EMPTY) else None
    check_mask_output(output, [image, clicks, *([mask_file] if mask_file else [])])
    if session_file is not None:
        check_session_output(session_file)
    slices: dict[str, Any] = {"series": series_choice(series), "missing": missing, "tilt": tilt, "units": units}
    volume = read_volume(image, time_point=time_point, prefer=transform, **slices)
    check_memory(image, volume)
    world_clicks = read_clicks(clicks)
    to_index(volume, world_clicks)  # refuses a click outside before anything slow begins
    by_label = _by_label(world_clicks, label)
    chosen = None if refiner is None else named_refiner(refiner)
    model = load_bundle(bundle, automatic=start == AUTOMATIC)
    start = start or (AUTOMATIC if model.has_automatic else EMPTY)
    warnings = _warn(volume, model) if chosen is None or start == AUTOMATIC else []
    began = time.perf_counter()
    session = _session(volume, model, mask_file, tuple(by_label), steps, device, chosen)
    with (
        kept_session(session, image, session_file),
        interruptible(STOPPED) as cancel,
        progress("reading", len(world_clicks)) as bar,
    ):
        turns: list[dict[str, Any]] = []
        for value, own in by_label.items():
            session.activate(value)
            bar.rename(f"label {value}")
            _start(
                session, start if value == label or mask_file else EMPTY, model, device, cancel, needed=value == label
            )
            for turn in [own] if together and own else [[click] for click in own]:
                turns.append(_click(session, turn, cancel))
                bar.show(len(turns), len(world_clicks))
            session.accept()
        stop_if(cancel)
        session.export(output)
    warnings += [warn(notice) for notice in session.notices]
    report = _report(session, output, model, tuple(by_label))
    for value, found in report["labels"].items():
        if not found["voxels"]:
            warnings.append(warn(f"the mask holds no voxel of label {value}"))
    report |= {
        "start": start,
        "refiner": model.name if chosen is None else chosen.name,
        "clicks": turns,
        "warnings": warnings,
        "seconds": round(time.perf_counter() - began, 3),
    }
    if as_json:
        print_json(report)
    else:
        _print(report)


@guarded
def predict(
    image: ImageArgument,
    output: OutputOption,
    bundle: BundleOption = None,
    label: LabelOption = 1,
    device: DeviceOption = "cpu",
    series: SeriesOption = None,
    missing: MissingOption = "refuse",
    tilt: TiltOption = "keep",
    units: UnitsOption = "suv",
    time_point: TimePointOption = None,
    transform: TransformOption = None,
    as_json: JsonOption = False,
) -> None:
    """Segment IMAGE automatically, without a click: what `segment` starts from."""
    from medseg_rl.bundle import load_bundle
    from medseg_rl.imageio import read_volume

    check_mask_output(output, [image])
    slices: dict[str, Any] = {"series": series_choice(series), "missing": missing, "tilt": tilt, "units": units}
    volume = read_volume(image, time_point=time_point, prefer=transform, **slices)
    check_memory(image, volume)
    model = load_bundle(bundle, automatic=True)
    warnings = _warn(volume, model)
    began = time.perf_counter()
    with interruptible(STOPPED) as cancel, progress("automatic start"):
        session = _session(volume, model, None, (label,), None, device)
        _start(session, AUTOMATIC, model, device, cancel)
        session.accept()
        stop_if(cancel)
    session.export(output)
    warnings += [warn(notice) for notice in session.notices]
    report = _report(session, output, model, (label,)) | {
        "warnings": warnings,
        "seconds": round(time.perf_counter() - began, 3),
    }
    if as_json:
        print_json(report)
    else:
        _print(report)


def _warn(volume: Volume, model: Bundle) -> list[str]:
    return [warn(text) for text in (*volume.source.get("warnings", ()), *model.warnings(volume))]


def _session(
    volume: Volume,
    model: Bundle,
    mask_file: Path | None,
    labels: tuple[int, ...],
    steps: int | None,
    device: str,
    refiner: Refiner | None = None,
) -> SegmentationSession:
    """A session whose accepted masks are the other labels of `mask_file`; `labels` are left to `_start`."""
    import numpy as np

    from medseg_rl.imageio import read_mask
    from medseg_rl.interaction import InteractionConfig
    from medseg_rl.labels import LabelMap
    from medseg_rl.session import SegmentationSession

    config = InteractionConfig()
    if model.has_agent:
        config = replace(config, steps=steps or model.steps)
    others, table = None, LabelMap.of_values(labels)
    if mask_file is not None:
        mask = read_mask(mask_file, like=volume)
        known = tuple(replace(label, layer=0) for label in mask.source["labels"].labels)
        table = LabelMap((*known, *(label for label in table.labels if label.value not in LabelMap(known))))
        others = volume.with_array(np.where(np.isin(mask.array, labels), 0, mask.array))
    return SegmentationSession(
        volume,
        refiner or (lambda: model.refiner(device)),
        config,
        labels=table,
        label_map=others,
        active=labels[0],
    )


def _start(
    session: SegmentationSession, start: str, model: Bundle, device: str, cancel: Cancel, *, needed: bool = True
) -> None:
    """Opens the proposal that the clicks correct. A mask file must hold the active label where that is `needed`."""
    from medseg_rl.imageio import read_mask
    from medseg_rl.labels import LabelMap
    from medseg_rl.session.state import ModelUsed

    if start == AUTOMATIC:
        segmenter = model.automatic(device)
        used = ModelUsed(model.name, model.version, model.hash)
        session.automatic_start(lambda volume: segmenter.predict(volume, cancel=cancel), used)
    elif start != EMPTY:
        mask = read_mask(start, like=session.image)
        inside = mask.array == session.active_label
        if inside.any():
            session.set_start(inside)
        elif needed:
            values = ", ".join(str(value) for value in LabelMap.of_array(mask.array).values) or "no label"
            raise InputFileError(
                f"{start} holds {values}, but not label {session.active_label}; choose one with --label"
            )


def _by_label(clicks: Sequence[WorldClick], label: int) -> dict[int, list[WorldClick]]:
    """The clicks of each label value, `label` first. A click without a target, or with the only name, means `label`."""
    names = {click.target for click in clicks if isinstance(click.target, str)}
    if len(names) > 1:
        raise ClickError(
            f"the clicks name several structures ({', '.join(sorted(names))}); "
            'give each a label value instead, such as "target": 2'
        )
    found: dict[int, list[WorldClick]] = {label: []}
    for click in clicks:
        value = click.target if isinstance(click.target, int) else label
        if value < 1:
            raise ClickError(f"a click has the target {value}; label values begin at 1")
        found.setdefault(value, []).append(click)
    return found if found[label] or len(found) == 1 else {value: own for value, own in found.items() if own}


def _click(session: SegmentationSession, clicks: Sequence[WorldClick], cancel: Cancel) -> dict[str, Any]:
    """One turn; what came of it."""
    from medseg_rl.session import PlaceClicks

    report = session.apply(session.prepare(PlaceClicks(tuple(clicks))).run(cancel))
    return {
        "label": session.active_label,
        "clicks": [{"point_mm": click.point_mm, "label": click.label.name.lower()} for click in clicks],
        "added_voxels": report.added_voxels,
        "removed_voxels": report.removed_voxels,
        "seconds": round(report.timings.total, 4),
        "message": report.message,
    }


def _report(session: SegmentationSession, output: Path, model: Bundle, labels: tuple[int, ...]) -> dict[str, Any]:
    voxels = {value: int((session.label_map == value).sum()) for value in labels}
    size = session.image.voxel_volume
    return {
        "mask": output,
        "labels": {value: {"voxels": n, "volume_mm3": round(n * size, 3)} for value, n in voxels.items()},
        "bundle": {"name": model.name, "version": model.version, "hash": model.hash},
    }


def _print(report: Mapping[str, Any]) -> None:
    for value, found in report["labels"].items():
        print(f"{report['mask']}: label {value}, {found['voxels']} voxels, {found['volume_mm3']:.1f} mm3")
