"""The 3D pane: what is asked for and when, what is drawn, the mouse, and what it says where it cannot draw."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QImage, QMouseEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from medseg_rl.labels import Label, LabelMap
from medseg_rl.surface import Surface, iso_surface
from medseg_rl.volume import Box, Volume
from medseg_rl_gui.surface_plan import SurfacePlan
from medseg_rl_gui.surface_probe import EGL, GLX, Drawing, probed, understood, ways
from medseg_rl_gui.surface_title import SurfaceTitle
from medseg_rl_gui.surface_trial import Trial
from medseg_rl_gui.surface_view import SurfaceView, make_on
from medseg_rl_gui.view_model import Overlay, ProposalView, ViewModel
from medseg_rl_gui.worker import Worker

RIGHT, LEFT = 1, 2  # labels on the patient's right and left
ORANGE, BLUE = (230, 159, 0), (86, 180, 233)
AFFINE = np.array([[-1.0, 0, 0, 30], [0, -1, 0, 30], [0, 0, 2, -20], [0, 0, 0, 1]])  # LPS order, as DICOM gives it
EVERYTHING = frozenset({RIGHT, LEFT})


def two_balls() -> ViewModel:
    """A ball on the patient's right, a smaller one, farther up, on the left."""
    shape = (60, 60, 24)
    image = Volume(np.zeros(shape, np.int16), AFFINE)
    x, y, z = np.moveaxis(image.index_to_world(np.indices(shape).reshape(3, -1).T).reshape(*shape, 3), 3, 0)
    array = np.zeros(shape, np.uint8)
    array[(x - 14) ** 2 + y**2 + z**2 < 10**2] = RIGHT
    array[(x + 14) ** 2 + y**2 + (z - 12) ** 2 < 6**2] = LEFT
    labels = LabelMap((Label(RIGHT, "Right ball", ORANGE), Label(LEFT, "Left ball", BLUE)))
    return ViewModel(image=image, layers=(array,), labels=labels)


def values(plan: SurfacePlan) -> frozenset[int]:
    """The labels of the job that the plan would have made now; it counts as done."""
    job = plan.next_job()
    if job is None:
        return frozenset()
    pytest.importorskip("vtkmodules")
    plan.done(job, job.run(lambda: False))
    return frozenset(solid.value for solid in job.solids)


# --- what is out of date ----------------------------------------------------------------------------------------------


def test_a_new_image_wants_all_labels_and_scrolling_wants_none() -> None:
    plan, model = SurfacePlan(), two_balls()
    assert plan.see(model)
    assert values(plan) == EVERYTHING
    assert not plan.see(model.stepped("axial", 3).changing(crosshair=(1.0, 2.0, 3.0)))
    assert not plan.is_stale


def test_a_hidden_label_is_made_when_its_eye_opens() -> None:
    plan, model = SurfacePlan(), two_balls()
    plan.see(model.changing(overlay=Overlay(hidden=frozenset({LEFT}))))
    assert values(plan) == {RIGHT}
    assert not plan.is_stale
    plan.see(model)
    assert values(plan) == {LEFT}


def test_a_job_makes_only_labels_whose_voxels_changed() -> None:
    pytest.importorskip("vtkmodules")
    plan, model = SurfacePlan(), two_balls()
    plan.see(model)
    values(plan)
    stroke = Box((10, 25, 8), (14, 30, 12))  # in the right ball
    model.layers[0][stroke.slices] = 0
    plan.see(model, stroke)
    job = plan.next_job()
    assert job is not None
    assert set(job.run(lambda: False)) == {RIGHT}


def test_what_changes_while_a_job_is_on_its_way_belongs_to_the_next() -> None:
    pytest.importorskip("vtkmodules")
    plan, model = SurfacePlan(), two_balls()
    plan.see(model)
    job = plan.next_job()
    assert job is not None
    assert plan.next_job() is None
    found = job.run(lambda: False)
    plan.see(model, Box((0, 0, 0), (2, 2, 2)))
    assert plan.next_job() is None
    assert set(plan.done(job, found)) == EVERYTHING
    assert plan.is_stale


