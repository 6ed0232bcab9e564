"""From a path to an image in memory: asks what has to be asked, refuses what does not fit, reads on the worker.

Starts no case. What a user can choose is asked before voxels are read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medseg_rl.errors import MedSegError, NonFiniteError
from medseg_rl.imageio import READ_SUFFIXES, geometry_reports, header_facts
from medseg_rl.volume import Volume, content_hash
from medseg_rl_gui.dialogs import Choice, Dialogs, Question, ValueQuestion
from medseg_rl_gui.i18n import number, tr, whole
from medseg_rl_gui.opening.memory import Estimate, free_memory
from medseg_rl_gui.opening.readings import Reading
from medseg_rl_gui.opening.series_dialog import SeriesDialog
from medseg_rl_gui.opening.waiting import Progress, Waiting

if TYPE_CHECKING:
    from medseg_rl.imageio.dicom_geometry import GeometryReport
    from medseg_rl.imageio.file_facts import HeaderFacts

GIGABYTE = 1e9
Verdict = Literal["green", "amber", "red"]


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image, where it lies, how it was read, its hash. `lines`: what to show of it, the size of it first.

    `forms_apart_mm`: how far the two positions that a NIfTI file states lie apart, where they disagree: see
    `HeaderFacts`. The sform is used unless `reading` prefers the other.
    """

    image: Volume
    path: Path | None
    reading: Reading
    image_hash: str
    lines: tuple[str, ...]
    verdict: Verdict
    forms_apart_mm: float | None = None


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is about to be read. `slices`: how many there are along the third axis; 0 where no part can be read."""

    path: Path
    reading: Reading
    shape: tuple[int, int, int]
    voxel_bytes: int
    slices: int
    report: GeometryReport | None = None


class ImageFlow:
    """Asks and reads. `free`: bytes of memory that could be taken; `undo_megabytes`: the cap of the undo list."""

    def __init__(
        self,
        dialogs: Dialogs,
        waiting: Waiting,
        *,
        free: Callable[[], int | None] = free_memory,
        undo_megabytes: int = 256,
    ) -> None:
        self._dialogs = dialogs
        self._waiting = waiting
        self._free = free
        self._undo_megabytes = undo_megabytes

    def open(self, path: Path) -> OpenedImage | None:
        """The image of a file or DICOM folder; None when the user thought better of it. Raises MedSegError."""
        plan = self._folder_plan(path) if path.is_dir() else self._file_plan(path)
        plan = None if plan is None else self._fitting(plan)
        return None if plan is None else self._read(plan.path, plan.reading, plan.report)

    def again(self, path: Path, reading: Reading) -> OpenedImage | None:
        """An image that was open before, read as it was then; nothing but its memory is asked about."""
        return self._read(path, reading, None)

    # --- what has to be asked -----------------------------------------------------------------------------------------

    def _folder_plan(self, path: Path) -> _Plan | None:
        reports = self._search(path)
        if reports:
            return self._series_plan(path, reports)
        files = sorted(p for p in path.iterdir() if p.is_file() and p.name.lower().endswith(READ_SUFFIXES))
        if len(files) == 1:
            return self._file_plan(files[0])
        if files:
            text = tr(
                "“{name}” holds {n} image files and no DICOM series; open one of them, or the folder as a case list"
            )
            raise MedSegError(text.format(name=path.name, n=whole(len(files))))
        raise MedSegError(tr("“{name}” holds no image that can be read").format(name=path.name))

    def _search(self, path: Path) -> tuple[GeometryReport, ...]:
        def search(progress: Progress) -> tuple[GeometryReport, ...]:
            def count(files: int) -> None:
                if files % 20 == 0:
                    progress.say(tr("{n} files searched").format(n=whole(files)))

            return geometry_reports(path, progress=count, cancel=progress.is_stopped)

        return self._waiting.wait(tr("Searching for DICOM series"), search)

    def _series_plan(self, path: Path, reports: tuple[GeometryReport, ...]) -> _Plan | None:
        """Without a question where there is one series and nothing to say about it."""
        reading, report = Reading(series=reports[0].number), reports[0]
        if len(reports) > 1 or report.verdict != "green":
            dialog = SeriesDialog(reports, getattr(self._dialogs, "parent", None))
            if not self._dialogs.run(dialog):
                return None
            reading, report = dialog.reading, dialog.chosen
        x, y = report.matrix
        return _Plan(path, reading, (x, y, report.images), 4 if report.modality == "PT" else 2, report.images, report)

    def _file_plan(self, path: Path) -> _Plan | None:
        facts = header_facts(path)
        if facts is None:
            return self._series_plan(path, self._search(path))
        reading = self._time_point(facts, Reading()) if facts.time_points > 1 else Reading()
        if reading is None:
            return None
        slices = facts.shape[2] if facts.kind == "NIfTI" else 0
        return _Plan(path, reading, facts.shape, facts.voxel_bytes, slices)

    def _time_point(self, facts: HeaderFacts, reading: Reading) -> Reading | None:
        text = tr("The file holds {n} volumes over time. Which one is to be opened?")
        question = ValueQuestion(
            tr("Time point"), text.format(n=whole(facts.time_points)), value=1, low=1, high=facts.time_points
        )
        answer = self._dialogs.enter(question)
        return None if answer is None else replace(reading, time_point=int(answer) - 1)

    # --- memory -------------------------------------------------------------------------------------------------------

    def _fitting(self, plan: _Plan) -> _Plan | None:
        """The plan, or one of fewer slices, or None: where it needs more than the share of the free memory."""
        free = self._free()
        estimate = Estimate.of(plan.shape, plan.voxel_bytes, self._undo_megabytes)
        if free is None or estimate.fits(free):
            return plan
        part = estimate.slices_that_fit(free, plan.slices)
        text = tr(
            "The case needs about {need} GB (image {image}, labels and views {labels}, undo {undo}), and {free} GB"
        )
        text += tr(" are free, of which at most 80 % are taken.")
        said = text.format(
            need=_gigabytes(estimate.total),
            image=_gigabytes(estimate.image),
            labels=_gigabytes(estimate.labels),
            undo=_gigabytes(estimate.undo),
            free=_gigabytes(free),
        )
        choices = (Choice("crop", tr("Load a part…")),) if part >= 2 else ()
        question = Question(tr("Not enough memory"), said, (*choices, cancel_choice()), tone="warning")
        return self._cropped(plan, part) if self._dialogs.ask(question).choice == "crop" else None

    def _cropped(self, plan: _Plan, part: int) -> _Plan | None:
        last = plan.slices - part
        text = tr("{part} of {slices} slices can be loaded. Which is the first?")
        said = text.format(part=whole(part), slices=whole(plan.slices))
        first = self._dialogs.enter(ValueQuestion(tr("Load a part"), said, value=last // 2 + 1, low=1, high=last + 1))
        if first is None:
            return None
        start = int(first) - 1
        return replace(plan, reading=replace(plan.reading, slices=(start, start + part)))

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self, path: Path, reading: Reading, report: GeometryReport | None) -> OpenedImage | None:
        def read(progress: Progress) -> OpenedImage:
            progress.say(tr("Reading the image"))
            image = reading.read(path)
            progress.check()
            size = report.lines[:1] if report else (size_line(image),)
            lines = (*size, *image.source.get("warnings", ()), *_parts_read(reading))
            verdict: Verdict = report.verdict if report else "amber" if lines[1:] else "green"
            facts = None if path.is_dir() else header_facts(path)
            apart = None if facts is None else facts.forms_apart_mm
            return OpenedImage(image, path, reading, content_hash(image), lines, verdict, apart)

        try:
            return self._waiting.wait(tr("Opening the image"), read)
        except NonFiniteError as error:
            value = self._replacement(error)
            return None if value is None else self._read(path, replace(reading, replace_nonfinite=value), report)

    def _replacement(self, error: NonFiniteError) -> float | None:
        question = ValueQuestion(tr("Voxels without a number"), str(error), value=0.0, low=-1e6, high=1e6, decimals=3)
        answer = self._dialogs.enter(question)
        return None if answer is None else float(answer)


def _parts_read(reading: Reading) -> list[str]:
    """That only a part of the file is open; counted from 1."""
    said = []
    if reading.time_point is not None:
        said.append(tr("Time point {n} is open; the others are not").format(n=whole(reading.time_point + 1)))
    if reading.slices is not None:
        first, end = reading.slices
        said.append(tr("Only slices {first} to {last} were loaded").format(first=whole(first + 1), last=whole(end)))
    return said


def cancel_choice() -> Choice:
    """The way out of a question."""
    return Choice("cancel", tr("Cancel"), "reject")


def size_line(image: Volume) -> str:
    """Such as "256 x 256 x 124 voxels, 0.94 x 0.94 x 1.20 mm, RAS+"."""
    shape = " × ".join(whole(n) for n in image.shape)
    spacing = " × ".join(number(mm, 2) for mm in image.spacing)
    return tr("{shape} voxels, {spacing} mm, axes {axes}").format(shape=shape, spacing=spacing, axes=image.orientation)


def _gigabytes(size: float) -> str:
    return number(size / GIGABYTE, 1)
