"""Saves a session to one file and opens it again, without any journal: for scripts. A window uses `safekeeping`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medseg_rl.journal.container import Container
from medseg_rl.session.session_file import ImageFacts, Writing, read_manifest, read_now, read_voxels
from medseg_rl.session.stored_state import put_into, taken_from
from medseg_rl.volume import Volume, content_hash

if TYPE_CHECKING:
    from medseg_rl.refiner import Refiner
    from medseg_rl.session.segmentation import SegmentationSession

Session = TypeVar("Session", bound="SegmentationSession")


def save(
    session: SegmentationSession,
    path: Path,
    *,
    view: Mapping[str, Any] | None = None,
    image_path: Path | None = None,
    with_voxels: bool = False,
) -> Path:
    """Write labels, proposal, clicks and undo list; no voxel of the image unless `with_voxels`.

    `view`: JSON-ready, opaque. `image_path`: where the image lies on this computer; left out unless given.
    """
    Writing(
        taken_from(session),
        ImageFacts.of(session),
        session.version,
        view or {},
        image_path=image_path,
        voxels=session.image if with_voxels else None,
    ).write(path)
    return path


def opened(kind: type[Session], path: Path, image: Volume | None, refiner: Refiner | Callable[[], Refiner]) -> Session:
    """The session of a file. Raises InputFileError."""
    with Container.open(path) as container:
        about = read_manifest(container)
        if image is None:
            image, image_hash = read_voxels(container, about), about.image.sha256
        else:
            image_hash = content_hash(image)
            about.image.check(image, image_hash)
            image = about.image.marked(image)
        session = kind(image, refiner)
        session.image_hash = image_hash
        put_into(session, read_now(container))
    return session
