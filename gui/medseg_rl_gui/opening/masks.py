"""Loads labels onto the open image: the check of the grids, the questions it asks, and their way into the session.

Into a session that was worked on every label comes through a proposal of its own that is accepted, so locks hold and
undo takes it back; into an untouched one the labels go as they are, see `starting`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medseg_rl.errors import GeometryError, InputFileError, MedSegError
from medseg_rl.imageio import check_load, header_facts, read_label_table, read_segmentation, read_volume
from medseg_rl.imageio.masks import MIN_OVERLAP, geometry_line
from medseg_rl.labels import Label, LabelMap
from medseg_rl.segmentation import Segmentation
from medseg_rl.session import SegmentationSession
from medseg_rl.volume import Volume
from medseg_rl_gui.dialogs import Choice, Dialogs, Question, ValueQuestion
from medseg_rl_gui.i18n import number, tr, whole
from medseg_rl_gui.opening.images import cancel_choice
from medseg_rl_gui.opening.waiting import Waiting

TO_ASK = ("shifted", "resample")
MOST_LINES = 6  # about labels one by one
MOST_LABELS = 100  # that are taken for labels without a question


class MaskFlow:
    """Reads a mask for an image. Raises MedSegError for what is none, or none of this image."""

    def __init__(self, dialogs: Dialogs, waiting: Waiting) -> None:
        self._dialogs = dialogs
        self._waiting = waiting

    def read(self, path: Path, like: Volume) -> Segmentation | None:
        """The labels of a file on the grid of `like`; None when the user thought better of it."""
        options: dict[str, Any] = {}
        facts = header_facts(path)
        if facts is not None and facts.time_points > 1:
            options["time_point"] = self._time_point(facts.time_points)
            if options["time_point"] is None:
                return None
        try:
            found: Segmentation | None = self._read(path, like=like, **options)
        except GeometryError as error:
            found = self._elsewhere(path, like, error, options)
        except InputFileError as error:
            found = self._probabilities(path, like, error, options)
        if found is None or self._is_rather_an_image(path, found):
            return None
        if not any(found.voxels.values()):
            text = tr("“{name}” marks no voxel of the open image; if it belongs to another one, open that first")
            raise MedSegError(text.format(name=path.name))
        return found

    def _is_rather_an_image(self, path: Path, found: Segmentation) -> bool:
        """Asks where there are so many values that they may be grey levels."""
        count = len(found.labels.labels)
        if count <= MOST_LABELS:
            return False
        text = tr("{name} holds {n} different values, as grey levels do. Is each of them a label?")
        choices = (Choice("labels", tr("{n} labels").format(n=whole(count))), cancel_choice())
        said = text.format(name=path.name, n=whole(count))
        question = Question(tr("Many labels"), said, choices, default="cancel", tone="warning")
        return self._dialogs.ask(question).choice != "labels"

    def _read(self, path: Path, **options: Any) -> Segmentation:
        return self._waiting.wait(tr("Loading the mask"), lambda progress: read_segmentation(path, **options))

    def _time_point(self, count: int) -> int | None:
        text = tr("The file holds {n} volumes over time. Which one is the mask?").format(n=whole(count))
        answer = self._dialogs.enter(ValueQuestion(tr("Time point"), text, value=1, low=1, high=count))
        return None if answer is None else int(answer) - 1

    def _elsewhere(
        self, path: Path, like: Volume, error: GeometryError, options: dict[str, Any]
    ) -> Segmentation | None:
        """Another grid: a shift to accept, or one to resample from; refused else, with both grids."""
        try:
            grid = self._read(path, **options).grid
        except InputFileError:
            raise error from None
        check = check_load(grid, like)
        if check.verdict not in TO_ASK:
            raise GeometryError(_refusal(grid, like, check.overlap))
        choices = [cancel_choice()]
        if check.overlap >= MIN_OVERLAP:
            choices.insert(0, Choice("resample", tr("Resample (nearest voxel)")))
        if check.verdict == "shifted" and check.shift_mm is not None:
            choices.insert(0, Choice("accept", tr("Take it as it is")))
            said = tr("The mask has the shape of the image but lies {mm} mm off at the corners.")
            text = said.format(mm=number(check.shift_mm, 2))
        else:
            said = tr("The mask lies on another grid; {share} % of the boxes overlap.\nMask: {mask}\nImage: {image}")
            share = number(100 * check.overlap, 0)
            text = said.format(share=share, mask=geometry_line(grid), image=geometry_line(like))
        question = Question(tr("Mask on another grid"), text, tuple(choices), default=choices[0].id, tone="warning")
        answer = self._dialogs.ask(question).choice
        if answer == "cancel":
            return None
        return self._read(path, like=like, accept_shift=answer == "accept", resample=answer == "resample", **options)

    def _probabilities(
        self, path: Path, like: Volume, error: InputFileError, options: dict[str, Any]
    ) -> Segmentation | None:
        """A threshold is asked for where the values could be probabilities; the error stands for everything else."""
        if "threshold" in options or not self._looks_like_probabilities(path, options):
            raise error
        text = tr("{name} holds values between 0 and 1, which look like probabilities. What lies above which value?")
        question = ValueQuestion(
            tr("Probability map"), text.format(name=path.name), value=0.5, low=0.0, high=1.0, decimals=3
        )
        threshold = self._dialogs.enter(question)
        if threshold is None:
            return None
        chosen = {**options, "threshold": float(threshold)}
        try:
            return self._read(path, like=like, **chosen)
        except GeometryError as other:
            return self._elsewhere(path, like, other, chosen)

    def _looks_like_probabilities(self, path: Path, options: dict[str, Any]) -> bool:
        try:
            values = self._waiting.wait(
                tr("Loading the mask"), lambda progress: read_volume(path, time_point=options.get("time_point")).array
            )
        except MedSegError:
            return False
        return bool(values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1)


def _refusal(mask: Volume, like: Volume, overlap: float) -> str:
    text = tr("This is no mask of the open image: only {share} % of the boxes overlap.\nMask: {mask}\nImage: {image}")
    share = number(100 * overlap, 0)
    return text.format(share=share, mask=geometry_line(mask), image=geometry_line(like))


def could_be_mask(path: Path, image: Volume) -> bool:
    """Whether a NIfTI file of whole numbers has the shape of the open image, so that either may be meant."""
    try:
        facts = header_facts(path)
    except MedSegError:
        return False
    return facts is not None and facts.whole_numbers and sorted(facts.shape) == sorted(image.shape)


def is_untouched(session: SegmentationSession) -> bool:
    """Whether nothing was done in a session yet, so that it may begin again with labels of a file."""
    none_done = not session.history.done and not session.history.undone
    return none_done and not any(layer.any() for layer in session.label_layers)


def put_labels(session: SegmentationSession, segmentation: Segmentation) -> list[str]:
    """Writes every label of a segmentation into the session. Returns what the user should know.

    Raises MedSegError while a proposal is open, or where a lock forbids it.
    """
    if session.proposal is not None:
        raise MedSegError(tr("There is an open proposal; accept or discard it before labels are loaded"))
    said = list(segmentation.warnings)
    before, counts = session.active_label, session.segmentation.voxels
    loaded = [label for label in segmentation.labels.labels if segmentation.voxels[label.value]]
    told: list[str] = []
    for label in loaded:
        if counts.get(label.value):
            text = tr("{name} was replaced; undo brings its {n} voxels back")
            told.append(text.format(name=session.labels[label.value].name, n=whole(counts[label.value])))
        _name_label(session, label)
        session.activate(label.value)
        text = tr("Load {name}").format(name=label.name)
        session.set_start(session.image.with_array(segmentation.mask_of(label.value).astype(np.uint8)), text)
        session.accept()
        lost = segmentation.voxels[label.value] - int(np.count_nonzero(session.mask))
        if lost:
            text = tr("{n} voxels of {name} were left to other labels, which are locked")
            told.append(text.format(n=whole(lost), name=label.name))
    if not loaded:
        raise MedSegError(tr("The file holds no labelled voxel"))
    if before in [label.value for label in loaded]:
        session.activate(before)
    return said + _shortened(told)


def _shortened(lines: list[str]) -> list[str]:
    """As many as a banner holds, and how many more there are."""
    more = len(lines) - MOST_LINES
    return lines if more <= 1 else [*lines[:MOST_LINES], tr("and {n} more notes of this kind").format(n=whole(more))]


def _name_label(session: SegmentationSession, label: Label) -> None:
    """Adds a label; one of that value keeps its name unless it still has the one it was made with."""
    if label.value not in session.labels:
        session.add_label(label.name, label.value, label.colour)
    elif session.labels[label.value] == LabelMap.of_values([label.value]).labels[0]:
        session.rename_label(label.value, label.name)
        session.recolour_label(label.value, label.colour)


def put_table(session: SegmentationSession, path: Path) -> int:
    """Takes names and colours of a label table, and its new labels. Returns how many labels it has."""
    table = read_label_table(path)
    for label in table.labels:
        if label.value in session.labels:
            session.rename_label(label.value, label.name)
            session.recolour_label(label.value, label.colour)
        else:
            session.add_label(label.name, label.value, label.colour)
    return len(table.labels)
