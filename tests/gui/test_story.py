"""Ten minutes with the program, from a DICOM folder to an export and back after a kill, by mouse and keys alone.

Every step leaves a picture for a person to look at: MEDSEG_RL_SCREENSHOTS=folder keeps them.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PySide6.QtWidgets import QApplication
from scipy import ndimage

from medseg_rl.imageio import read_segmentation, read_volume
from medseg_rl.volume import Box
from medseg_rl_gui.dialogs import Answer
from medseg_rl_gui.slice_geometry import Point
from medseg_rl_gui.theme import apply_theme
from tests.gui.story_cases import StoryCase, sample, sarcoma, spleen
from tests.gui.story_hand import RIGHT
from tests.gui.story_program import Camera, PhotographedDialogs, Program

Start = Callable[[Camera], Program]
ACCEPTED_NOTICE = Answer("accept", ticked=True)


@pytest.fixture
def start(qapp: QApplication) -> Iterator[Start]:
    """Starts the program; closed after the test whatever became of it."""
    running: list[Program] = []

    def begin(camera: Camera) -> Program:
        running.append(Program(qapp, PhotographedDialogs(camera)))
        return running[-1]

    yield begin
    for program in running:
        program.dialogs.answers = ["keep"]
        program.close()
    apply_theme(qapp, "dark")


@pytest.mark.gl
def test_the_story_on_the_shipped_sample(start: Start, tmp_path: Path) -> None:
    tell(start, sample(), tmp_path)


@pytest.mark.slow
@pytest.mark.gl
def test_the_story_on_a_ct_of_the_spleen(start: Start, tmp_path: Path, data_root: Path) -> None:
    tell(start, spleen(data_root), tmp_path)


@pytest.mark.slow
@pytest.mark.gl
def test_the_story_on_an_mr_of_a_sarcoma(start: Start, tmp_path: Path, data_root: Path) -> None:
    tell(start, sarcoma(data_root), tmp_path)


def tell(start: Start, case: StoryCase, folder: Path) -> None:
    """All of it on one case."""
    program = start(Camera(case.name, folder / "pictures"))
    first_start(program)
    open_study(program, case, case.write(folder / "study"))
    look(program, case)
    refine(program, case)
    tidy_and_lock(program, case)
    second_label(program, case)
    rank(program)
    results(program)
    export(program, folder)
    save_close_and_reopen(program, folder)
    program.close()


# --- the steps --------------------------------------------------------------------------------------------------------


def first_start(program: Program) -> None:
    program.show()
    program.dialogs.answers = [ACCEPTED_NOTICE]
    assert program.window.window_actions.accept_notice()
    program.picture("welcome")


def open_study(program: Program, case: StoryCase, study: Path) -> None:
    def choose(dialog: Any) -> bool:
        rows = [report.description for report in dialog.reports]
        dialog.table.selectRow(rows.index(case.description))
        return True

    program.dialogs.answers = [choose]
    program.hand.drop([study])
    assert program.dialogs.names[-1] == "Choose a series"
    assert program.session.image.shape == case.image.shape
    assert np.array_equal(program.session.image.array, case.image.array)
    assert "no gaps, no tilt" in " ".join(program.controller.desk.case.opened.opened.lines)  # type: ignore[union-attr]
    program.picture("opened")


def look(program: Program, case: StoryCase) -> None:
    hand = program.hand
    hand.key(case.window_key)
    target = case.deepest(case.target)
    hand.go_to(case.plane, target)
    hand.click(case.plane, target)  # Navigate: the crosshair, and all views jump
    found = program.controller.desk.view.crosshair
    assert found is not None
    assert np.allclose(found, target, atol=max(case.image.spacing))
    hand.hover(case.plane, target)
    program.picture("looked-at")


def refine(program: Program, case: StoryCase) -> None:
    hand = program.hand
    if case.starts:
        program.window.acts.trigger("model.start")
        program.settled()
        assert program.session.proposal is not None
        program.rest()
        program.picture("automatic-start")
    hand.key("P")
    click(program, case, case.target & ~program.session.mask, case.target)
    program.rest()
    program.picture("proposal")
    leak = program.session.mask & ~case.target
    if leak.any():
        point = case.deepest(leak)
        hand.go_to(case.plane, point)
        hand.click(case.plane, point, RIGHT)
        assert not program.session.mask[index_of(program, point)]
        program.rest()
        program.picture("leak-removed")
    before = program.voxels(1)
    hand.key("Enter")
    assert program.session.proposal is None
    assert program.voxels(1) != before
    assert program.session.history.undo_names[0].startswith("Accept proposal")
    program.rest(1.0)
    program.picture("accepted")


def click(program: Program, case: StoryCase, missed: Any, otherwise: Any) -> None:
    """A positive click in the middle of what is missed; the voxel is in the proposal then."""
    point = case.deepest(missed if missed.any() else otherwise)
    program.hand.go_to(case.plane, point)
    program.hand.click(case.plane, point)
    assert program.session.proposal is not None
    assert program.session.mask[index_of(program, point)]


def tidy_and_lock(program: Program, case: StoryCase) -> None:
    hand, before = program.hand, program.voxels(1)
    hand.key("D")
    middle = case.deepest(program.session.mask)
    hand.go_to(case.plane, middle)
    hand.stroke(case.plane, beyond_the_rim(program, case, middle))
    assert program.voxels(1) > before
    assert program.session.history.undo_names[0].startswith("Brush")
    program.picture("brushed")
    hand.key("Ctrl+Z")
    assert program.voxels(1) == before
    hand.key("Ctrl+Shift+Z")
    assert program.voxels(1) > before
    hand.key("Ctrl+Shift+L")
    assert program.session.labels[1].locked


def beyond_the_rim(program: Program, case: StoryCase, middle: Point) -> list[Point]:
    """A line in the plane from the middle of the mask to outside it: to where its rim is nearest, inside the image."""
    lines = (line_outwards(program, case, middle, towards) for towards in ((1, 0), (0, 1), (-1, 0), (0, -1)))
    return min((line for line in lines if line), key=len)


def line_outwards(program: Program, case: StoryCase, middle: Point, towards: tuple[int, int]) -> list[Point]:
    """From the middle of the mask in one direction until it is left; empty where the image ends before."""
    geometry, image = program.hand.view(case.plane).model.geometry(case.plane), program.session.image
    start, step = geometry.world_to_plane(middle), 0.5 * min(case.image.spacing)
    line: list[Point] = []
    for number in range(400):
        x, y, z = geometry.plane_to_world(start + step * number * np.array(towards), geometry.slice_at(middle))
        line.append((float(x), float(y), float(z)))
        index = index_of(program, line[-1])
        if not Box.whole(image.shape).contains(index):
            return []
        if not program.session.mask[index]:
            return line
    return []


def second_label(program: Program, case: StoryCase) -> None:
    hand = program.hand
    first = program.voxels(1)
    hand.key("Ctrl+L")
    assert program.session.active_label == 2
    hand.key("P")
    around = case.deepest(beside(case, program))
    hand.go_to(case.plane, around)
    hand.click(case.plane, around)
    assert program.session.proposal is not None
    program.rest()
    program.picture("second-label")
    hand.key("J")
    program.picture("where-to-look-next")
    hand.key("Enter")
    assert program.voxels(1) == first, "the lock holds"
    assert program.voxels(2) > 0


def beside(case: StoryCase, program: Program) -> Any:
    """Tissue beside the target, as bright as the middle of all: where the second structure is."""
    near = ndimage.binary_dilation(case.target, iterations=6) & ~ndimage.binary_dilation(case.target, iterations=2)
    return near & (program.session.label_map == 0)


def rank(program: Program) -> None:
    hand = program.hand
    program.open_tab("learn")
    hand.key("K")
    program.rest(1.0)
    ranking = program.controller.learning.ranking
    assert ranking.is_open
    program.picture("candidates")
    program.dialogs.answers = ["do-not-store"]
    for key in ("2", "1", "Enter") if ranking.order.count > 1 else ("1", "Enter"):
        hand.key(key)
    assert not ranking.is_open
    assert program.session.proposal is not None
    program.picture("ranked")
    hand.key("Enter")
    assert program.session.proposal is None


def results(program: Program) -> None:
    for tab in ("refine", "edit", "learn", "quantities", "history"):
        program.open_tab(tab)
        program.picture(f"tab-{tab}")


def export(program: Program, folder: Path) -> None:
    for format_, name in (("seg", "labels.dcm"), ("nifti", "labels.nii.gz")):

        def choose(dialog: Any, format_: str = format_) -> bool:
            dialog.choose_format(format_)
            return True

        program.dialogs.answers = [choose, folder / name]
        program.hand.key("Ctrl+E")
        assert (folder / name).is_file(), program.dialogs.texts
    accepted = program.session.label_map
    assert np.array_equal(read_volume(folder / "labels.nii.gz").array, accepted)
    again = read_segmentation(folder / "labels.dcm", like=program.session.image)
    assert np.array_equal(again.flattened().array, accepted)
    written = pydicom.dcmread(folder / "labels.dcm")
    assert str(written.PatientName) == ""
    assert written.SeriesDescription.startswith("RESEARCH")


def save_close_and_reopen(program: Program, folder: Path) -> None:
    accepted, undo = program.session.label_map.copy(), program.session.history.undo_names
    program.dialogs.answers = ["usual", folder / "case.medseg"]
    program.hand.key("Ctrl+S")
    assert (folder / "case.medseg").is_file(), program.dialogs.texts
    program.hand.key("Ctrl+W")
    assert program.controller.desk.case is None
    program.picture("closed")
    program.hand.drop([folder / "case.medseg"])
    assert np.array_equal(program.session.label_map, accepted)
    assert program.session.history.undo_names == undo
    program.rest(1.0)
    program.picture("reopened")


def index_of(program: Program, world: Any) -> tuple[int, int, int]:
    i, j, k = (round(float(v)) for v in program.session.image.world_to_index(np.asarray(world)))
    return i, j, k


# --- the power fails --------------------------------------------------------------------------------------------------


def test_what_was_done_before_a_kill_is_recovered(start: Start, tmp_path: Path) -> None:
    folder = sample().write(tmp_path / "study")
    done = subprocess.run(
        [sys.executable, "-m", "tests.gui.story_killed", str(folder), str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    program = start(Camera("recovery", tmp_path / "pictures"))
    program.show()
    program.dialogs.answers = [lambda dialog: dialog.choose("recover") or True]
    assert program.controller.recover()
    left = np.load(tmp_path / "left.npz")
    assert np.array_equal(program.session.label_map, left["labels"])
    assert np.array_equal(program.session.percent, left["percent"])
    assert len(program.session.clicks) == left["clicks"]
    assert list(program.session.history.undo_names) == left["undo"].tolist()
    assert program.controller.desk.view.slices["axial"] == left["slice"]
    program.rest(1.0)
    program.picture("recovered")
    program.dialogs.answers = ["keep"]
    program.close()
