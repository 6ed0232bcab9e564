"""`medseg-rl data`: bring a task of the Medical Segmentation Decathlon, and check any folder of labelled images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg_rl.cli.options import ChannelOption, SplitsOption
from medseg_rl.cli.terminal import JsonOption, guarded, interruptible, print_json, print_table, progress
from medseg_rl.errors import InputFileError

if TYPE_CHECKING:
    from medseg_rl.dataset.checking import FolderReport

commands = typer.Typer(
    help="Bring public volumes; check a folder of labelled images (Decathlon, nnU-Net, BraTS, images and labels).",
    no_args_is_help=True,
)
STOPPED = "stopping; the same command goes on from what is there"


def add_to(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.add_typer(commands, name="data")


@commands.command()
@guarded
def get(
    task: Annotated[str, typer.Argument(help="Task04_Hippocampus, hippocampus, or 4.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of data sets to put it in.", show_default=False)
    ],
    mirror: Annotated[
        str | None, typer.Option(help="Address of a folder with the same archives.", show_default=False)
    ] = None,
    keep_archive: Annotated[bool, typer.Option("--keep-archive", help="Keep the .tar beside the folder.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a task of the Medical Segmentation Decathlon; a broken download goes on, the checksum is compared.

    This is the one command that uses the network. Mind the terms of the data: they stand in its dataset.json.
    """
    from medseg_rl.dataset import load_dataset
    from medseg_rl.dataset.download import download_task, find_task, paired_subjects
    from medseg_rl.dataset.splits import SPLITS_FILE, write_drawn_splits

    with interruptible(STOPPED) as cancel, progress("fetching") as bar:
        folder = download_task(task, output, mirror=mirror, keep_archive=keep_archive, progress=bar.show, cancel=cancel)
        bar.rename("reading what came")
        if not (folder / SPLITS_FILE).is_file():
            write_drawn_splits(folder / SPLITS_FILE, folder, paired_subjects(find_task(task), folder))
        dataset = load_dataset(folder)
    found = {"folder": folder, "cases": len(dataset), "licence": dataset.licence, "splits": folder / SPLITS_FILE}
    if as_json:
        print_json(found)
        return
    print(f"{folder}: {len(dataset)} labelled cases; terms: {dataset.licence}")
    print(f"  split by subject in {folder / SPLITS_FILE}; train with --data {output} --dataset {folder.name}")


@commands.command()
@guarded
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of labelled images.", show_default=False)],
    channel: ChannelOption = None,
    splits: SplitsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a folder: pairs, unreadable files, grids, empty labels, leaking subjects. Exit code 3: not usable."""
    from medseg_rl.dataset.checking import check_folder

    with interruptible("stopping") as cancel, progress("reading") as bar:
        report = check_folder(folder, channel=channel, splits=splits, progress=bar.show, cancel=cancel)
    if as_json:
        findings = [asdict(finding) | {"fatal": finding.fatal} for finding in report.findings]
        print_json(asdict(report) | {"usable": report.usable, "findings": findings})
    else:
        _show(report)
    if not report.usable:
        raise typer.Exit(InputFileError.exit_code)


def _show(report: FolderReport) -> None:
    rows = [
        ("folder", str(report.folder)),
        ("layout", report.layout),
        ("cases", f"{report.cases} of {report.subjects} subjects"),
        ("splits", _counted(report.splits.items()) + (" (drawn by subject)" if report.split_drawn else "")),
    ]
    print_table("", ("", report.name), rows)
    if report.findings:
        found = [("error" if f.fatal else "note", f.kind, f.case, f.problem) for f in report.findings]
        print_table("", ("", "what", "case", "problem"), found)
    errors = sum(finding.fatal for finding in report.findings)
    print(f"{errors} error(s), {len(report.findings) - errors} note(s): {'usable' if report.usable else 'not usable'}")


def _counted(items: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count}" for name, count in items) or "none"
