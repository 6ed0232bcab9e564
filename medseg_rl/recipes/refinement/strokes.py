"""What a person painted into running refinements, out of a store: each stroke with the state it met and, in hindsight,
the mask accepted for its case. Strokes that were taken back, or whose case was never accepted, teach nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.refiner import Percent
from medseg_rl.rlhf.arrays import read_array
from medseg_rl.rlhf.guidance import Lesson, lessons_of
from medseg_rl.rlhf.records import Grid, Record, RecordError, VolumePrompt
from medseg_rl.volume import Spacing

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Stroke:
    """Arrays (x, y, z) over the region of its refinement. `percent`: state before the step, `voxels`: True where
    painted as `inside`, `reference`: the mask accepted later. `clicks`: of earlier turns, `new_clicks`: of this one.
    `case_index`: how many cases were finished before.
    """

    id: str
    group: str
    image: npt.NDArray[np.float32]
    percent: Percent
    voxels: Mask
    inside: bool
    reference: Mask
    clicks: tuple[Click, ...]
    new_clicks: tuple[Click, ...]
    spacing: Spacing
    case_index: int


@dataclass(frozen=True)
class Strokes:
    """What a store holds of them; `skipped`: reason to count."""

    strokes: tuple[Stroke, ...]
    skipped: dict[str, int]


def strokes_of(records: Sequence[Record], folder: Path) -> Strokes:
    """Of the usable records of one store, whose arrays lie below `folder`. Raises RecordError as `read_array`."""
    found = lessons_of(records)
    skipped = {
        "intervention: taken back": found.retracted,
        "intervention: case never accepted": found.never_accepted,
    }
    strokes = tuple(_stroke(lesson, folder) for lesson in found.lessons)
    return Strokes(strokes, {reason: count for reason, count in skipped.items() if count})


def _stroke(lesson: Lesson, folder: Path) -> Stroke:
    record, prompt, accepted = lesson.stroke, lesson.stroke.prompt, lesson.accepted
    if not isinstance(prompt, VolumePrompt) or not isinstance(accepted.prompt, VolumePrompt):
        raise RecordError(f"record {record.record_id}: an intervention is about a volume, and so is its accepted mask")
    if prompt.image is None or prompt.initial_probability is None or isinstance(accepted.completion, str):
        raise RecordError(f"record {record.record_id} names no image, state or mask; export the store again")
    mask = read_array(folder, accepted.completion)
    if mask.shape != accepted.prompt.grid.shape or accepted.prompt.grid.volume_shape != prompt.grid.volume_shape:
        raise RecordError(f"record {record.record_id} and the mask accepted for it are of different grids")
    return Stroke(
        record.record_id,
        record.group_id,
        np.asarray(read_array(folder, prompt.image), np.float32),
        np.asarray(read_array(folder, prompt.initial_probability), np.uint8),
        np.asarray(read_array(folder, record.voxels), np.bool_),
        record.label == 1,
        on_grid(np.asarray(mask, np.bool_), accepted.prompt.grid, prompt.grid),
        _clicks(prompt, new=False),
        _clicks(prompt, new=True),
        prompt.grid.spacing,
        record.case_index,
    )


def on_grid(mask: Mask, held: Grid, wanted: Grid) -> Mask:
    """What a mask over one region of a volume says of another; False beyond its own."""
    out = np.zeros(wanted.shape, np.bool_)
    ours, theirs = [], []
    for a, n, b, m in zip(held.start, held.shape, wanted.start, wanted.shape, strict=True):
        first, last = max(a, b), min(a + n, b + m)
        if last <= first:
            return out
        ours.append(slice(first - b, last - b))
        theirs.append(slice(first - a, last - a))
    out[tuple(ours)] = mask[tuple(theirs)]
    return out


def _clicks(prompt: VolumePrompt, *, new: bool) -> tuple[Click, ...]:
    return tuple(
        Click(hint.index, ClickLabel.FOREGROUND if hint.foreground else ClickLabel.BACKGROUND)
        for hint in prompt.hints
        if hint.new is new
    )