def test_a_stopped_job_is_asked_for_again_and_one_of_another_image_is_not_taken() -> None:
    plan, model = SurfacePlan(), two_balls()
    plan.see(model)
    job = plan.next_job()
    assert job is not None
    plan.dropped(job)
    again = plan.next_job()
    assert again is not None
    other = two_balls()
    assert other.image is not None
    plan.see(other.changing(image=Volume(other.image.array, np.diag([1.0, 1, 3, 1]))))
    assert plan.done(again, {}) == {}
    assert plan.next_job() is not None


def test_a_proposal_is_drawn_in_place_of_its_label_and_undone_with_it() -> None:
    pytest.importorskip("vtkmodules")
    plan, model = SurfacePlan(), two_balls()
    plan.see(model)
    values(plan)
    box = Box((5, 20, 2), (30, 40, 22))
    plan.see(model.changing(proposal=ProposalView(RIGHT, box, np.zeros(box.shape, np.bool_))))
    job = plan.next_job()
    assert job is not None
    assert [solid.value for solid in job.solids] == [RIGHT]
    found = plan.done(job, job.run(lambda: False))
    assert found[RIGHT].mesh is None  # the proposal takes the whole ball away
    plan.see(model)
    job = plan.next_job()
    assert job is not None
    assert job.run(lambda: False)[RIGHT].mesh is not None


def test_a_label_that_is_deleted_is_forgotten() -> None:
    plan, model = SurfacePlan(), two_balls()
    plan.see(model)
    values(plan)
    left = model.changing(labels=LabelMap(model.labels.labels[:1]))
    plan.see(left)
    assert not plan.is_stale
    plan.see(model)
    assert values(plan) == {LEFT}


# --- meshes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mirrored", [1.0, -1.0])
def test_a_mesh_lies_where_the_measured_surface_lies_and_looks_outwards(mirrored: float) -> None:
    pytest.importorskip("vtkmodules")
    from medseg_rl_gui.surface_meshes import mesh_of

    sheared = np.array([[0, 1.2, 0.1, 5], [mirrored, 0, 0.3, -7], [0, 0, 2, 3], [0, 0, 0, 1]])
    x, y, z = np.indices((40, 50, 30))
    mask = ((x - 20) / 12) ** 2 + ((y - 25) / 16) ** 2 + ((z - 15) / 9) ** 2 < 1
    mesh, measured = mesh_of(mask, sheared), iso_surface(mask, sheared)
    drawn = Surface(mesh.vertices.astype(np.float64), mesh.triangles.astype(np.int32))
    assert drawn.is_closed
    assert drawn.volume == pytest.approx(measured.volume, rel=0.08)  # smoothing takes off the steps
    assert drawn.vertices.mean(axis=0) == pytest.approx(measured.vertices.mean(axis=0), abs=0.05)
    a, b, c = (drawn.vertices[drawn.triangles[:, corner]] for corner in range(3))
    assert float(np.einsum("ij,ij->", a, np.cross(b, c))) > 0
    outwards = np.einsum("ij,ij->i", drawn.vertices - drawn.vertices.mean(axis=0), mesh.normals)
    assert (outwards > 0).mean() > 0.99


def test_a_large_mesh_is_thinned_and_keeps_a_branch_one_voxel_wide() -> None:
    pytest.importorskip("vtkmodules")
    from medseg_rl_gui.surface_meshes import mesh_of

    mask = np.zeros((90, 70, 70), np.bool_)
    mask[5:60, 5:65, 5:65] = True
    mask[60:88, 35, 35] = True
    mesh = mesh_of(mask, np.eye(4), most=3000)
    assert mesh.triangles_before > 10_000
    assert 1500 < len(mesh.triangles) <= 3000
    assert mesh.vertices[:, 0].max() > 84


def test_a_mask_at_the_edge_of_the_volume_is_closed() -> None:
    pytest.importorskip("vtkmodules")
    from medseg_rl_gui.surface_meshes import mesh_of

    mesh = mesh_of(np.ones((4, 5, 6), np.bool_), np.eye(4))
    assert Surface(mesh.vertices.astype(np.float64), mesh.triangles.astype(np.int32)).is_closed


