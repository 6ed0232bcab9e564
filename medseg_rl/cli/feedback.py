"""`medseg-rl feedback`: what is stored of the user's feedback on this computer, and their say in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from medseg_rl.cli.terminal import JsonOption, guarded, print_json, print_table

commands = typer.Typer(
    help="Show, export or delete the stored feedback, and say what may be stored. Nothing leaves this computer.",
    no_args_is_help=True,
)

FolderOption = Annotated[
    Path | None, typer.Option(help="Folder of the store; the user's own unless given.", show_default=False)
]


def add_to(app: typer.Typer) -> None:
    """Adds the commands to the application."""
    app.add_typer(commands, name="feedback")


@commands.command()
@guarded
def show(
    records: Annotated[bool, typer.Option("--records", help="One row for each record too.")] = False,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is stored: consent, kinds and numbers of records, space."""
    from medseg_rl.rlhf.manifest import effective
    from medseg_rl.rlhf.store import FeedbackStore

    store = FeedbackStore(folder)
    found = dataclasses.asdict(store.summary()) | {"consent": store.consent.line}
    latest = effective(store.records()) if records else ()
    if as_json:
        print_json(found | ({"list": [record.to_json() for record in latest]} if records else {}))
        return
    print_table("", ("", "feedback"), [(name.replace("_", " "), _text(value)) for name, value in found.items()])
    if latest:
        rows = [
            (
                r.record_id,
                r.kind,
                r.created_utc,
                r.case_id,
                "yes" if r.stores_image else "no",
                "yes" if r.may_train else "no",
            )
            for r in latest
        ]
        print_table("", ("record", "kind", "time", "case", "image", "may train"), rows)


@commands.command()
@guarded
def export(
    output: Annotated[Path, typer.Argument(help="Zip file to write.", show_default=False)],
    images: Annotated[bool, typer.Option("--images", help="With the image voxels, where they were stored.")] = False,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all records and their arrays as one zip without annotators and times of day."""
    from medseg_rl.rlhf.store import FeedbackStore

    store = FeedbackStore(folder)
    with_image = store.summary().with_image if images else 0
    count = store.export(output, images=images)
    if as_json:
        print_json({"output": output, "records": count, "images": images, "with_image": with_image})
    else:
        voxels = f"image voxels of {with_image}" if images else "image voxels left out"
        print(f"{_records(count)} written to {output}, {voxels}")


@commands.command()
@guarded
def delete(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete all stored feedback. It cannot be brought back; the consent stays as it is."""
    from medseg_rl.rlhf.store import FeedbackStore

    store = FeedbackStore(folder)
    if not yes:
        typer.confirm("Delete all stored feedback for good?", abort=True, err=True)
    count = store.delete_all()
    if as_json:
        print_json({"deleted": count})
    else:
        print(f"{_records(count)} deleted")


@commands.command()
@guarded
def consent(
    store: Annotated[
        bool | None, typer.Option("--store/--do-not-store", help="The answer; without one, text and answer are shown.")
    ] = None,
    images: Annotated[bool, typer.Option("--images", help="With --store: image voxels too.")] = False,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what may be stored, or change it. The default is "Do not store"."""
    from medseg_rl.rlhf.consent import CONSENT_TEXT, CONSENT_VERSION, ConsentError
    from medseg_rl.rlhf.store import FeedbackStore

    kept = FeedbackStore(folder)
    if store is None and images:
        raise ConsentError("--images needs --store: voxels are stored with the records they belong to")
    answer = kept.consent if store is None else kept.set_consent(store=store, images=images)
    if as_json:
        print_json(dataclasses.asdict(answer) | {"text_version": CONSENT_VERSION, "text": CONSENT_TEXT})
        return
    if store is None:
        print(CONSENT_TEXT)
    print(f"Answer: {answer.line}")
    left = len(kept.records())
    if store is False and left:
        print(f"{_records(left)} of before are still there; `medseg-rl feedback delete` removes them")


def _records(count: int) -> str:
    return f"{count} record{'' if count == 1 else 's'}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "none"
    return "-" if value is None else str(value)
