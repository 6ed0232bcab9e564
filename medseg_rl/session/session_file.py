"""Session files, `*.medseg`: the state of a session, what it is a session of, and, where one was kept, its journal.

No voxel of the image is in it unless asked for, and no name: the image is known by its hash. Where the image lies on
this computer stands in a part of its own, which is left out unless given.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg_rl import __version__
from medseg_rl.errors import InputFileError, OutputError
from medseg_rl.history import BoxDelta
from medseg_rl.imageio.limits import MAX_VOXELS
from medseg_rl.journal.container import Container, Part, in_pieces, json_part, write_container
from medseg_rl.journal.deltas import INTEGERS, records, unpacked
from medseg_rl.journal.formats import FORMAT, FORMAT_VERSION, checked_version
from medseg_rl.journal.lines import JournalText, read_journal
from medseg_rl.session.state_files import MISTAKES, read_state, state_parts
from medseg_rl.session.stored_state import StoredState
from medseg_rl.volume import FloatArray, Index, Volume, content_hash

if TYPE_CHECKING:
    from medseg_rl.session.segmentation import SegmentationSession

NOTICE = "For research use only. Not a medical device."
MANIFEST, IMAGE_PATH, VOXELS = "session.json", "image.json", "array-image.bin"
NOW, START = "state", "start"
LINES, CHANGES = "journal/journal.jsonl", "journal/changes.bin"
FLOATS = frozenset({"<f4", "<f8"})
Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """What a session is of. `shape` in file order; `sha256` of voxels and affine.

    `quantities`: why nothing may be measured on it; "" where nothing is in the way.
    """

    sha256: str
    shape: Index
    affine: FloatArray
    modality: str | None
    quantities: str = ""

    @classmethod
    def of(cls, session: SegmentationSession) -> ImageFacts:
        """Those of the image of a session."""
        image = session.image
        disabled = str(image.source.get("quantities", ""))
        return cls(session.image_hash, image.shape, image.affine, image.modality, disabled)

    def blank(self) -> Volume:
        """A volume on the same grid that takes no memory: for replaying what was stored."""
        return Volume(np.broadcast_to(np.int8(0), self.shape), self.affine, self.modality)

    def marked(self, image: Volume) -> Volume:
        """The image, with what forbids to measure on it."""
        if not self.quantities or image.source.get("quantities"):
            return image
        return replace(image, source={**image.source, "quantities": self.quantities})

    def check(self, image: Volume, image_hash: str | None = None) -> None:
        """Raises InputFileError when `image` is another one."""
        if image.shape != self.shape:
            raise InputFileError(f"it is the session of an image of {self.shape} voxels, this one has {image.shape}")
        if (image_hash or content_hash(image)) != self.sha256:
            raise InputFileError("it is the session of another image: voxels or affine differ; open the image it is of")


@dataclass(frozen=True, eq=False)
class JournalParts:
    """The journal as it was at one moment: so many bytes of its two files. `start`: the session it begins with."""

    start: Path
    lines: Path
    deltas: Path
    lines_bytes: int
    deltas_bytes: int
    sha256: str
    digests: frozenset[str]


@dataclass(frozen=True, eq=False)
class SessionFile:
    """What a session file says of itself. `sequence`: steps so far. `view`: what the window kept in it."""

    version: int
    program: str
    image: ImageFacts
    sequence: int
    view: Mapping[str, Any]
    journal_sha256: str | None
    image_path: Path | None
    has_voxels: bool


@dataclass(frozen=True, eq=False)
class Writing:
    """A session file that only has to be written: by `write`, on any thread.

    `kept_in`: the folder of the case, where a file of the user's might take the place of what keeps the work.
    """

    state: StoredState
    image: ImageFacts
    sequence: int = 0
    view: Mapping[str, Any] = field(default_factory=dict)
    journal: JournalParts | None = None
    image_path: Path | None = None
    voxels: Volume | None = None
    kept_in: Path | None = None

    def write(self, path: Path) -> str:
        """Write it in one step; why the journal had to be left out, mostly "".

        Raises OutputError; an old file of that name is then as it was.
        """
        if self.kept_in is not None and os.path.realpath(path.parent) == os.path.realpath(self.kept_in):
            raise OutputError(f"cannot write {path}: unsaved work is kept in that folder; choose another place")
        if self.journal is not None:
            try:
                write_container(path, self.parts())
                return ""
            except InputFileError as error:  # of the journal's files: the work itself must be saved all the same
                lost = f"the journal is not in {path.name}: {error}"
                write_container(path, replace(self, journal=None).parts())
                return lost
        write_container(path, self.parts())
        return ""

    def parts(self) -> dict[str, Part]:
        """All parts of the file."""
        facts: Json = {
            "sha256": self.image.sha256,
            "shape": list(self.image.shape),
            "affine": self.image.affine.tolist(),
            "modality": self.image.modality,
        }
        if self.image.quantities:
            facts["quantities"] = self.image.quantities
        manifest: Json = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "program": f"medseg-rl {__version__}",
            "notice": NOTICE,
            "image": facts,
            "sequence": self.sequence,
            "view": dict(self.view),
            "journal": None if self.journal is None else {"sha256": self.journal.sha256},
        }
        parts: dict[str, Part] = {}
        if self.voxels is not None:
            array = self.voxels.array
            manifest["voxels"] = array.dtype.newbyteorder("<").str
            parts[VOXELS] = lambda: (slab.astype(slab.dtype.newbyteorder("<")).tobytes() for slab in array)
        if self.image_path is not None:
            parts[IMAGE_PATH] = json_part({"path": str(self.image_path)})
        if self.journal is not None:
            parts |= _journal_parts(self.journal)
        known = frozenset() if self.journal is None else self.journal.digests
        return {MANIFEST: json_part(manifest), **state_parts(self.state, NOW, elsewhere=known), **parts}


def describe_session(path: Path) -> SessionFile:
    """What a session file says of itself, its state unread. Raises InputFileError."""
    with Container.open(path) as container:
        return read_manifest(container)


def read_manifest(container: Container) -> SessionFile:
    """What an open session file says of itself. Raises InputFileError."""
    manifest = container.json(MANIFEST)
    version = checked_version(manifest)
    try:
        image, journal, view = manifest["image"], manifest["journal"], manifest["view"]
        if not isinstance(view, dict):
            raise ValueError("its view is no table")
        a, b, c = (int(n) for n in image["shape"])
        affine = np.array(image["affine"], np.float64)
        disabled = _text(image.get("quantities")) or ""
        facts = ImageFacts(str(image["sha256"]), (a, b, c), affine, _text(image["modality"]), disabled)
        if (
            min(facts.shape) < 1
            or math.prod(facts.shape) > MAX_VOXELS
            or affine.shape != (4, 4)
            or not np.isfinite(affine).all()
        ):
            raise ValueError("its image has an impossible grid")
        return SessionFile(
            version=version,
            program=str(manifest["program"]),
            image=facts,
            sequence=int(manifest["sequence"]),
            view=view,
            journal_sha256=None if journal is None else str(journal["sha256"]),
            image_path=_image_path(container),
            has_voxels=VOXELS in container,
        )
    except MISTAKES as error:
        raise InputFileError(f"its description makes no sense ({error}); open an earlier copy") from None


def read_now(container: Container) -> StoredState:
    """The state that was saved. Raises InputFileError."""
    return read_state(container, NOW, journal_deltas(container))


def read_start(container: Container) -> StoredState:
    """The state its journal begins with. Raises InputFileError."""
    return read_state(container, START, journal_deltas(container))


def read_lines_of(container: Container) -> JournalText:
    """The lines of its journal. Raises InputFileError when it has none or it is damaged."""
    if LINES not in container:
        raise InputFileError("it holds no journal; it was saved without one")
    with container.opened(LINES) as handle:
        text = read_journal(handle)
    if text.lost_bytes:
        raise InputFileError(f"its journal is damaged after {len(text.lines)} lines; open an earlier copy")
    return text


def journal_deltas(container: Container) -> Callable[[str], BoxDelta]:
    """Gives the deltas of its journal by digest, read when first asked for."""
    payloads: dict[str, bytes] = {}

    def delta_of(digest: str) -> BoxDelta:
        if not payloads and CHANGES in container:
            with container.opened(CHANGES) as handle:
                payloads.update(records(handle))
        if digest not in payloads:
            raise InputFileError("it names a change that is not in it; the file is damaged")
        return unpacked(payloads[digest])

    return delta_of


def read_voxels(container: Container, about: SessionFile) -> Volume:
    """The image, where it was saved with the session. Raises InputFileError."""
    kind = container.json(MANIFEST).get("voxels")
    if not about.has_voxels or kind not in INTEGERS | FLOATS:
        raise InputFileError("it holds no image voxels; give the image it is of")
    dtype, shape = np.dtype(kind), about.image.shape
    size = math.prod(shape) * dtype.itemsize
    with container.opened(VOXELS, size) as handle:
        content = handle.read(size)
    array = np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
    image = Volume(array, about.image.affine, about.image.modality)
    about.image.check(image)
    return about.image.marked(image)


def _text(given: Any) -> str | None:
    if not isinstance(given, str | None):
        raise ValueError(f"{given!r} is no text")
    return given


def _image_path(container: Container) -> Path | None:
    if IMAGE_PATH not in container:
        return None
    content = container.json(IMAGE_PATH)
    return Path(str(content["path"]))


def _journal_parts(journal: JournalParts) -> dict[str, Part]:
    """Journal and start, copied as they are: the start under another folder."""
    with Container.open(journal.start) as start:
        names = [name for name in start.names if name.startswith(f"{NOW}/")]
    parts: dict[str, Part] = {f"{START}{name.removeprefix(NOW)}": _copied(journal.start, name) for name in names}
    parts[LINES] = _head(journal.lines, journal.lines_bytes)
    parts[CHANGES] = _head(journal.deltas, journal.deltas_bytes)
    return parts


def _copied(path: Path, name: str) -> Callable[[], Any]:
    def pieces() -> Any:
        with Container.open(path) as container, container.opened(name, container.size(name)) as handle:
            yield from in_pieces(handle)

    return pieces


def _head(path: Path, size: int) -> Callable[[], Any]:
    def pieces() -> Any:
        left = size
        try:
            handle = path.open("rb")
        except OSError as error:
            raise InputFileError(f"{path.name} cannot be read: {error.strerror or error}") from None
        with handle:
            while left:
                piece = handle.read(min(left, 2**20))
                if not piece:
                    raise InputFileError(f"{path.name} was cut while it was saved")
                left -= len(piece)
                yield piece

    return pieces
