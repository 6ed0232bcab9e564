"""What a session tells its observers: every committed action, undo and redo once, after the state changed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.history import UndoStack
from medseg_rl.session import SegmentationSession
from medseg_rl.session.requests import action_of
from medseg_rl.volume import Volume

OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND
TURNED = np.array([[0, -2.0, 0, 30], [1.5, 0, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])


class Painter:
    """Paints a cube of five voxels round each new click."""

    name = "painter"

    def describe(self):
        return {"kind": self.name}

    def refine(self, request, *, cancel=lambda: False, preview=lambda percent: None):
        percent = request.percent.copy()
        for click in request.clicks[len(request.clicks) - request.n_new_clicks :]:
            cube = tuple(slice(max(0, i - 2), i + 3) for i in click.index)
            percent[cube] = 99 if click.label == OBJECT else 1
        return percent


def session_and_events():
    events = []
    image = Volume(np.random.default_rng(1).normal(0, 1, (20, 18, 16)).astype(np.float32), TURNED, "MR")
    return SegmentationSession(image, Painter(), observers=[events.append]), events


def test_every_action_undo_and_redo_is_told_once_and_in_order():
    session, events = session_and_events()
    session.click_voxels([Click((5, 6, 7), OBJECT)])
    session.accept()
    session.add_label("Vessel")
    session.set_lock(1, True)
    session.undo()
    session.redo()
    assert [(e.action, e.direction) for e in events] == [
        ("click", "do"),
        ("accept", "do"),
        ("add_label", "do"),
        ("lock_label", "do"),
        ("lock_label", "undo"),
        ("lock_label", "redo"),
    ]
    assert [(e.base_version, e.version) for e in events] == [(n, n + 1) for n in range(6)]
    assert events[3].entry is events[4].entry is events[5].entry
    assert [e.name for e in events[:4]] == list(reversed(session.history.undo_names))


def test_what_changes_nothing_is_not_told():
    session, events = session_and_events()
    session.click_voxels([])
    session.click_voxels([Click((5, 6, 7), BACKGROUND)])
    session.accept()
    session.discard()
    session.undo()
    session.set_lock(1, False)
    assert events == []


def test_an_observer_sees_the_state_after_the_step():
    session, _ = session_and_events()
    seen = []
    session.observers.append(lambda event: seen.append((session.version, session.mask.sum(), event.ledger.open_label)))
    session.click_voxels([Click((5, 6, 7), OBJECT)])
    session.undo()
    assert seen == [(1, 125, 1), (2, 0, None)]


def test_parameters_survive_json_and_do_the_action_again():
    session, events = session_and_events()
    session.click(session.image.index_to_world((5, 6, 7)), OBJECT)
    session.click_voxels([Click((8, 6, 7), OBJECT), Click((5, 6, 9), BACKGROUND)])
    session.refine()
    session.delete_click(1)
    twin, _ = session_and_events()
    for event in events:
        twin.run(action_of(event.action, json.loads(json.dumps(event.parameters))))
    assert twin.percent.tobytes() == session.percent.tobytes()
    assert twin.clicks == session.clicks
    clicked = events[0].parameters["clicks"][0]
    assert np.allclose(session.image.index_to_world(clicked["voxel"]), clicked["mm"])


def test_an_observer_that_fails_stops_neither_the_step_nor_the_others():
    session, events = session_and_events()

    def full(event):
        raise OSError("no space left")

    session.observers.insert(0, full)
    with pytest.raises(OSError, match="no space"):
        session.click_voxels([Click((5, 6, 7), OBJECT)])
    assert len(events) == 1
    assert session.mask.sum() == 125
    assert session.version == 1


def test_a_stack_put_together_again_moves_as_the_first():
    session, _ = session_and_events()
    session.click_voxels([Click((5, 6, 7), OBJECT)])
    session.accept()
    session.undo()
    old = session.history
    session.history = UndoStack.of(old.done, old.undone, cap_bytes=old.cap_bytes, dropped=old.dropped)
    assert (session.history.undo_names, session.history.redo_names) == (old.undo_names, old.redo_names)
    assert session.history.nbytes == old.nbytes
    session.redo()
    assert session.label_map.sum() == 125
