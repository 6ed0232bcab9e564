"""`--session`: the journal of a command's work, kept while it runs and saved with the session at its end."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg_rl.errors import OutputError

if TYPE_CHECKING:
    from medseg_rl.session import SegmentationSession

SessionOption = Annotated[
    Path | None,
    typer.Option(
        "--session", help="Save the session too, with its journal (.medseg): see `replay`.", show_default=False
    ),
]


def check_session_output(output: Path) -> None:
    """Raises OutputError before any work is done where the session could not be written."""
    from medseg_rl.imageio.atomic import check_output_path
    from medseg_rl.journal.formats import SESSION_ENDING

    if output.suffix.lower() != SESSION_ENDING:
        raise OutputError(f"cannot write {output}: a session ends in {SESSION_ENDING}")
    check_output_path(output)


@contextlib.contextmanager
def kept_session(session: SegmentationSession, image: Path, output: Path | None) -> Iterator[None]:
    """Keeps a journal of what the block does and saves both to `output`; nothing where it is None or the block fails.

    `image`: where the image lies, for a part of its own in the file. What is exported in the block names the journal.
    """
    if output is None:
        yield
        return
    from medseg_rl.session.safekeeping import Safekeeping

    with tempfile.TemporaryDirectory(prefix="medseg-rl-") as folder:
        keeping = Safekeeping.begin(session, image_path=image.resolve(), root=Path(folder))
        try:
            yield
            keeping.save(output)
        finally:
            keeping.close(discard=True)
