"""SegmentationSession: everything that a user does with one case, as one object; the only writer of its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medseg_rl.editing import Operation, Plane
from medseg_rl.errors import MedSegError
from medseg_rl.hints.click_files import WorldClick
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.interaction import TurnReport
from medseg_rl.labels import Colour, label_dtype
from medseg_rl.refiner import COMMANDS, MASK_THRESHOLD, Percent, Refiner
from medseg_rl.segmentation import Segmentation
from medseg_rl.session import label_actions, proposals, provenance
from medseg_rl.session.arrays import percent_key
from medseg_rl.session.candidates import Candidates, CandidatesJob, check_count, chosen
from medseg_rl.session.case import Case
from medseg_rl.session.comparing import ComparisonJob, prepare_comparison
from medseg_rl.session.editing_actions import EditDelta, EditJob, EditReport, prepare_edit, stroke_into
from medseg_rl.session.entry import as_point, start_array
from medseg_rl.session.jobs import (
    Action,
    DeleteClick,
    Job,
    PlaceClicks,
    PlaceVoxelClicks,
    Refine,
    SessionDelta,
    Start,
)
from medseg_rl.session.preparing import check_open_label, prepare, scribble_clicks, why_no_click
from medseg_rl.session.state import Change, ModelUsed
from medseg_rl.session.suggestions import Suggestion, SuggestionJob, prepare_suggestion
from medseg_rl.volume import Box, Index, Volume

AUTOMATIC = ModelUsed("automatic start")


class SegmentationSession(Case):
    """One image, its labels, and what the user did with them: everything a window, a command or a robot may do.

    Public arrays and boxes are in file order, points in RAS+ millimetres. `version` counts every change of labels,
    locks, clicks and proposal. Call everything but the `run` of a job from one thread.
    """

    journal_facts: Callable[[], dict[str, Any]] | None = None  # what its keeper says of the journal, while one is kept
    notices: tuple[str, ...] = ()  # what the last export has to say, such as how many voxels it flattened

    @classmethod
    def open(cls, path: str | PathLike[str], refiner: Refiner | Callable[[], Refiner], **options: Any) -> Self:
        """Read an image file or DICOM folder and start on it; `options` as for the class."""
        from medseg_rl.imageio import read_volume

        return cls(read_volume(path), refiner, **options)

    @classmethod
    def open_saved(
        cls, path: str | PathLike[str], image: Volume | None, refiner: Refiner | Callable[[], Refiner]
    ) -> Self:
        """A session as it was saved, its undo list included. `image`: what it is of; None takes it from the file, where
        it was saved with the session. Raises InputFileError when the file is damaged or of another image.
        """
        from medseg_rl.session.saving import opened

        return opened(cls, Path(path), image, refiner)

    # --- the three calls ----------------------------------------------------------------------------------------------

    def prepare(self, action: Action) -> Job:
        """Check an action and copy what it needs: the region of interest, never the volume.

        Raises ClickError for a click outside the volume, in a locked label, or a number that is no click.
        """
        return prepare(self, action)

    def apply(self, delta: SessionDelta) -> TurnReport:
        """Take over what a job found: one undo entry, version + 1; nothing at all where nothing changed.

        Raises StaleDeltaError when the session changed since the job was prepared.
        """
        started = perf_counter()
        self._check_version(delta.base_version)
        if delta.percent is not None or delta.work != self._work(delta.label):
            deltas = () if delta.percent is None else ((percent_key(delta.label), delta.percent),)
            ledger = self._ledger.with_work(delta.label, delta.work).with_model(delta.model)
            entry = self._entry(delta.name, delta.label, deltas, ledger, delta.action, delta.parameters)
            self._commit(entry, delta.report, delta.interventions)
        timings = replace(delta.report.timings, apply=perf_counter() - started)
        return replace(delta.report, timings=timings)

    def prepare_edit(self, operation: Operation) -> EditJob:
        """The job of an edit that may take long, for a worker. Raises as `edit`."""
        return prepare_edit(self, operation)

    def apply_edit(self, delta: EditDelta) -> EditReport:
        """Take over what an edit found: one undo entry, version + 1; nothing at all where nothing changed.

        Raises StaleDeltaError when the session changed since the edit was prepared.
        """
        self._check_version(delta.base_version)
        if delta.deltas:
            report = delta.report
            self._commit(
                self._entry(report.name, delta.label, delta.deltas, delta.ledger, delta.action, delta.parameters)
            )
        return delta.report

    def intervene(self, job: Job, operation: Operation) -> bool:
        """Paint into a job that is running: its step ends, the painted voxels become hard, the others go on around.

        False where it is too late, or the stroke leaves the region that is refined: then stop the job and edit. Raises
        EditError for an operation other than brush, eraser, lasso and box.
        """
        found = stroke_into(job, operation)
        return found is not None and job.strokes.put(*found)

    def run(self, action: Action) -> TurnReport:
        """Prepare, run and apply in one call: for scripts and simulated users."""
        return self.apply(self.prepare(action).run())

    # --- what a user does ---------------------------------------------------------------------------------------------

    def click(self, point_mm: Sequence[float], label: ClickLabel = ClickLabel.FOREGROUND) -> TurnReport:
        """One click at RAS+ millimetres."""
        return self.click_together([WorldClick(as_point(point_mm), label)])

    def click_together(self, clicks: Sequence[WorldClick]) -> TurnReport:
        """Several clicks at RAS+ millimetres in one turn."""
        return self.run(PlaceClicks(tuple(clicks)))

    def click_voxels(self, clicks: Sequence[Click]) -> TurnReport:
        """Clicks of one turn by voxel index in file order: for simulated users."""
        return self.run(PlaceVoxelClicks(tuple(clicks)))

    def scribble(
        self,
        points_mm: Sequence[Sequence[float]],
        label: ClickLabel = ClickLabel.FOREGROUND,
        plane: Plane | None = None,
    ) -> TurnReport:
        """A stroke as hints of one sign, one for each voxel of a line one voxel thick; one turn, one undo entry.

        `plane`: on the slice of the first point. Raises ClickError where no voxel of it is inside and free.
        """
        return self.run(scribble_clicks(self, points_mm, label, plane))

    def refine(self, command: str = COMMANDS[0]) -> TurnReport:
        """Refine once more without a new click; with the intent of a command, see `commands`."""
        return self.run(Refine(command))

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands the model knows; loads it. Empty for a model without a command input."""
        return COMMANDS[1 : int(self._refiner.describe().get("commands", 0))]

    def prepare_candidates(self, count: int = 4, *, seed: int = 0) -> CandidatesJob:
        """The job that makes candidates to rank. Raises as `prepare`, and MedSegError for a count outside 2 to 9."""
        check_count(count)
        return CandidatesJob(self.prepare(Refine()), count, seed)

    def candidates(self, count: int = 4, *, seed: int = 0) -> Candidates:
        """Several refinements of what is shown, to choose from: in random order, near copies of another dropped."""
        return self.prepare_candidates(count, seed=seed).run()

    def choose(self, candidates: Candidates, number: int) -> TurnReport:
        """Make a candidate, by its number from 0, the proposal. Raises StaleDeltaError, and MedSegError for no such."""
        return self.apply(chosen(candidates, number))

    def mask_with(self, delta: SessionDelta) -> npt.NDArray[np.bool_]:
        """What `mask` of the label would be with that delta, for showing a candidate; whole volume, file order."""
        self._check_version(delta.base_version)
        percent = self._arrays.soft(delta.label).array.copy()
        if delta.percent is not None:
            delta.percent.apply(percent)
        return self._working.order.undo(percent > MASK_THRESHOLD)

    def prepare_comparison(self, models: Sequence[Refiner | Callable[[], Refiner]]) -> ComparisonJob:
        """The job that has two models do the same task: the clicks of the open proposal, from where it began.

        Raises MedSegError without a click.
        """
        return prepare_comparison(self, models)

    def prepare_suggestion(self, seen: Sequence[Suggestion] = ()) -> SuggestionJob:
        """The job that finds where to look next. Raises MedSegError before the first step of the model."""
        return prepare_suggestion(self, seen)

    def next_suggestion(self, seen: Sequence[Suggestion] = ()) -> Suggestion | None:
        """The slice that most needs a click, apart from those within 5 mm of `seen`; None where none is left."""
        return self.prepare_suggestion(seen).run()

    def edit(self, operation: Operation) -> EditReport:
        """An edit by hand of the active label, by an operation of `medseg_rl.editing`: one undo entry, or none.

        Raises EditError for what the operation cannot do, ClickError where the active label is locked by hand,
        MedSegError while a proposal is open.
        """
        return self.apply_edit(self.prepare_edit(operation).run())

    def why_no_click(self, index: Index) -> str:
        """What keeps a click from a voxel of the file, in one line; empty where it can land."""
        return why_no_click(self, index)

    def delete_click(self, number: int) -> TurnReport:
        """Take a click out of the list by its number in `clicks`.

        Of the open proposal: what it did is undone and later clicks run again. Of an accepted one: it leaves the
        hints only.
        """
        return self.run(DeleteClick(number))

    def set_start(self, start: Volume | Percent | npt.NDArray[np.bool_], name: str = "Start from a mask") -> TurnReport:
        """Open a proposal from a mask or a probability: a `Volume` of integers (not 0 is object), or an array on the
        grid of the image, bool or hundredths as uint8. Raises GeometryError when the grids disagree.
        """
        return self.run(Start(lambda: start_array(start, self.image), name))

    def automatic_start(self, predict: Callable[[Volume], Percent], model: ModelUsed = AUTOMATIC) -> TurnReport:
        """Open a proposal from what `predict` makes of the image: hundredths, whole volume, file order.

        `model`: the one behind it, for the provenance of what becomes of it.
        """
        return self.run(Start(lambda: start_array(predict(self.image), self.image), "Automatic start", model))

    def accept(self) -> Change | None:
        """Write the open proposal into the label map, within the locks. None when there is none."""
        return proposals.accept(self)

    def discard(self) -> Change | None:
        """Take back the open proposal with its clicks. None when there is none."""
        return proposals.discard(self)

    def activate(self, value: int) -> None:
        """Make another label the active one; all others are locked then. MedSegError while a proposal is open."""
        self._name(value)
        check_open_label(self, value)
        self.active_label = value

    def add_label(self, name: str | None = None, value: int | None = None, colour: Colour | None = None) -> int:
        """Add a label and return its value, the next free one unless given. The active label stays."""
        return label_actions.add(self, name, value, colour)

    def rename_label(self, value: int, name: str) -> Change | None:
        """Give a label another name; None where it has that name."""
        return label_actions.rename(self, value, name)

    def recolour_label(self, value: int, colour: Colour) -> Change | None:
        """Give a label another colour, 0 to 255; None where it has that colour."""
        return label_actions.recolour(self, value, colour)

    def delete_label(self, value: int) -> Change:
        """Delete a label with its voxels and clicks. MedSegError for the only one, a locked one, an open proposal."""
        return label_actions.delete(self, value)

    def set_lock(self, value: int, locked: bool | None) -> None:
        """Close or open the padlock of a label by hand, or leave it to the rule (None).

        The rule: all labels but the active one are locked. One opened by hand stays open when another label is active.
        """
        label_actions.set_lock(self, value, locked)

    def export(self, path: str | PathLike[str], *, flatten: bool = False) -> Path:
        """Write the accepted labels to overlay their image, with where they come from, see `provenance`.

        `flatten`: the later one where labels overlap. What the user should know is in `notices`.
        Raises OutputError; MedSegError while a proposal is open.
        """
        from medseg_rl.imageio import write_segmentation

        value = self._ledger.open_label
        if value is not None:
            raise MedSegError(f"label {self._name(value)} has an open proposal; accept or discard it before the export")
        accepted, dtype = self.segmentation, label_dtype(self.labels.values)
        narrow = tuple(layer.with_array(layer.array.astype(dtype, copy=False)) for layer in accepted.layers)
        written = Segmentation(narrow, accepted.labels)
        touched, said = provenance.touched_by_model(self), self.provenance()
        notices = write_segmentation(
            path, written, like=self.image, flatten=flatten, touched_by_model=touched, provenance=said
        )
        self.notices = tuple(notices)
        return Path(path)

    def provenance(self, *, application: str = "", user: str = "") -> dict[str, Any]:
        """What an export says of its origin, ready for JSON: see `medseg_rl.session.provenance`."""
        return provenance.provenance_of(self, application=application, user=user)

    def save(self, path: str | PathLike[str], **options: Any) -> Path:
        """Write everything but the image as a session file; `options` as for `medseg_rl.session.saving.save`.

        Raises OutputError; an old file of that name is then as it was.
        """
        from medseg_rl.session.saving import save

        return save(self, Path(path), **options)

    def warm_up(self) -> None:
        """Load the refiner and normalise the image now, so that the first click need not."""
        self._refiner.get()
        self._working.read(Box((0, 0, 0), (1, 1, 1)))
