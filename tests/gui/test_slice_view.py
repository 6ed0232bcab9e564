"""A view in use: clicks come back to their voxel, input becomes intents, little is painted again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QObject, QPoint, QPointF, Qt
from PySide6.QtGui import QFont, QImage, QPainter, QPaintEvent, QPointingDevice, QTabletEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from medseg_rl.hints.clicks import ClickLabel
from medseg_rl.labels import Label, LabelMap
from medseg_rl.refiners.paint_ball import PaintBall
from medseg_rl.session import SegmentationSession
from medseg_rl.volume import Box, Volume
from medseg_rl_gui import slice_marks, slice_pictures
from medseg_rl_gui.slice_geometry import PLANES, Plane
from medseg_rl_gui.slice_marks import crosshair_strips
from medseg_rl_gui.slice_view import SliceView
from medseg_rl_gui.view_model import (
    Ball,
    Button,
    ClickMark,
    Modifier,
    Overlay,
    PointerLook,
    ProposalView,
    Sketch,
    SlicePointer,
    ViewModel,
    Window,
)
from tests.gui.slice_cases import ORDERS, drawn, in_order, pixels

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
AFFINE = np.array([[-1.0, 0.1, 0, 20], [0.05, -1.2, 0.1, 30], [0, 0, 2.0, -9], [0, 0, 0, 1]])
SHAPE = (30, 26, 12)


def model(**changes: object) -> ViewModel:
    rng = np.random.default_rng(0)
    image = Volume(rng.integers(20, 60, SHAPE).astype(np.int16), AFFINE)
    labels = LabelMap((Label(1, "Lesion", (230, 159, 0)),))
    base = ViewModel(image=image, window=Window(200, 100), layers=(np.zeros(SHAPE, np.uint8),), labels=labels)
    return base.in_middle().changing(crosshair_shown=False, **changes)


class Heard:
    """What a view said."""

    def __init__(self, view: SliceView) -> None:
        self.pointers: dict[str, list[SlicePointer]] = {"pressed": [], "moved": [], "released": []}
        self.scrolled: list[tuple[SlicePointer, int]] = []
        self.chosen: list[tuple[str, int]] = []
        self.maximised: list[str] = []
        self.left: list[str] = []
        for name, heard in self.pointers.items():
            getattr(view, name).connect(heard.append)
        view.scrolled.connect(lambda pointer, units: self.scrolled.append((pointer, units)))
        view.slice_chosen.connect(lambda plane, index: self.chosen.append((plane, index)))
        view.maximise_requested.connect(self.maximised.append)
        view.left.connect(self.left.append)


@pytest.fixture
def view(show: Callable[..., QWidget]) -> Iterator[Callable[[Plane], SliceView]]:
    def make(plane: Plane, shown: ViewModel | None = None) -> SliceView:
        made = SliceView(plane)
        show(made, (420, 380))
        made.show_model(shown or model())
        return made

    return make


def wheel(widget: QWidget, units: int, buttons: Qt.MouseButton = Qt.MouseButton.NoButton) -> None:
    at = QPointF(widget.rect().center())
    event = QWheelEvent(
        at, at, QPoint(), QPoint(0, units), buttons, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False
    )
    QApplication.sendEvent(widget, event)


# --- clicks come back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [1.0, 2.0])
@pytest.mark.parametrize(("zoom", "dx", "dy"), [(1.0, 0, 0), (2.3, 31, -17), (6.0, -40, 25), (0.6, 12, 50)])
@pytest.mark.parametrize("plane", PLANES)
def test_a_click_is_marked_where_it_was_made(
    view: Callable[..., SliceView], plane: Plane, zoom: float, dx: float, dy: float, ratio: float
) -> None:
    seen = view(plane)
    seen.zoom(zoom)
    seen.pan(dx, dy)
    heard, canvas = Heard(seen), seen.canvas
    geometry, placement = seen.model.geometry(plane), seen.placement
    assert placement is not None
    voxel = list(np.asarray(SHAPE) // 2)
    voxel[geometry.axes[0]] = seen.slice_index
    pixel = QPoint(*(round(float(v)) for v in placement.to_screen(geometry.index_to_plane(voxel))))
    QTest.mouseClick(canvas, LEFT, pos=pixel)
    (pointer,) = heard.pointers["pressed"]
    assert pointer.index == tuple(voxel)
    before = pixels(drawn(canvas, ratio)).astype(int)
    seen.show_model(seen.model.changing(clicks=(ClickMark(pointer.index, True),)))
    rows, columns, _ = np.nonzero(pixels(drawn(canvas, ratio)).astype(int) - before)
    middle = (columns.min() + columns.max() + 1) / 2 / ratio, (rows.min() + rows.max() + 1) / 2 / ratio
    assert abs(middle[0] - pixel.x()) <= 1
    assert abs(middle[1] - pixel.y()) <= 1
    assert columns.max() - columns.min() <= 24 * ratio  # of the same size on every screen


def test_the_same_pixel_gives_the_same_mask_in_all_48_orders(view: Callable[..., SliceView]) -> None:
    ras = np.random.default_rng(3).integers(0, 100, (16, 13, 11)).astype(np.int16)
    masks = []
    for order in ORDERS:
        volume = in_order(ras, order, (1.0, 1.0, 1.0))
        seen = view("axial", ViewModel(image=volume, smooth=False).in_middle()) if not masks else seen
        seen.show_model(ViewModel(image=volume, smooth=False).in_middle())
        heard = Heard(seen)
        QTest.mousePress(seen.canvas, LEFT, pos=QPoint(171, 203))
        QTest.mouseRelease(seen.canvas, LEFT, pos=QPoint(171, 203))
        session = SegmentationSession(volume, PaintBall)
        session.click(heard.pointers["pressed"][-1].world, ClickLabel.FOREGROUND)
        session.accept()
        assert session.mask.any()
        masks.append(order.apply(session.mask))
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


@pytest.mark.parametrize("plane", PLANES)
def test_the_same_voxel_is_hit_in_each_plane(view: Callable[..., SliceView], plane: Plane) -> None:
    base = model()
    assert base.image is not None
    target = (9, 17, 4)
    seen = view(plane, base.at(tuple(base.image.index_to_world(target))))
    heard = Heard(seen)
    assert seen.placement is not None
    x, y = seen.placement.to_screen(seen.model.geometry(plane).index_to_plane(target))
    QTest.mousePress(seen.canvas, RIGHT, Qt.KeyboardModifier.ControlModifier, QPoint(round(x), round(y)))
    QTest.mouseRelease(seen.canvas, RIGHT, Qt.KeyboardModifier.ControlModifier, QPoint(round(x), round(y)))
    (pressed,), (released,) = heard.pointers["pressed"], heard.pointers["released"]
    assert pressed.index == released.index == target
    assert (pressed.button, pressed.held, pressed.modifiers) == (Button.RIGHT, {Button.RIGHT}, {Modifier.CTRL})
    assert (released.button, released.held) == (Button.RIGHT, frozenset())


def test_beside_the_image_there_is_a_place_but_no_voxel(view: Callable[..., SliceView]) -> None:
    seen = view("axial")
    heard = Heard(seen)
    QTest.mouseClick(seen.canvas, LEFT, pos=QPoint(2, 2))
    assert heard.pointers["pressed"][0].index is None
    assert np.isfinite(heard.pointers["pressed"][0].world).all()


def test_without_an_image_nothing_is_said(view: Callable[..., SliceView]) -> None:
    seen = view("axial")
    seen.show_model(ViewModel())
    heard = Heard(seen)
    QTest.mouseClick(seen.canvas, LEFT, pos=QPoint(50, 50))
    wheel(seen.canvas, 120)
    assert heard.pointers["pressed"] == heard.scrolled == []
    assert seen.placement is None
    assert seen.pointer_now() is None
    drawn(seen.canvas)


def test_a_resting_pointer_takes_the_slice_shown_now(view: Callable[..., SliceView]) -> None:
    seen = view("axial")
    QTest.mouseMove(seen.canvas, QPoint(150, 150))
    seen.show_model(seen.model.stepped("axial", 2))
    pointer = seen.pointer_now()
    assert pointer is not None
    assert pointer.slice_index == seen.slice_index
    heard = Heard(seen)
    QTest.mousePress(seen.canvas, LEFT, pos=QPoint(150, 150))
    QTest.mouseRelease(seen.canvas, LEFT, pos=QPoint(150, 150))
    assert heard.pointers["pressed"][0].slice_index == seen.slice_index


# --- input ------------------------------------------------------------------------------------------------------------


def test_the_wheel_speaks_only_while_no_button_is_down(view: Callable[..., SliceView]) -> None:
    seen = view("axial")
    heard = Heard(seen)
    wheel(seen.canvas, 120)
    wheel(seen.canvas, -15)
    wheel(seen.canvas, 120, LEFT)
    assert [units for _, units in heard.scrolled] == [120, -15]


def test_the_second_of_two_quick_clicks_is_a_click(view: Callable[..., SliceView]) -> None:
    seen = view("axial")
    heard = Heard(seen)
    QTest.mouseClick(seen.canvas, LEFT, pos=QPoint(100, 100))
    QTest.mouseDClick(seen.canvas, LEFT, pos=QPoint(100, 100))  # in place of the second press
    QTest.mouseRelease(seen.canvas, LEFT, pos=QPoint(100, 100))
    assert len(heard.pointers["pressed"]) == len(heard.pointers["released"]) == 2


def test_a_pen_presses_with_its_pressure(view: Callable[..., SliceView]) -> None:
    seen = view("axial")
    heard = Heard(seen)
    at = QPointF(120, 110)
    for kind, buttons in ((QEvent.Type.TabletPress, LEFT), (QEvent.Type.TabletRelease, Qt.MouseButton.NoButton)):
        event = QTabletEvent(
            kind,
            QPointingDevice.primaryPointingDevice(),
            at,
            at,
            0.25,
            0,
            0,
            0,
            0,
            0,
            Qt.KeyboardModifier.NoModifier,
            LEFT,
            buttons,
        )
        QApplication.sendEvent(seen.canvas, event)
    assert [p.pressure for p in heard.pointers["pressed"]] == [0.25]
    assert len(heard.pointers["released"]) == 1


def test_slider_and_spin_box_choose_a_slice(view: Callable[..., SliceView]) -> None:
    seen = view("coronal")
    heard = Heard(seen)
    seen.slider.setValue(3)
    seen.title.spin.setValue(6)
    assert heard.chosen == [("coronal", 3), ("coronal", 5)]
    seen.show_model(seen.model.on_slice("coronal", 8))
    assert (seen.slider.value(), seen.title.spin.value()) == (8, 9)
    assert len(heard.chosen) == 2  # showing is not choosing
    wheel(seen.slider, 120)
    assert seen.slider.value() == 8


@pytest.mark.parametrize("plane", PLANES)
def test_up_on_the_slider_is_right_anterior_superior(view: Callable[..., SliceView], plane: Plane) -> None:
    seen = view(plane)
    assert seen.slider.invertedAppearance() == (seen.model.geometry(plane).forward < 0)


def test_the_title_tells_plane_convention_counter_and_position(view: Callable[..., SliceView]) -> None:
    seen = view("axial")
    title = seen.title
    assert (title.name.text(), title.convention.text(), title.count.text()) == ("AXIAL", "R on left", "/ 12")
    assert title.spin.value() == seen.slice_index + 1
    assert title.position.text() == "S 1.0 mm"
    seen.show_model(seen.model.changing(convention="neurological"))
    assert title.convention.text() == "R on right"
    heard = Heard(seen)
    QTest.mouseDClick(title, LEFT)
    QTest.mouseRelease(title, LEFT)
    assert heard.maximised == ["axial"]


def test_a_narrow_title_leaves_out_the_position_first_and_never_the_convention(view: Callable[..., SliceView]) -> None:
    seen, told = view("axial"), []
    for width in (420, 230, 175, 120):
        seen.resize(width, 300)
        QApplication.processEvents()
        title = seen.title
        assert title.convention.isVisible()
        assert title.convention.width() >= title.convention.sizeHint().width()
        told.append([widget.isVisible() for widget in (title.spin, title.count, title.position)])
    assert told[0] == [True, True, True]
    assert all(sum(a) >= sum(b) for a, b in itertools.pairwise(told))
    assert sum(told[-1]) < 3


def test_every_control_has_a_name_and_can_be_reached_by_keyboard(view: Callable[..., SliceView]) -> None:
    seen = view("sagittal")
    for control in (seen.canvas, seen.slider, seen.title.spin):
        assert "SAGITTAL" in control.accessibleName()
        assert control.focusPolicy() & Qt.FocusPolicy.TabFocus


# --- painting ---------------------------------------------------------------------------------------------------------


class Repaints(QObject):
    """The areas that a widget was told to paint."""

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self.areas: list[int] = []
        widget.installEventFilter(self)

    def eventFilter(self, _: QObject, event: QEvent) -> bool:  # noqa: N802
        if isinstance(event, QPaintEvent):
            self.areas.append(sum(rect.width() * rect.height() for rect in event.region()))
        return False


def test_only_the_changed_box_is_painted_again(view: Callable[..., SliceView], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = view("axial")
    QApplication.processEvents()
    written = []
    blend = slice_pictures.blend_part
    monkeypatch.setattr(
        slice_pictures, "blend_part", lambda p, part, *rest: (written.append(part), blend(p, part, *rest))
    )
    repaints = Repaints(seen.canvas)
    box = Box((4, 5, seen.slice_index), (8, 9, seen.slice_index + 1))
    layer = seen.model.layers[0]
    layer[box.slices] = 1
    seen.show_model(seen.model.changing(), box)
    QApplication.processEvents()
    assert written == [(slice(5, 9), slice(4, 8))]
    assert sum(repaints.areas) < 0.1 * seen.canvas.width() * seen.canvas.height()
    repaints.areas.clear()
    elsewhere = Box((4, 5, 0), (8, 9, 1))
    seen.show_model(seen.model.changing(), elsewhere)
    QApplication.processEvents()
    assert repaints.areas == []
    assert len(written) == 1


def test_what_is_painted_in_parts_is_what_is_painted_whole(view: Callable[..., SliceView]) -> None:
    for overlay in (Overlay(), Overlay(outline=True)):
        seen = view("coronal", model(overlay=overlay))
        seen.canvas.clearFocus()
        drawn(seen.canvas)
        rng = np.random.default_rng(1)
        for _ in range(6):
            start = rng.integers(0, (20, 10, 8))
            box = Box(tuple(start), tuple(np.add(start, (6, 14, 4))))  # type: ignore[arg-type]
            seen.model.layers[0][box.slices] = rng.integers(0, 2)
            seen.show_model(seen.model.changing(), box)
            seen.canvas.grab()
        fresh = view("coronal", seen.model)
        fresh.canvas.clearFocus()  # its frame is no part of this
        assert np.array_equal(pixels(drawn(seen.canvas)), pixels(drawn(fresh.canvas)))


def test_a_moving_brush_paints_only_where_it_was_and_is(view: Callable[..., SliceView]) -> None:
    seen = view("axial", model(pointer=PointerLook("brush", 1.5)))
    QTest.mouseMove(seen.canvas, QPoint(120, 120))
    QApplication.processEvents()
    repaints = Repaints(seen.canvas)
    QTest.mouseMove(seen.canvas, QPoint(130, 124))
    QApplication.processEvents()
    assert 0 < sum(repaints.areas) < 0.15 * seen.canvas.width() * seen.canvas.height()


def test_a_moving_crosshair_paints_its_strips_and_leaves_the_pictures_alone(view: Callable[..., SliceView]) -> None:
    upright = Volume(np.zeros(SHAPE, np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
    shown = ViewModel(image=upright).in_middle().changing(crosshair=(-10.0, -12.0, 8.0))
    seen = view("axial", shown)
    QApplication.processEvents()
    repaints = Repaints(seen.canvas)
    seen.show_model(shown.changing(crosshair=(-14.0, -9.0, 8.0)))
    QApplication.processEvents()
    width, height = seen.canvas.width(), seen.canvas.height()
    assert 0 < sum(repaints.areas) <= 2 * 7 * (width + height)
    after = pixels(drawn(seen.canvas))
    seen.canvas.update()
    assert np.array_equal(after, pixels(drawn(seen.canvas))), "nothing of the old lines is left"


def test_the_lines_of_a_crosshair_lie_inside_their_strips(view: Callable[..., SliceView]) -> None:
    upright = Volume(np.zeros(SHAPE, np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
    seen = view("axial", ViewModel(image=upright).in_middle().changing(crosshair=None))
    seen.canvas.clearFocus()
    canvas, world = seen.canvas, (-10.0, -12.0, 8.0)
    without = pixels(drawn(canvas))
    seen.show_model(seen.model.changing(crosshair=world))
    changed = np.argwhere((pixels(drawn(canvas)) != without).any(axis=2))
    strips = crosshair_strips(canvas.geometry_shown, canvas.placement, world, (canvas.width(), canvas.height()))
    assert strips is not None
    assert len(changed) > canvas.height() / 2
    assert all(any(strip.contains(int(x), int(y)) for strip in strips) for y, x in changed)


def test_a_crosshair_on_a_sheared_grid_has_no_strips(view: Callable[..., SliceView]) -> None:
    seen = view("axial")
    canvas = seen.canvas
    size = (float(canvas.width()), float(canvas.height()))
    assert crosshair_strips(canvas.geometry_shown, canvas.placement, (0.0, 0.0, 0.0), size) is None


def test_a_text_is_drawn_once_for_each_size_of_letters_and_of_pixels(qapp: object) -> None:
    slice_marks._text.cache_clear()
    font = QFont()
    for ratio in (1.0, 2.0):
        image = QImage(80, 40, QImage.Format.Format_RGB32)
        image.setDevicePixelRatio(ratio)
        for x in (5, 20):
            image.fill(Qt.GlobalColor.white)
            painter = QPainter(image)
            slice_marks.written(painter, x, 18, "LA", font)
            painter.end()
            drawn_ = pixels(image)
            assert drawn_.min() < 100, "a shade round it"
            assert drawn_.max() == 255
    assert slice_marks._text.cache_info().misses == 2
    assert slice_marks._text.cache_info().hits == 2


def test_labels_are_never_interpolated_and_the_image_is(view: Callable[..., SliceView]) -> None:
    step = np.zeros((2, 2, 2), np.int16)
    step[1] = 100
    base = ViewModel(image=Volume(step, np.diag([-1.0, -1, 1, 1])), window=Window(100, 50), crosshair_shown=False)
    seen = view("axial", base)
    row = seen.canvas.height() // 2 + 60

    def greys() -> int:
        return len(np.unique(pixels(drawn(seen.canvas))[row, 120:280, 0]))

    assert greys() > 20
    seen.show_model(base.changing(smooth=False))
    assert greys() == 2
    labels = LabelMap((Label(1, "Half", (255, 0, 0)),))
    seen.show_model(base.changing(layers=(step // 100,), labels=labels, overlay=Overlay(opacity=1.0)))
    reds = pixels(drawn(seen.canvas))[row, :, 2].astype(int)
    half = seen.canvas.width() // 2
    assert (reds[half + 1 : half + 100] == 255).all()


def test_overlay_off_hides_labels_and_proposal_but_not_clicks(view: Callable[..., SliceView]) -> None:
    layer = np.zeros(SHAPE, np.uint8)
    layer[8:14, 8:14] = 1
    box = Box((8, 8, 0), (20, 20, 12))
    proposal = ProposalView(1, box, np.ones(box.shape, bool))
    plain = model()
    full = model(layers=(layer,), proposal=proposal)
    seen = view("axial", plain)
    bare = pixels(drawn(seen.canvas))
    seen.show_model(full)
    assert not np.array_equal(pixels(drawn(seen.canvas)), bare)
    seen.show_model(full.changing(overlay=Overlay(visible=False)))
    assert np.array_equal(pixels(drawn(seen.canvas)), bare)
    click = ClickMark((10, 10, seen.slice_index), False)
    seen.show_model(full.changing(overlay=Overlay(visible=False), clicks=(click,)))
    assert not np.array_equal(pixels(drawn(seen.canvas)), bare)


def test_clicks_fade_on_two_slices_either_side_and_then_are_gone(view: Callable[..., SliceView]) -> None:
    base = model()
    seen = view("axial", base)
    bare = pixels(drawn(seen.canvas)).astype(int)
    strength = []
    for off in range(4):
        seen.show_model(base.changing(clicks=(ClickMark((10, 10, seen.slice_index + off), True),)))
        strength.append(int(np.abs(pixels(drawn(seen.canvas)).astype(int) - bare).sum()))
    assert strength[0] > strength[1] > strength[2] > strength[3] == 0


def test_balls_are_cut_by_the_slice(view: Callable[..., SliceView]) -> None:
    base = model()
    assert base.image is not None
    seen = view("axial", base)
    bare = pixels(drawn(seen.canvas)).astype(int)
    widths = []
    for off in (0, 1, 3):
        centre = tuple(float(v) for v in base.image.index_to_world((15, 13, seen.slice_index + off)))
        seen.show_model(base.changing(balls=(Ball(centre, 4.0),)))  # type: ignore[arg-type]
        columns = np.nonzero(pixels(drawn(seen.canvas)).astype(int) - bare)[1]
        widths.append(int(np.ptp(columns)) if columns.size else 0)
    assert seen.placement is not None
    assert abs(widths[0] - 8 * seen.placement.scale) < 5
    assert widths[0] > widths[1] > widths[2] == 0  # slices lie 2 mm apart: sqrt(16 - 4), then 6 mm is too far


def test_zoom_and_pan_survive_another_slice_and_an_image_on_the_same_grid(view: Callable[..., SliceView]) -> None:
    seen = view("axial")
    seen.zoom(3)
    kept = seen.placement
    seen.show_model(seen.model.stepped("axial", 1))
    assert seen.placement == kept
    assert seen.model.image is not None
    seen.show_model(seen.model.changing(image=seen.model.image.with_array(np.zeros(SHAPE, np.int16))))
    assert seen.placement == kept
    seen.fit()
    assert seen.placement != kept


def test_everything_at_once_looks_right(
    view: Callable[..., SliceView], picture: Callable[[QWidget, str], Path], qapp: QApplication
) -> None:
    base = model()
    assert base.image is not None
    grid = np.indices(SHAPE)
    centre = np.reshape((15, 13, 5), (3, 1, 1, 1))
    layer = ((grid - centre) ** 2).sum(axis=0) < 30
    moved = ((grid - centre - np.reshape((2, 1, 0), (3, 1, 1, 1))) ** 2).sum(axis=0) < 30
    world = base.image.index_to_world
    seen = view(
        "axial",
        base.changing(
            layers=(layer.astype(np.uint8),),
            proposal=ProposalView(1, Box.whole(SHAPE), moved),
            clicks=(ClickMark((15, 13, 5), True), ClickMark((6, 6, 5), False, selected=True)),
            balls=(Ball(tuple(world((15, 13, 5))), 9.0), Ball(tuple(world((6, 6, 5))), 2.0, dashed=True)),
            sketches=(
                Sketch("lasso", "axial", 5, world([(20, 20, 5), (26, 20, 5), (26, 23, 5)])),
                Sketch("box", "axial", 5, world([(2, 18, 3), (8, 24, 8)]), through=True),
                Sketch("scribble", "axial", 5, world([(22, 4, 5), (24, 8, 5), (28, 9, 5)]), positive=False),
            ),
            crosshair_shown=True,
            crosshair=tuple(world((15, 13, 5))),
            pointer=PointerLook("brush", 3.0),
        ),
    )
    QTest.mouseMove(seen.canvas, QPoint(60, 60))
    assert picture(seen, "slice_view").is_file()
