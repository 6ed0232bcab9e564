"""Runs the journal of a session file again: as it was stored, or with the model computing every turn anew.

*Stored* applies what each step changed, from the start on, and must arrive at the saved session bit for bit.
*Recomputed* goes the same way, and before each step of the model lets it do that step on the stored state: every step
is judged by itself, so that one difference does not hide in those that follow from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg_rl.errors import MedSegError
from medseg_rl.journal.case_folder import ACTION
from medseg_rl.journal.container import Container
from medseg_rl.journal.values import expanded
from medseg_rl.refiner import MASK_THRESHOLD, Refiner
from medseg_rl.session.arrays import layer_of
from medseg_rl.session.requests import action_of
from medseg_rl.session.segmentation import SegmentationSession
from medseg_rl.session.session_file import (
    journal_deltas,
    read_lines_of,
    read_manifest,
    read_now,
    read_start,
    read_voxels,
)
from medseg_rl.session.steps import StepReader
from medseg_rl.session.stored_state import StoredState, put_into, taken_from
from medseg_rl.volume import Box, Volume

Source = Refiner | Callable[[], Refiner]


@dataclass(frozen=True)
class StepComparison:
    """One step that the model did anew. Voxels that differ from the stored outcome: of the mask, and in hundredths.

    `error`: why it could not be done, empty if it could.
    """

    sequence: int
    action: str
    label: int | None
    mask_voxels: int = 0
    percent_voxels: int = 0
    largest_difference: int = 0
    error: str = ""


@dataclass(frozen=True, eq=False)
class Replay:
    """What a replay came to. `differences`: what of the saved session is not as the journal leads to; empty if nothing.

    `recomputed`: the steps the model did anew; `session`: at the end of the journal.
    """

    session: SegmentationSession
    steps: int
    differences: tuple[str, ...]
    recomputed: tuple[StepComparison, ...] = ()

    @property
    def is_identical(self) -> bool:
        """Whether the stored steps lead to the saved session, and every recomputed one to its stored outcome."""
        return not self.differences and not any(
            step.mask_voxels or step.percent_voxels or step.error for step in self.recomputed
        )


def replay_stored(path: Path) -> Replay:
    """From the start to the end of the journal by its stored changes; needs neither image nor model.

    Raises InputFileError when the file is damaged or holds no journal.
    """
    return _replay(path, None, _no_model)


def replay_recomputed(path: Path, image: Volume | None, refiner: Source) -> Replay:
    """The same, with the model doing its steps anew. `image`: None takes it from the file, if it is in there.

    Raises InputFileError; GeometryError when `image` is another one.
    """
    return _replay(path, image, refiner, recompute=True)


def _replay(path: Path, image: Volume | None, refiner: Source, *, recompute: bool = False) -> Replay:
    with Container.open(path) as container:
        about = read_manifest(container)
        text = read_lines_of(container)
        if image is not None:
            about.image.check(image)
        elif recompute:
            image = read_voxels(container, about)
        session = SegmentationSession(about.image.blank() if image is None else image, refiner)
        put_into(session, read_start(container))
        reader = StepReader(session, journal_deltas(container))
        steps, compared = 0, []
        for line in text.lines:
            before = _attempt(session, line) if recompute else None
            reader.apply(line)
            steps += line.get("kind") == ACTION
            if before is not None:
                compared.append(_compared(session, line, before))
        return Replay(session, steps, _differences(read_now(container), session), tuple(compared))


def _no_model() -> Refiner:
    raise MedSegError("a stored replay runs no model")


@dataclass(frozen=True, eq=False)
class _Attempt:
    """What the model makes of a step: percent state of its label over `box`, which holds all that it changes."""

    box: Box | None
    percent: Any
    error: str = ""


def _attempt(session: SegmentationSession, line: dict[str, Any]) -> _Attempt | None:
    """Does a step of the model on the session without applying it. None for any other step."""
    if line.get("kind") != ACTION or line.get("direction") != "do":
        return None
    action = action_of(str(line.get("action")), line.get("parameters") or {})
    if action is None:
        return None
    active = session.active_label
    try:
        session.active_label = int(line["label"])
        delta = session.prepare(action).run().percent
        soft = session._arrays.soft(session.active_label)
        if delta is None:
            return _Attempt(None, None)
        percent = soft.array[delta.box.slices].copy()
        delta.apply(percent, delta.box.start)
        return _Attempt(delta.box, percent)
    except MedSegError as error:
        return _Attempt(None, None, str(error))
    finally:
        session.active_label = active


def _compared(session: SegmentationSession, line: dict[str, Any], attempt: _Attempt) -> StepComparison:
    """The outcome of an attempt against the stored one, which the session now holds."""
    value = int(line["label"])
    about = (int(line["sequence"]), str(line["action"]), value)
    if attempt.error:
        return StepComparison(*about, error=attempt.error)
    entry = session.history.done[-1]
    stored = [delta for key, delta in entry.deltas if key == ("percent", value)]
    boxes = [delta.box for delta in stored] + ([attempt.box] if attempt.box is not None else [])
    if not boxes:
        return StepComparison(*about)
    box = boxes[0] if len(boxes) == 1 else boxes[0].union(boxes[1])
    now = session._arrays.soft(value).array[box.slices]
    anew = now.copy()
    for delta in stored:
        delta.revert(anew, box.start)
    if attempt.box is not None:
        start = box.start
        anew[attempt.box.shifted((-start[0], -start[1], -start[2])).slices] = attempt.percent
    apart = np.abs(now.astype(np.int16) - anew)
    masks = (now > MASK_THRESHOLD) != (anew > MASK_THRESHOLD)
    return StepComparison(*about, int(np.count_nonzero(masks)), int(np.count_nonzero(apart)), int(apart.max()))


def _differences(saved: StoredState, reached: SegmentationSession) -> tuple[str, ...]:
    """What of a saved session is not as a session that was led there has it, in words; bit for bit."""
    arrays, found = reached._arrays, []
    for key, _, box, values in saved.arrays:
        layer = layer_of(key)
        if layer is not None and layer >= len(arrays.layers):
            found.append(f"the accepted labels have no layer {layer} at the end of the journal")
            continue
        assert layer is not None or isinstance(key, tuple)
        now = arrays.soft(key[1]).array if layer is None else arrays.layers[layer]  # type: ignore[index]
        voxels = int(np.count_nonzero(now))
        if box is not None:
            voxels += int(np.count_nonzero(now[box.slices] != values)) - int(np.count_nonzero(now[box.slices]))
        if voxels:
            what = "the accepted labels" if layer is not None else f"the state of label {key[1]}"  # type: ignore[index]
            found.append(f"{what}: {voxels} voxels differ")
    state = taken_from(reached)
    if expanded(saved.ledger) != expanded(state.ledger):
        found.append("labels, clicks or proposal differ")
    if [entry.name for entry in (*saved.done, *saved.undone)] != [e.name for e in (*state.done, *state.undone)]:
        found.append("the undo list differs")
    return tuple(found)
