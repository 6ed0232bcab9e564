"""What is shown of a stroke before it is an edit: never more than the session would write, and never a whole copy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medseg_rl.editing import Brush
from medseg_rl.refiners.paint_ball import PaintBall
from medseg_rl.session import SegmentationSession
from medseg_rl.volume import Volume
from medseg_rl_gui.painted_layers import PaintedLayers

SHAPE = (30, 28, 22)


def session_of(affine: np.ndarray) -> SegmentationSession:
    return SegmentationSession(Volume(np.zeros(SHAPE, np.int16), affine), PaintBall)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_shown_of_a_stroke_is_what_it_becomes(axes: tuple[int, ...], sign: int) -> None:
    affine = np.eye(4)
    affine[:3, :3] = sign * np.eye(3)[:, axes]
    session = session_of(affine)
    layers = PaintedLayers(session)
    for centre in ((8, 8, 8), (20, 18, 12)):
        world = tuple(float(v) for v in session.image.index_to_world(np.asarray(centre)))
        box = layers.paint([world], 4.0, None, erase=False)
        shown = layers.layers[0].copy()
        session.edit(Brush((world,), 4.0))
        layers.follow(box)
        assert np.array_equal(shown, session.label_layers[0])
        assert np.array_equal(layers.layers[0], session.label_layers[0])


def test_a_stroke_that_came_to_nothing_goes_and_undo_is_followed() -> None:
    session = session_of(np.eye(4))
    layers = PaintedLayers(session)
    session.edit(Brush(((8.0, 8.0, 8.0),), 4.0))
    layers.paint([(20.0, 20.0, 10.0)], 4.0, None, erase=False)
    layers.paint([(8.0, 8.0, 8.0)], 2.0, None, erase=True)
    layers.follow(None)
    assert np.array_equal(layers.layers[0], session.label_layers[0])
    session.undo()
    layers.follow(None)
    assert not layers.layers[0].any()


def test_strokes_and_changes_write_the_labelled_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of(np.eye(4))
    session.edit(Brush(((8.0, 8.0, 8.0),), 3.0))
    layers, written = PaintedLayers(session), []
    take_over = layers._take_over
    monkeypatch.setattr(layers, "_take_over", lambda box: written.append(box) or take_over(box))
    shown = layers.paint([(15.0, 8.0, 8.0)], 3.0, "axial", erase=False)
    assert shown is not None
    assert written == [session.labelled_box]
    layers.follow(None)
    assert written[1:] == [session.labelled_box.union(shown)]
    assert written[1].voxels < session.image.array.size / 10
