"""`medseg-rl replay`: runs the journal of a saved session again, as it was stored or with the model computing anew."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medseg_rl.cli.options import (
    BundleOption,
    DeviceOption,
    MissingOption,
    SeriesOption,
    TiltOption,
    TimePointOption,
    TransformOption,
    UnitsOption,
    series_choice,
)
from medseg_rl.cli.terminal import JsonOption, guarded, print_json, print_table, warn
from medseg_rl.errors import InputFileError

if TYPE_CHECKING:
    from medseg_rl.bundle import Bundle
    from medseg_rl.session.replay import Replay, StepComparison
    from medseg_rl.volume import Volume


DIFFERENT = 8  # exit code: the replay worked and found a difference


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("replay")(replay)


@guarded
def replay(
    session: Annotated[Path, typer.Argument(help="Saved session (.medseg) with its journal.", show_default=False)],
    mode: Annotated[
        Literal["stored", "recompute"],
        typer.Option(help='"stored" applies the stored changes, "recompute" lets the model do its steps anew.'),
    ] = "stored",
    image: Annotated[
        Path | None, typer.Option(help="Image of the session; the one it names unless given.", show_default=False)
    ] = None,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    series: SeriesOption = None,
    missing: MissingOption = "refuse",
    tilt: TiltOption = "keep",
    units: UnitsOption = "suv",
    time_point: TimePointOption = None,
    transform: TransformOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay the journal of SESSION. Leaves with exit code 8 when something differs from what was saved.

    To recompute, the image is read with the same choices (series, slices, time point) as for the session.
    """
    from medseg_rl.session.replay import replay_recomputed, replay_stored

    warnings: list[str] = []
    if mode == "stored":
        result = replay_stored(session)
    else:
        from medseg_rl.bundle import load_bundle

        choices: dict[str, Any] = {"series": series_choice(series), "missing": missing, "tilt": tilt, "units": units}
        choices |= {"time_point": time_point, "prefer": transform}
        volume, model = _image(session, image, choices), load_bundle(bundle)
        result = replay_recomputed(session, volume, lambda: model.refiner(device))
        warnings += [warn(line) for line in _other_models(result, model)]
    if as_json:
        print_json(_report(session, mode, result) | {"warnings": warnings})
    else:
        _print(session, mode, result)
    if not result.is_identical:
        raise typer.Exit(DIFFERENT)


def _other_models(result: Replay, model: Bundle) -> list[str]:
    """What to know where the session was made with another model than the one that did its steps anew."""
    made_with: list[dict[str, str]] = result.session.provenance()["models"]
    if not made_with or any(own["bundle_hash"] == model.hash for own in made_with):
        return []
    names = ", ".join(" ".join((own["name"], own["version"], own["bundle_hash"][:12])).strip() for own in made_with)
    return [f"the session was made with {names}, its steps were done anew with {model.name} {model.hash[:12]}"]


def _image(session: Path, given: Path | None, choices: dict[str, Any]) -> Volume | None:
    """The image of a session; None where the session holds it itself. Raises InputFileError when it is not known."""
    from medseg_rl.imageio import read_volume
    from medseg_rl.session.session_file import describe_session

    about = describe_session(session)
    path = given or about.image_path
    if path is None:
        if about.has_voxels:
            return None
        raise InputFileError(f"{session} does not say where its image lies; give it with --image")
    return read_volume(path, **choices)


def _report(session: Path, mode: str, result: Replay) -> dict[str, Any]:
    return {
        "session": session,
        "mode": mode,
        "steps": result.steps,
        "identical": result.is_identical,
        "differences": list(result.differences),
        "recomputed": [asdict(step) for step in result.recomputed],
    }


def _print(session: Path, mode: str, result: Replay) -> None:
    outcome = "identical to the saved session" if not result.differences else "; ".join(result.differences)
    print(f"{session}: {result.steps} steps replayed from their stored changes, {outcome}")
    if mode == "recompute":
        apart = [step for step in result.recomputed if step.percent_voxels or step.error]
        print(f"{len(result.recomputed)} steps of the model computed anew, {len(apart)} of them differ")
        if apart:
            print_table(
                "", ("step", "action", "label", "mask voxels", "voxels", "hundredths"), [_row(s) for s in apart]
            )


def _row(step: StepComparison) -> tuple[str, ...]:
    if step.error:
        return str(step.sequence), step.action, str(step.label), step.error, "", ""
    numbers = (step.mask_voxels, step.percent_voxels, step.largest_difference)
    return str(step.sequence), step.action, str(step.label), *(str(n) for n in numbers)
