"""`medseg-rl demo`: the main job on the shipped sample. A simulated user clicks, the session refines, Dice is shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg_rl.cli.options import BundleOption
from medseg_rl.cli.terminal import JsonOption, guarded, interruptible, print_json, print_table, progress
from medseg_rl.errors import OutputError

if TYPE_CHECKING:
    from medseg_rl.bundle import Bundle
    from medseg_rl.cli.demo_pictures import Story
    from medseg_rl.session import SegmentationSession

SIDES = ("right", "left")
STOPPED = "stopping after this click"


def add_to(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("demo")(demo)


@guarded
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("demo"),
    bundle: BundleOption = None,
    clicks: Annotated[int, typer.Option(min=1, max=50, help="Clicks of the simulated user.")] = 10,
    window: Annotated[bool, typer.Option("--window", help="Open the result in the window, with a display.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let simulated clicks refine the shipped hippocampus samples; write masks, picture and curve."""
    from medseg_rl.bundle import load_bundle
    from medseg_rl.cli.demo_pictures import draw_curve, draw_overlay

    model = load_bundle(bundle)
    starting = model if model.has_automatic else load_bundle(automatic=True)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {output}: {error.strerror}; choose another with --output") from error
    began = time.perf_counter()
    stories: dict[str, Story] = {}
    with interruptible(STOPPED) as cancel, progress("loading the model", len(SIDES) * clicks) as bar:
        for number, side in enumerate(SIDES):

            def shown(done: int, side: str = side, number: int = number) -> None:
                bar.rename(f"{side} hippocampus")
                bar.show(number * clicks + done, len(SIDES) * clicks)

            stories[side] = _play(side, model, starting, clicks, output, shown, cancel)
    draw_overlay(stories, output / "overlay.png")
    draw_curve({side: story.dice for side, story in stories.items()}, output / "curve.png")
    seconds = time.perf_counter() - began
    if as_json:
        print_json(_report(stories, model, output, seconds))
        return
    longest = max(len(story.dice) for story in stories.values())
    rows = [[str(n), *(_cell(story, n) for story in stories.values())] for n in range(longest)]
    print_table("Dice by click, hippocampus samples", ("clicks", *stories), rows)
    print(
        f"Start by {starting.name}, clicks for {model.name}, {seconds:.1f} s."
        f" Masks, clicks, overlay.png and curve.png are in {output}."
    )
    if window:
        print(_shown_in_window(output))


def _shown_in_window(output: Path) -> str:
    """Opens the first side's session in the window, or says why that cannot be."""
    from medseg_rl.cli.gui import open_beside

    why_not = open_beside(output / f"hippocampus_{SIDES[0]}.medseg")
    return f"No window: {why_not}; look at the pictures." if why_not else "The window opens on the refined sample."


def _play(
    side: str,
    model: Bundle,
    starting: Bundle,
    clicks: int,
    output: Path,
    shown: Callable[[int], None],
    cancel: Callable[[], bool],
) -> Story:
    """One case from the automatic start of one model to the last click for another; its mask and clicks are written."""
    from medseg_rl.cli.demo_pictures import Story
    from medseg_rl.hints.click_files import write_clicks
    from medseg_rl.imageio import read_mask, read_volume
    from medseg_rl.interaction import InteractionConfig
    from medseg_rl.metrics import dice
    from medseg_rl.samples import sample_path
    from medseg_rl.session import SegmentationSession
    from medseg_rl.session.state import ModelUsed

    image = read_volume(sample_path(f"hippocampus_{side}_t1.nii.gz"))
    reference = read_mask(sample_path(f"hippocampus_{side}_label.nii.gz"), like=image).array > 0
    session = SegmentationSession(image, model.refiner, InteractionConfig(steps=model.steps))
    used = ModelUsed(starting.name, starting.version, starting.hash)
    session.automatic_start(lambda volume: starting.automatic().predict(volume, cancel=cancel), used)
    start = session.mask
    scores = [dice(start, reference)]
    for done in _robot_clicks(session, reference, clicks, cancel):
        scores.append(dice(session.mask, reference))
        shown(done)
    after, made = session.mask, session.clicks
    write_clicks(output / f"hippocampus_{side}_clicks.json", session.world_clicks)
    session.accept()
    session.export(output / f"hippocampus_{side}_mask.nii.gz")
    session.save(output / f"hippocampus_{side}.medseg", with_voxels=True)
    return Story(image, reference, start, after, made, tuple(scores))


def _robot_clicks(
    session: SegmentationSession, reference: Any, clicks: int, cancel: Callable[[], bool]
) -> Iterator[int]:
    """Clicks of the primary robot one by one; yields their number after each."""
    from medseg_rl.hints.robots import ROBOTS, robot_rng
    from medseg_rl.session import PlaceVoxelClicks

    robot = ROBOTS["primary"]()
    for number in range(1, clicks + 1):
        rng = robot_rng("demo", 0, number)
        chosen = robot.next_clicks(reference, session.mask, session.clicks, session.image.spacing, 1, rng)
        if not chosen:
            return
        session.apply(session.prepare(PlaceVoxelClicks(tuple(chosen))).run(cancel))
        yield number


def _cell(story: Story, number: int) -> str:
    return f"{story.dice[number]:.4f}" if number < len(story.dice) else "no error left"


def _report(stories: Mapping[str, Story], model: Bundle, output: Path, seconds: float) -> dict[str, Any]:
    return {
        "bundle": {"name": model.name, "version": model.version, "hash": model.hash},
        "dice": {side: story.dice for side, story in stories.items()},
        "clicks": {side: len(story.clicks) for side, story in stories.items()},
        "output": output,
        "seconds": round(seconds, 2),
    }