def test_a_mask_with_pits_and_sheets_that_touch_is_closed_and_keeps_its_outside_outside() -> None:
    pytest.importorskip("vtkmodules")
    from medseg_rl_gui.surface_meshes import mesh_of

    rng = np.random.default_rng(0)
    for density in (0.2, 0.5, 0.9):
        mask = rng.random((9, 10, 11)) < density
        mesh = mesh_of(mask, np.diag([1.0, 1.2, 2.0, 1.0]))
        edges = np.concatenate([mesh.triangles[:, [n, (n + 1) % 3]] for n in range(3)])
        there = {(int(a), int(b)) for a, b in edges}
        assert all((b, a) in there for a, b in there)


# --- where it cannot draw ---------------------------------------------------------------------------------------------


def test_loading_the_pane_loads_no_vtk() -> None:
    code = "import sys, medseg_rl_gui.surface_view; sys.exit(any(m.startswith('vtk') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_egl_is_tried_first_on_linux_and_a_choice_of_the_user_alone() -> None:
    assert ways({"DISPLAY": ":0"}, "linux") == (EGL, GLX)
    assert ways({}, "linux") == (EGL,)
    assert ways({}, "darwin") == ("",)
    assert ways({"VTK_DEFAULT_OPENGL_WINDOW": "other"}, "linux") == ("other",)


def test_a_crash_and_an_endless_wait_are_told_apart() -> None:
    assert "-11" in understood(-11, "", EGL).detail
    assert "answer" in understood(None, "", EGL).detail
    assert understood(0, '{"window": "w", "renderer": "r"}\n', EGL) == Drawing("w", "r")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.abort()", "OpenGL"),
        ("""print('{"lacks": "loading", "detail": "libGL.so.1 is missing"}')""", "libGL.so.1"),
        ("""print('{"lacks": "vtk"}')""", "pip install"),
    ],
)
def test_the_pane_says_what_is_missing(
    code: str, said: str, show: Any, wait_until: Callable[..., None], picture: Any
) -> None:
    view = SurfaceView(trial=Trial(command=lambda _: [sys.executable, "-c", code]))
    asked: list[object] = []
    view.wanted.connect(asked.append)
    show(view, (420, 320))
    view.show_model(two_balls())
    wait_until(lambda: said in view.canvas.message)
    assert "Everything but this view works" in view.canvas.message
    assert not any(button.isEnabled() for button in view.title.buttons.values())
    assert asked == []
    picture(view, f"surface-missing-{said.split()[0].lower()}")
    view.shut_down()


def test_nothing_is_tried_before_there_is_a_label_and_the_pane_is_seen(show: Any) -> None:
    tried: list[str] = []

    def command(way: str) -> list[str]:
        tried.append(way)
        return [sys.executable, "-c", ""]

    view = SurfaceView(trial=Trial(command=command))
    view.show_model(two_balls())
    QTest.qWait(250)
    assert tried == []
    show(view)
    view.show_model(two_balls().changing(labels=LabelMap()))
    QTest.qWait(250)
    assert tried == []
    assert "as soon as" in view.canvas.message
    view.shut_down()


