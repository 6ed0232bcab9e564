"""A hasty user of a small case, and what may be compared of the session: for kills, full disks and power cuts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.editing import Brush, FillHoles, Islands
from medseg_rl.errors import MedSegError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.journal.values import expanded
from medseg_rl.refiner import RefinementRequest
from medseg_rl.segmentation import Segmentation
from medseg_rl.session import SegmentationSession
from medseg_rl.session.stored_state import taken_from
from medseg_rl.volume import Volume

SHAPE = (40, 36, 24)
TORN = "generation was passed over"  # what a recovery says of a file that was not written in one step


class CubePainter:
    """A model that costs nothing: paints a cube round each new click."""

    name = "cube painter"

    def describe(self) -> dict[str, Any]:
        """What identifies it."""
        return {"kind": self.name}

    def refine(self, request: RefinementRequest, **_: Any) -> npt.NDArray[np.uint8]:
        """The state with the cubes in it; what is held stays."""
        percent = request.percent.copy()
        for click in request.clicks[len(request.clicks) - request.n_new_clicks :]:
            cube = tuple(slice(max(0, i - 3), i + 4) for i in click.index)
            percent[cube] = 99 if click.label == ClickLabel.FOREGROUND else 1
        if request.held_voxels is not None:
            np.copyto(percent, request.percent, where=request.held_voxels)
        return percent


def digest(session: SegmentationSession) -> str:
    """SHA-256 of everything that steps change: what a user could see or undo."""
    state = taken_from(session)
    whole = hashlib.sha256()
    for key, _, box, values in sorted(state.arrays, key=lambda array: str(array.key)):
        if values is not None and values.any():
            array = np.zeros(state.shape, values.dtype)
            assert box is not None
            array[box.slices] = values
            whole.update(str(key).encode() + array.tobytes())
    names = [entry.name for entry in (*state.done, None, *state.undone) if entry is not None]
    small = [expanded(state.ledger), names, len(state.done)]
    whole.update(json.dumps(small, default=str, sort_keys=True).encode())
    return whole.hexdigest()


def of_labels(found: Segmentation, *, flat: bool) -> str:
    """SHA-256 of the voxels of every label, in one map where the format holds no more."""
    if flat:
        return hashlib.sha256(found.flattened().array.astype(np.int32).tobytes()).hexdigest()
    masks = {value: found.mask_of(value) for value in sorted(found.labels.values)}
    return hashlib.sha256(b"".join(b"%d" % v + m.tobytes() for v, m in masks.items() if m.any())).hexdigest()


def choices(session: SegmentationSession) -> str:
    """What is restored too, but is no step."""
    return f"{session.active_label}/{session.overwrite}"


def image() -> Volume:
    """The image of the case."""
    array = np.random.default_rng(3).normal(100, 10, SHAPE).astype(np.float32)
    return Volume(array, np.array([[-1.5, 0, 0, 9], [0, 1.5, 0, -4], [0, 0, 2, 0], [0, 0, 0, 1.0]]), "MR")


def act(session: SegmentationSession, rng: random.Random) -> None:
    """One action of a hasty user; what the session refuses does not happen."""
    index = (rng.randrange(SHAPE[0]), rng.randrange(SHAPE[1]), rng.randrange(SHAPE[2]))
    x, y, z = (float(v) for v in session.image.index_to_world(index))
    value = rng.choice(session.labels.values)
    label = ClickLabel.FOREGROUND if rng.random() < 0.7 else ClickLabel.BACKGROUND
    actions: dict[str, tuple[int, Callable[[], object]]] = {
        "click": (8, lambda: session.click_voxels([Click(index, label)])),
        "accept": (4, session.accept),
        "discard": (1, session.discard),
        "brush": (6, lambda: session.edit(Brush(((x, y, z), (x + 6, y, z)), 4.0, erase=rng.random() < 0.3))),
        "islands": (1, lambda: session.edit(Islands("keep_largest"))),
        "holes": (1, lambda: session.edit(FillHoles())),
        "undo": (5, session.undo),
        "redo": (3, session.redo),
        "add": (1, session.add_label),
        "lock": (1, lambda: session.set_lock(value, not session.labels[value].locked)),
        "rename": (1, lambda: session.rename_label(value, f"name {rng.randrange(99)}")),
        "delete": (1, lambda: session.delete_label(value)),
        "activate": (2, lambda: session.activate(value)),
        "overwrite": (1, lambda: setattr(session, "overwrite", rng.choice(("keep", "replace", "overlap")))),
    }
    name = rng.choices(list(actions), [weight for weight, _ in actions.values()])[0]
    with contextlib.suppress(MedSegError):
        actions[name][1]()
