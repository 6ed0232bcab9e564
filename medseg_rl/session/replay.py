"""Runs the journal of a session file again: as it was stored, or with the model computing every turn anew.

*Stored* applies what each step changed, from the start on, and must arrive at the saved session bit for bit.
*Recomputed* goes the same way, and before each step of the model, and each edit by hand, does that step anew on the
stored state: every step is judged by itself, so that one difference does not hide in those that follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg_rl.editing import from_json
from medseg_rl.errors import InputFileError, MedSegError
from medseg_rl.history import BoxDelta
from medseg_rl.interaction import filled
from medseg_rl.journal.case_folder import ACTION
from medseg_rl.journal.container import Container
from medseg_rl.journal.values import expanded
from medseg_rl.refiner import MASK_THRESHOLD, Refiner
from medseg_rl.session.arrays import layer_of, percent_key
from medseg_rl.session.requests import job_of
from medseg_rl.session.segmentation import SegmentationSession
from medseg_rl.session.session_file import (
    journal_deltas,
    read_lines_of,
    read_manifest,
    read_now,
    read_start,
    read_voxels,
)
from medseg_rl.session.state import union_of
from medseg_rl.session.state_files import MISTAKES
from medseg_rl.session.steps import StepReader, follow
from medseg_rl.session.stored_state import StoredState, put_into, taken_from
from medseg_rl.session.writing import Deltas
from medseg_rl.volume import Box, Volume

Source = Refiner | Callable[[], Refiner]


@dataclass(frozen=True)
class StepComparison:
    """One step that was done anew. Voxels that differ from the stored outcome: of the mask, and in hundredths.

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

    `recomputed`: the steps that were done anew; `session`: at the end of the journal.
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
    """What doing a step anew comes to: for each array it changes, a box of all it changes and its values afterwards."""

    after: dict[Hashable, tuple[Box, npt.NDArray[Any]]]
    error: str = ""


def _attempt(session: SegmentationSession, line: dict[str, Any]) -> _Attempt | None:
    """Does a step of the model, or an edit by hand, on the session without applying it. None for any other step."""
    if line.get("kind") != ACTION or line.get("direction") != "do":
        return None
    active, policy = session.active_label, session.overwrite
    try:
        session.active_label = int(line["label"])
        follow(session, {"overwrite": line.get("overwrite")})
        deltas = _deltas(session, str(line["action"]), line["parameters"])
        if deltas is None:
            return None
        arrays, after = session._arrays, {}
        for key, delta in deltas:
            before = np.zeros(delta.box.shape, delta.dtype)
            if arrays.has(key):
                before[...] = arrays.array(key)[delta.box.slices]
            delta.apply(before, delta.box.start)
            after[key] = (delta.box, before)
        return _Attempt(after)
    except MISTAKES as error:
        raise InputFileError(f"step {line.get('sequence')} makes no sense ({error})") from None
    except MedSegError as error:
        return _Attempt({}, str(error))
    finally:
        session.active_label, session.overwrite = active, policy


def _deltas(session: SegmentationSession, action: str, parameters: dict[str, Any]) -> Deltas | None:
    """What an action changes when it is done anew; None for one that is neither of the model nor an edit."""
    if action == "edit":
        return session.prepare_edit(from_json(parameters["operation"])).run().deltas
    job = job_of(session, action, parameters)
    if job is None:
        return None
    percent = job.run().percent
    return () if percent is None else ((percent_key(session.active_label), percent),)


def _compared(session: SegmentationSession, line: dict[str, Any], attempt: _Attempt) -> StepComparison:
    """The outcome of an attempt against the stored one, which the session now holds."""
    about = (int(line["sequence"]), str(line["action"]), int(line["label"]))
    if attempt.error:
        return StepComparison(*about, error=attempt.error)
    masks = voxels = largest = 0
    stored = dict(session.history.done[-1].deltas)
    for key in {**stored, **attempt.after}:
        now, anew = _both(session._arrays.array(key), stored.get(key), attempt.after.get(key))
        if isinstance(key, tuple):
            background = session._work(key[1]).background
            now, anew = filled(now, background), filled(anew, background)
        apart = np.abs(now.astype(np.int64) - anew.astype(np.int64))
        voxels += int(np.count_nonzero(apart))
        if layer_of(key) is None:
            masks += int(np.count_nonzero((now > MASK_THRESHOLD) != (anew > MASK_THRESHOLD)))
            largest = max(largest, int(apart.max()))
        else:
            masks += int(np.count_nonzero(apart))
    return StepComparison(*about, masks, voxels, largest)


def _both(
    array: npt.NDArray[Any], stored: BoxDelta | None, attempt: tuple[Box, npt.NDArray[Any]] | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """An array as it was stored and as the attempt leaves it, over a box that holds all changes of both."""
    box = union_of([*([stored.box] if stored else []), *([attempt[0]] if attempt else [])])
    assert box is not None
    now = array[box.slices].copy()
    anew = now.copy()
    if stored is not None:
        stored.revert(anew, box.start)
    if attempt is not None:
        start = box.start
        anew[attempt[0].shifted((-start[0], -start[1], -start[2])).slices] = attempt[1]
    return now, anew


def _differences(saved: StoredState, reached: SegmentationSession) -> tuple[str, ...]:
    """What of a saved session is not as a session that was led there has it, in words; bit for bit."""
    arrays, found = reached._arrays, []
    for key, _, box, values in saved.arrays:
        layer = layer_of(key)
        if not arrays.has(key):
            found.append(f"the accepted labels have no layer {layer} at the end of the journal")
            continue
        now = arrays.array(key)
        voxels = int(np.count_nonzero(now))
        if box is not None:
            voxels += int(np.count_nonzero(now[box.slices] != values)) - int(np.count_nonzero(now[box.slices]))
        if voxels:
            what = "the state of a label" if layer is None else "the accepted labels"
            found.append(f"{what}: {voxels} voxels differ")
    state = taken_from(reached)
    if expanded(saved.ledger) != expanded(state.ledger):
        found.append("labels, clicks or proposal differ")
    if [entry.name for entry in (*saved.done, *saved.undone)] != [e.name for e in (*state.done, *state.undone)]:
        found.append("the undo list differs")
    return tuple(found)