# --- the picture ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def drawing() -> Drawing:
    """How this machine draws; it must where there is EGL."""
    found = probed()
    if not found.works:
        try:
            ctypes.CDLL("libEGL.so.1")
        except OSError:
            pytest.skip(f"no 3D here: {found.lacks} {found.detail}")
        assert found.lacks == "vtk", found.detail
        pytest.skip("VTK is not installed")
    return found


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker for the surfaces."""
    one = Worker()
    yield one
    assert one.close()


@pytest.fixture
def view(drawing: Drawing, worker: Worker, show: Any, wait_until: Callable[..., None]) -> Iterator[SurfaceView]:
    """The pane with the two balls, drawn."""
    pane = SurfaceView()
    make_on(pane, worker)
    show(pane, (420, 360))
    pane.show_model(two_balls())
    wait_until(lambda: settled(pane), what="the first picture")
    yield pane
    pane.shut_down()


def settled(view: SurfaceView) -> bool:
    """Whether all is made and drawn at full resolution."""
    canvas = view.canvas
    quiet = not view._soon.isActive() and not canvas._later.isActive() and not view.plan.is_waiting
    return quiet and canvas.scene is not None and canvas._frame is not None and not canvas._coarse


def colour_at(view: SurfaceView, world: tuple[float, float, float]) -> QColor:
    """The colour in the picture where a world point is seen."""
    image = view.picture()
    x, y = place_of(view, world)
    return image.pixelColor(round(x * image.devicePixelRatio()), round(y * image.devicePixelRatio()))


def place_of(view: SurfaceView, world: tuple[float, float, float]) -> tuple[float, float]:
    """Where a world point is seen on the canvas."""
    assert view.canvas.scene is not None
    part = view.canvas.scene.projected(world)
    assert part is not None
    return part[0] * view.canvas.width(), part[1] * view.canvas.height()


def is_like(colour: QColor, label: tuple[int, int, int]) -> bool:
    """Whether a lit surface shows the hue of a label."""
    return abs(colour.hsvHueF() - QColor(*label).hsvHueF()) < 0.04 and colour.valueF() > 0.2


def mouse(kind: QEvent.Type, view: SurfaceView, x: float, y: float, button: Qt.MouseButton, **more: Any) -> None:
    """One mouse event on the canvas."""
    canvas = view.canvas
    at = QPointF(x, y)
    down = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseButtonRelease else button
    its = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else button
    modifiers = more.get("modifiers", Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(canvas, QMouseEvent(kind, at, canvas.mapToGlobal(at), its, down, modifiers))


def drag(view: SurfaceView, by: tuple[float, float], button: Qt.MouseButton, **more: Any) -> None:
    """A drag from the middle of the canvas; stays down."""
    x, y = view.canvas.width() / 2, view.canvas.height() / 2
    mouse(QEvent.Type.MouseButtonPress, view, x, y, button, **more)
    for part in (0.5, 1.0):
        mouse(QEvent.Type.MouseMove, view, x + by[0] * part, y + by[1] * part, button, **more)


def let_go(view: SurfaceView, by: tuple[float, float], button: Qt.MouseButton) -> None:
    """The end of such a drag."""
    x, y = view.canvas.width() / 2 + by[0], view.canvas.height() / 2 + by[1]
    mouse(QEvent.Type.MouseButtonRelease, view, x, y, button)


@pytest.mark.gl
def test_each_label_is_seen_in_its_colour_from_the_front(view: SurfaceView, picture: Any) -> None:
    assert is_like(colour_at(view, (14, 10, 0)), ORANGE)
    assert is_like(colour_at(view, (-14, 6, 12)), BLUE)
    assert place_of(view, (14, 0, 0))[0] < place_of(view, (-14, 0, 12))[0]  # the patient's right on the left
    assert place_of(view, (-14, 0, 12))[1] < place_of(view, (14, 0, 0))[1]  # and up is up
    assert view.title.convention.text() == "R on left"
    assert view.picture().pixelColor(3, 3) == view.canvas.grab().toImage().pixelColor(3, 3)
    picture(view, "surface-front")


@pytest.mark.gl
@pytest.mark.parametrize(
    ("side", "right", "up"),
    [("A", "L", "S"), ("P", "R", "S"), ("L", "P", "S"), ("R", "A", "S"), ("S", "R", "A"), ("I", "L", "A")],
)
def test_a_side_is_looked_at_head_or_nose_up(view: SurfaceView, side: str, right: str, up: str, picture: Any) -> None:
    from medseg_rl_gui.slice_geometry import direction_letters

    view.title.buttons[side].click()
    assert view.canvas.scene is not None
    across, upwards = view.canvas.scene.axes
    assert (direction_letters(across), direction_letters(upwards)) == (right, up)
    words = {"L": "R on left", "R": "R on right"}.get(right, "")
    assert view.title.convention.text() == words
    picture(view, f"surface-{side}")


@pytest.mark.gl
def test_dragging_turns_at_half_the_resolution_and_full_comes_after(
    view: SurfaceView, wait_until: Callable[..., None]
) -> None:
    assert view.canvas.scene is not None
    full, before = view.canvas.scene.size, place_of(view, (14, 10, 0))
    drag(view, (60, 20), Qt.MouseButton.LeftButton)
    QApplication.processEvents()
    assert view.canvas.scene.size == (round(full[0] / 2), round(full[1] / 2))
    QTest.qWait(200)
    assert view.canvas.scene.size != full  # the button is still down
    let_go(view, (60, 20), Qt.MouseButton.LeftButton)
    wait_until(lambda: settled(view))
    assert view.canvas.scene.size == full
    after = place_of(view, (14, 10, 0))
    assert after[0] > before[0] + 5  # the front follows the mouse
    assert is_like(colour_at(view, (14, 10, 0)), ORANGE)


@pytest.mark.gl
def test_the_other_buttons_zoom_and_pan(view: SurfaceView, wait_until: Callable[..., None]) -> None:
    def distance() -> float:
        return abs(place_of(view, (14, 0, 0))[0] - place_of(view, (-14, 0, 12))[0])

    start, place = distance(), place_of(view, (14, 0, 0))
    drag(view, (0, -60), Qt.MouseButton.RightButton)
    let_go(view, (0, -60), Qt.MouseButton.RightButton)
    assert distance() > 1.1 * start
    view.title.buttons["reset"].click()
    assert distance() == pytest.approx(start, rel=0.01)  # half the pixels are rounded
    drag(view, (40, 30), Qt.MouseButton.LeftButton, modifiers=Qt.KeyboardModifier.ShiftModifier)
    let_go(view, (40, 30), Qt.MouseButton.LeftButton)
    panned = place_of(view, (14, 0, 0))
    assert (panned[0] - place[0], panned[1] - place[1]) == pytest.approx((40, 30), abs=4)
    at = QPointF(100, 100)
    canvas = view.canvas
    none = (Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False)
    turn = QWheelEvent(at, canvas.mapToGlobal(at), QPoint(), QPoint(0, 240), *none)
    nearer = distance()
    QApplication.sendEvent(canvas, turn)
    assert distance() > 1.15 * nearer
    wait_until(lambda: settled(view))


@pytest.mark.gl
def test_a_click_says_where_it_met_a_surface_and_a_drag_or_the_ground_says_nothing(view: SurfaceView) -> None:
    heard: list[tuple[float, float, float]] = []
    view.crosshair_moved.connect(heard.append)
    x, y = place_of(view, (14, 10, 0))
    for kind in (QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonRelease):
        mouse(kind, view, x, y, Qt.MouseButton.LeftButton)
    assert len(heard) == 1
    assert heard[0] == pytest.approx((14, 9.5, 0), abs=1.0)
    for kind in (QEvent.Type.MouseButtonPress, QEvent.Type.MouseButtonRelease):
        mouse(kind, view, 3, 3, Qt.MouseButton.LeftButton)
        mouse(kind, view, x, y, Qt.MouseButton.RightButton)
    drag(view, (20, 0), Qt.MouseButton.LeftButton)
    let_go(view, (20, 0), Qt.MouseButton.LeftButton)
    assert len(heard) == 1
    view.canvas.stop()


@pytest.mark.gl
def test_scrolling_and_the_crosshair_draw_no_3d(view: SurfaceView, picture: Any) -> None:
    before = view.canvas.frames
    for step in range(5):
        view.show_model(view.plan.model.stepped("axial", 1).changing(crosshair=(14.0, 10.0, float(step))))
        QApplication.processEvents()
    QTest.qWait(250)
    assert view.canvas.frames == before
    x, y = place_of(view, (14, 10, 4))
    shot = view.canvas.grab().toImage()
    assert not is_like(shot.pixelColor(round(x + 7), round(y)), ORANGE)  # the crosshair lies over it
    assert view.canvas.frames == before
    picture(view, "surface-crosshair")


@pytest.mark.gl
def test_a_stroke_changes_the_surface_once_it_is_over(view: SurfaceView, wait_until: Callable[..., None]) -> None:
    model, jobs = view.plan.model, []
    view.wanted.connect(jobs.append)
    ball = Box((10, 20, 5), (30, 40, 15))
    for layer in range(5, 15):
        model.layers[0][ball.start[0] : ball.stop[0], 20:40, layer] = 0
        view.show_model(model, ball)
        QApplication.processEvents()
    wait_until(lambda: settled(view) and bool(jobs))
    assert len(jobs) == 1
    assert not is_like(colour_at(view, (14, 10, 0)), ORANGE)


@pytest.mark.gl
def test_eye_colour_and_deletion_of_a_label_need_no_new_surface(
    view: SurfaceView, wait_until: Callable[..., None], picture: Any
) -> None:
    model, jobs = view.plan.model, []
    view.wanted.connect(jobs.append)
    view.show_model(model.changing(overlay=Overlay(hidden=frozenset({RIGHT}))))
    assert not is_like(colour_at(view, (14, 10, 0)), ORANGE)
    green = replace(model.labels.labels[1], colour=(0, 158, 115))
    view.show_model(model.changing(labels=LabelMap((model.labels.labels[0], green))))
    assert is_like(colour_at(view, (-14, 6, 12)), (0, 158, 115))
    view.show_model(model.changing(labels=LabelMap(model.labels.labels[:1])))
    assert view.canvas.scene is not None
    assert view.canvas.scene.keys == {RIGHT}
    view.show_model(model.changing(overlay=Overlay(hidden=EVERYTHING)))
    assert "hidden" in view.canvas.message
    view.canvas.stop()
    view._soon.stop()
    assert jobs == []


@pytest.mark.gl
def test_an_open_proposal_is_glassy(view: SurfaceView, wait_until: Callable[..., None], picture: Any) -> None:
    solid = colour_at(view, (14, 10, 0))
    model = view.plan.model
    box = Box((5, 18, 0), (30, 42, 24))
    inside = model.layers[0][box.slices] == RIGHT
    inside[10:14, :, :] = True
    view.show_model(model.changing(proposal=ProposalView(RIGHT, box, inside)))
    wait_until(lambda: settled(view))
    assert colour_at(view, (14, 10, 0)).valueF() < solid.valueF()
    picture(view, "surface-proposal")


@pytest.mark.gl
def test_another_image_clears_the_pane_and_no_image_leaves_it_empty(
    view: SurfaceView, wait_until: Callable[..., None]
) -> None:
    other = two_balls()
    assert other.image is not None
    view.show_model(other.changing(image=Volume(other.image.array, AFFINE * np.array([[2.0], [2], [2], [1]]))))
    assert view.canvas.scene is not None
    assert view.canvas.scene.keys == frozenset()
    wait_until(lambda: settled(view) and view.canvas.message == "")
    assert is_like(colour_at(view, (28, 20, 0)), ORANGE)
    view.show_model(ViewModel())
    assert view.canvas.scene.keys == frozenset()
    assert view.canvas.message == ""
    assert not any(button.isEnabled() for button in view.title.buttons.values())
    view.canvas.stop()


@pytest.mark.gl
def test_a_job_that_fails_is_told_and_tried_again_after_the_next_change(
    view: SurfaceView, wait_until: Callable[..., None]
) -> None:
    model = view.plan.model
    layers = (model.layers[0], model.layers[0][:10, 0])  # has no three axes
    labels = LabelMap((*model.labels.labels, Label(3, "Broken", ORANGE, layer=1)))
    view.show_model(model.changing(labels=labels, layers=layers))
    wait_until(lambda: "could not be made" in view.canvas.message)
    view.show_model(model, Box((0, 0, 0), (1, 1, 1)))
    wait_until(lambda: settled(view) and view.canvas.message == "")


@pytest.mark.gl
def test_closing_leaves_nothing_of_vtk(view: SurfaceView) -> None:
    from vtkmodules.vtkRenderingCore import vtkRenderWindow

    scene = view.canvas.scene
    assert scene is not None
    left: list[weakref.ref[Any]] = [weakref.ref(scene), weakref.ref(scene._window), weakref.ref(scene._renderer)]
    left += [weakref.ref(actor) for actor in scene._actors.values()]
    del scene
    view.shut_down()
    gc.collect()
    assert [kept() for kept in left if kept() is not None] == []
    assert not [one for one in gc.get_objects() if issubclass(type(one), vtkRenderWindow)]


@pytest.mark.gl
def test_the_picture_has_the_pixels_of_the_screen(view: SurfaceView, tmp_path: Path) -> None:
    asked: list[bool] = []
    view.picture_requested.connect(lambda: asked.append(True))
    view.title.buttons["picture"].click()
    assert asked == [True]
    path = tmp_path / "surface.png"
    assert view.picture().save(str(path))
    assert QImage(str(path)).size() == view.canvas.size() * view.canvas.devicePixelRatioF()


@pytest.mark.gl
def test_a_narrow_title_keeps_its_name_and_convention_whole_and_shrinks_its_buttons_before_any_goes(show: Any) -> None:
    pane = show(QWidget(), (600, 30))  # alone in a window it would be kept as wide as all of its buttons
    title = SurfaceTitle(pane)
    title.show()
    title.resize(600, 30)
    title.show_state(works=True, right=1.0)
    QCoreApplication.processEvents()
    buttons = title.buttons.values()
    roomy, least = title.buttons["A"].width(), title.minimumSizeHint().width()
    shrunk = gone = 0
    for width in range(600, least, -1):
        title.resize(width, 30)
        QCoreApplication.processEvents()
        assert title.convention.width() >= title.convention.sizeHint().width()
        assert title.name.width() >= title.name.sizeHint().width()
        shrunk = shrunk or (width if title.buttons["A"].width() < roomy else 0)
        gone = gone or (width if not all(button.isVisible() for button in buttons) else 0)
    assert shrunk > gone > least
    title.resize(least + 60, 30)
    assert title.buttons["reset"].isVisible()
    title.resize(600, 30)
    QCoreApplication.processEvents()
    assert all(button.isVisible() for button in buttons)
    assert title.buttons["A"].width() == roomy


def test_every_button_is_named_and_reached_by_tab(view: SurfaceView) -> None:
    for button in view.title.buttons.values():
        assert button.accessibleName()
        assert button.focusPolicy() & Qt.FocusPolicy.TabFocus
    assert isinstance(view.title, QWidget)


@pytest.mark.gl
@pytest.mark.parametrize("looks_closer", [False, True])
def test_what_outgrows_the_picture_is_brought_into_view_unless_somebody_looks_at_a_part(
    view: SurfaceView, wait_until: Any, looks_closer: bool
) -> None:
    model = two_balls()
    array = np.zeros_like(model.layers[0])
    array[tuple(slice(n // 2 - 2, n // 2 + 2) for n in array.shape)] = LEFT
    view.show_model(ViewModel())  # what was in view is forgotten
    view.show_model(model.changing(layers=(array,)))
    wait_until(lambda: view.canvas.scene is not None and view.canvas.scene.keys == {LEFT} and settled(view))
    assert view.canvas.scene.is_all_in_view()
    if looks_closer:
        view.canvas.zoom(3.0)
    array[2:-2, 2:-2, 2:-2] = LEFT
    view.show_model(view.plan.model, Box((0, 0, 0), array.shape))
    wait_until(lambda: settled(view))
    assert view.canvas.scene.is_all_in_view() != looks_closer


@pytest.mark.gl
def test_a_new_label_beside_the_picture_is_brought_into_view(view: SurfaceView, wait_until: Any) -> None:
    model = two_balls()
    array = model.layers[0].copy()
    array[array == LEFT] = 0
    view.show_model(ViewModel())  # what was in view is forgotten
    view.show_model(model.changing(layers=(array,)))
    wait_until(lambda: view.canvas.scene is not None and view.canvas.scene.keys == {RIGHT} and settled(view))
    far = place_of(view, (-14, 0, 12))
    assert far[0] > view.canvas.width() or far[1] < 0
    array[model.layers[0] == LEFT] = LEFT
    view.show_model(view.plan.model, Box((0, 0, 0), array.shape))
    wait_until(lambda: 0 < place_of(view, (-14, 0, 12))[0] < view.canvas.width())
    assert is_like(colour_at(view, (-14, 6, 12)), BLUE)
