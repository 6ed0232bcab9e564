"""One undo stack, and locks, whatever is done on the window and in which order; also across save and load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from medseg_rl.editing import Brush, FillHoles, Islands, Margin
from medseg_rl.session import SegmentationSession
from tests.gui.engine_cases import SHAPE, Engine, Painter

NO_SHRINK = (Phase.explicit, Phase.generate)  # a window is slow to shrink on

index = st.tuples(*(st.integers(2, n - 3) for n in SHAPE))
acts = st.one_of(
    st.tuples(st.just("click"), index, st.booleans()),
    st.tuples(st.just("brush"), index, st.booleans()),
    st.tuples(
        st.sampled_from(
            [
                "accept",
                "discard",
                "start",
                "refine",
                "delete",
                "fill",
                "islands",
                "grow",
                "undo",
                "redo",
                "label",
                "lock",
                "next",
                "rename",
                "replace",
                "keep",
                "overlap",
            ]
        )
    ),
)


@pytest.fixture
def engine(qapp: object, tmp_path: Path) -> Iterator[Engine]:
    """One window for all sequences of a test; each begins a case of its own."""
    made = Engine(tmp_path)
    yield made
    made.close()


def do(engine: Engine, act: tuple[Any, ...]) -> None:
    """An act as the panels and keys ask for it; what cannot be done now is a message."""
    controller, session = engine.controller, engine.session
    refining, editing = controller.refining, controller.editing
    calls: dict[str, Callable[..., object]] = {
        "click": lambda at, positive: engine.click(at, positive=positive),
        "brush": lambda at, erase: editing.run(Brush((engine.world(at),), 3.0, "axial", erase)),
        "accept": refining.accept,
        "discard": refining.discard,
        "start": refining.start,
        "refine": refining.refine,
        "delete": refining.delete_last,
        "fill": lambda: editing.run(FillHoles()),
        "islands": lambda: editing.run(Islands("keep_largest")),
        "grow": lambda: editing.run(Margin(2.0)),
        "undo": editing.undo,
        "redo": editing.redo,
        "label": lambda: editing.add_label() if len(session.labels.values) < 4 else None,
        "lock": lambda: editing.set_lock(session.active_label, not session.labels[session.active_label].locked),
        "next": lambda: editing.step_label(1),
        "rename": lambda: editing.rename_label(session.active_label, f"Name {session.version}"),
        "replace": lambda: editing.set_overwrite("replace"),
        "keep": lambda: editing.set_overwrite("keep"),
        "overlap": lambda: editing.set_overwrite("overlap"),
    }
    calls[act[0]](*act[1:])
    engine.idle()


def state(session: SegmentationSession) -> tuple[Any, ...]:
    """All that undo answers for."""
    soft = []
    for value in session.labels.values:
        soft.append(session.percent_in(_whole(session), value).tobytes())
    layers = [layer.tobytes() for layer in session.label_layers if layer.any()]
    table = [(label.value, label.name, label.colour, label.locked) for label in session.labels.labels]
    return layers, soft, table, session.world_clicks, session.proposal


def _whole(session: SegmentationSession) -> Any:
    from medseg_rl.volume import Box

    return Box.whole(session.image.shape)


def is_shown(engine: Engine) -> bool:
    """Whether the views show what the session has."""
    session, view = engine.session, engine.controller.desk.view
    layers = all(np.array_equal(a, b) for a, b in zip(view.layers, session.label_layers, strict=True))
    same = view.active_label == session.active_label and view.labels == session.labels
    return layers and same and (view.proposal is None) == (session.proposal is None)


@settings(max_examples=12, deadline=None, phases=NO_SHRINK, suppress_health_check=list(HealthCheck))
@given(sequence=st.lists(acts, min_size=3, max_size=9))
def test_undo_all_and_redo_all_are_bit_identical_and_shown(engine: Engine, sequence: list[tuple[Any, ...]]) -> None:
    engine.open()
    first = state(engine.session)
    for act in sequence:
        versions, entries = engine.session.version, len(engine.session.history.done)
        active, view = engine.session.active_label, engine.controller.desk.view.slices
        do(engine, act)
        assert engine.session.version != versions or len(engine.session.history.done) == entries  # nothing: no entry
        if act[0] in ("undo", "redo"):
            assert engine.session.active_label == active or active not in engine.session.labels.values
            assert engine.controller.desk.view.slices == view
        assert is_shown(engine)
    last, count = state(engine.session), len(engine.session.history.done)
    for _ in range(count):
        engine.controller.editing.undo()
    assert engine.session.history.done == ()
    assert is_shown(engine)
    assert state(engine.session) == first
    for _ in range(count):
        engine.controller.editing.redo()
    assert state(engine.session) == last
    assert is_shown(engine)
    engine.controller.editing.go_back_to(0)
    engine.wait(lambda: not engine.session.history.done)
    engine.idle()
    assert state(engine.session) == first


@settings(max_examples=8, deadline=None, phases=NO_SHRINK, suppress_health_check=list(HealthCheck))
@given(sequence=st.lists(acts, min_size=3, max_size=8))
def test_nothing_but_undo_and_redo_changes_a_label_whose_lock_is_closed(
    engine: Engine, sequence: list[tuple[Any, ...]]
) -> None:
    engine.open()
    for act in [("click", (20, 19, 12), True), ("accept",), ("label",), *sequence]:
        session = engine.session
        locked = [v for v in session.labels.values if session.labels.is_locked(v, active=session.active_label)]
        before = {value: [layer == value for layer in session.label_layers] for value in locked}
        activates = act[0] == "next"
        do(engine, act)
        if act[0] in ("undo", "redo") or activates:
            continue
        for value, masks in before.items():
            if value in engine.session.labels.values:
                now = [layer == value for layer in engine.session.label_layers]
                assert all(np.array_equal(a, b) for a, b in zip(masks, now, strict=False)), (act, value)


def test_undo_goes_on_after_save_and_load(engine: Engine, tmp_path: Path) -> None:
    engine.open()
    for act in [("click", (20, 19, 12), True), ("accept",), ("brush", (5, 5, 5), False), ("label",)]:
        do(engine, act)
    last, names = state(engine.session), engine.session.history.undo_names
    engine.session.save(tmp_path / "case.medseg")
    again = SegmentationSession.open_saved(tmp_path / "case.medseg", engine.session.image, Painter)
    assert again.history.undo_names == names
    assert state(again) == last
    while again.undo() is not None:
        pass
    for _ in names:
        engine.controller.editing.undo()
    assert state(again) == state(engine.session)


def test_what_changes_nothing_makes_no_entry_and_the_newest_stands_in_the_menu(engine: Engine) -> None:
    engine.open()
    for act in [("accept",), ("discard",), ("fill",), ("islands",), ("undo",), ("delete",), ("refine",)]:
        do(engine, act)
        assert engine.session.history.done == (), act
    do(engine, ("brush", (20, 19, 12), False))
    do(engine, ("brush", (20, 19, 12), False))
    assert len(engine.session.history.done) == 1
    text = engine.window.acts["edit.undo"].text()
    assert engine.session.history.undo_names[0] in text
    assert "Label 1" in text
    assert "voxels" in text


def test_the_bytes_of_the_stack_are_held_and_the_newest_entry_kept(engine: Engine) -> None:
    engine.window.store.change("edit", undo_megabytes=64)
    engine.open()
    engine.session.history.cap_bytes = 2000
    for n in range(6):
        do(engine, ("brush", (8 + 4 * n, 19, 12), False))
        assert len(engine.session.history.done) >= 1
    assert len(engine.session.history.done) < 6
