"""The four panes: laid out, maximised, linked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QWidget

from medseg_rl.volume import Volume
from medseg_rl_gui.four_up import Arrangement, FourUp
from medseg_rl_gui.view_model import SlicePointer, ViewModel


@pytest.fixture
def four(show: Callable[..., QWidget]) -> FourUp:
    made = FourUp(QLabel("3D"))
    show(made, (800, 640))
    image = Volume(np.zeros((20, 24, 10), np.int16), np.diag([-1.0, -1.0, 3.0, 1.0]))
    made.show_model(ViewModel(image=image).in_middle())
    return made


def double_click(widget: QWidget) -> None:
    QTest.mouseDClick(widget, Qt.MouseButton.LeftButton)
    QTest.mouseRelease(widget, Qt.MouseButton.LeftButton)


def seen(four: FourUp) -> set[str]:
    widgets = {**four.views, "surface": four.surface}
    return {name for name, widget in widgets.items() if widget.isVisible()}


def test_all_four_are_seen_and_share_the_room(four: FourUp) -> None:
    assert seen(four) == {"axial", "coronal", "sagittal", "surface"}
    sizes = [view.size() for view in four.views.values()]
    assert max(s.width() for s in sizes) - min(s.width() for s in sizes) <= 1
    assert max(s.height() for s in sizes) - min(s.height() for s in sizes) <= 1


def test_a_double_click_on_a_title_maximises_and_restores(four: FourUp) -> None:
    title = four.views["coronal"].title
    double_click(title)
    assert seen(four) == {"coronal"}
    double_click(title)
    assert len(seen(four)) == 4


def test_layouts_follow_each_other(four: FourUp) -> None:
    four.activate("sagittal")
    four.cycle()
    assert four.arrangement is Arrangement.THREE_AND_ONE
    QApplication.processEvents()
    assert len(seen(four)) == 4
    assert four.views["sagittal"].width() > 1.5 * four.views["axial"].width()
    four.cycle()
    assert seen(four) == {"sagittal"}
    four.cycle()
    assert four.arrangement is Arrangement.FOUR
    assert len(seen(four)) == 4


def test_3d_alone_leaves_keys_to_a_plane(four: FourUp) -> None:
    four.toggle_maximised("surface")
    assert seen(four) == {"surface"}
    assert four.active_view.plane == "axial"


def test_keys_go_to_the_view_under_the_pointer(four: FourUp) -> None:
    QTest.mouseMove(four.views["sagittal"].canvas, QPoint(30, 30))
    QApplication.processEvents()
    assert four.active == "sagittal"
    four.toggle_maximised("coronal")
    assert four.active == "coronal"


def test_intents_of_every_view_come_out(four: FourUp) -> None:
    heard: list[SlicePointer] = []
    four.pressed.connect(heard.append)
    for view in four.views.values():
        QTest.mouseClick(view.canvas, Qt.MouseButton.LeftButton)
    assert [pointer.plane for pointer in heard] == ["axial", "coronal", "sagittal"]


def test_all_views_jump_to_the_crosshair(four: FourUp) -> None:
    model = four.views["axial"].model.at((-3.0, -7.0, 6.0))
    four.show_model(model)
    assert {plane: view.slice_index for plane, view in four.views.items()} == {"axial": 2, "coronal": 7, "sagittal": 3}


def test_zoom_is_linked_until_it_is_not(four: FourUp) -> None:
    def scales() -> list[float]:
        return [view.placement.scale for view in four.views.values() if view.placement is not None]

    before = scales()
    four.views["coronal"].zoom(2)
    assert np.allclose(scales(), 2 * np.array(before))
    four.zoom_linked = False
    four.views["coronal"].zoom(2)
    assert np.allclose(scales(), np.array(before) * (2, 4, 2))
    four.fit()
    assert np.allclose(scales(), before)


def test_centring_brings_the_crosshair_to_the_middle(four: FourUp) -> None:
    four.show_model(four.views["axial"].model.at((-3.0, -7.0, 6.0)))
    four.centre_on_crosshair()
    for view in four.views.values():
        assert view.placement is not None
        crosshair = view.model.geometry(view.plane).world_to_plane(view.model.crosshair)
        assert np.allclose(view.placement.to_screen(crosshair), np.array(view.placement.size) / 2)
