"""Saved sessions: nothing is lost over save and load, undo and redo go on bit for bit, bad files are told in a line."""

from __future__ import annotations

import importlib.util
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg_rl.editing import Brush, Islands
from medseg_rl.errors import ClickError, InputFileError, MedSegError, OutputError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.interaction import InteractionConfig
from medseg_rl.journal.formats import FORMAT_VERSION
from medseg_rl.journal.values import expanded
from medseg_rl.session import SegmentationSession
from medseg_rl.session.replay import replay_recomputed, replay_stored
from medseg_rl.session.session_file import describe_session
from medseg_rl.session.stored_state import taken_from
from medseg_rl.volume import Volume, content_hash

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "sessions"
_spec = importlib.util.spec_from_file_location("write_session_fixture", FIXTURES / "write_session_fixture.py")
fixture = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fixture)

SHAPE = (14, 12, 10)
OBJECT, BACKGROUND = ClickLabel.FOREGROUND, ClickLabel.BACKGROUND


def image(seed=1, affine=fixture.TURNED):
    return Volume(np.random.default_rng(seed).normal(0, 1, SHAPE).astype(np.float32), affine, "MR")


def session_of(seed=1, **options):
    return SegmentationSession(image(seed), fixture.Painter(), **options)


def state(session):
    """Everything of a session that anybody could see or undo, for comparing."""
    whole = taken_from(session)
    arrays = {}
    for key, dtype, box, values in whole.arrays:
        array = np.zeros(whole.shape, dtype)
        if box is not None:
            array[box.slices] = values
        arrays[key] = array.tobytes()
    entries = [(e.name, e.action, dict(e.parameters), e.subject) for e in (*whole.done, *whole.undone)]
    small = (whole.active, whole.version, whole.dropped, whole.undo_bytes, len(whole.done), whole.config)
    return arrays, expanded(whole.ledger), entries, small


ACTION_NAMES = [
    "click",
    "erase",
    "accept",
    "discard",
    "undo",
    "redo",
    "add",
    "activate",
    "lock",
    "delete",
    "brush",
    "wipe",
    "overwrite",
    "rename",
    "remove",
    "islands",
]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(ACTION_NAMES),
        st.tuples(*(st.integers(0, n - 1) for n in SHAPE)),
    ),
    max_size=25,
)


def act(session, kind, index):
    """One action of a careless user; what the session refuses does not happen."""
    value = session.labels.values[sum(index) % len(session.labels.values)]
    try:
        match kind:
            case "click" | "erase":
                session.click_voxels([Click(index, OBJECT if kind == "click" else BACKGROUND)])
            case "add":
                session.add_label()
            case "activate":
                session.activate(value)
            case "lock":
                session.set_lock(value, not session.labels[value].locked)
            case "brush" | "wipe":
                point = tuple(float(v) for v in session.image.index_to_world(index))
                session.edit(Brush((point,), 4.0, erase=kind == "wipe"))
            case "overwrite":
                session.overwrite = ("keep", "replace", "overlap")[sum(index) % 3]
            case "rename":
                session.rename_label(value, f"label of {sum(index)}")
            case "remove":
                session.delete_label(value)
            case "islands":
                session.edit(Islands("keep_largest"))
            case "delete" if session.clicks:
                session.delete_click(index[0] % len(session.clicks))
            case "accept" | "discard" | "undo" | "redo":
                getattr(session, kind)()
    except (MedSegError, ClickError):
        pass


@settings(max_examples=25)
@given(ACTIONS, ACTIONS)
def test_a_session_goes_on_after_a_load_as_if_it_had_never_been_saved(tmp_path_factory, before, after):
    path = tmp_path_factory.mktemp("sessions") / "a.medseg"
    session = session_of()
    for kind, index in before:
        act(session, kind, index)
    session.save(path)
    loaded = SegmentationSession.open_saved(path, image(), fixture.Painter())
    assert state(loaded) == state(session)
    for kind, index in after:
        act(session, kind, index)
        act(loaded, kind, index)
    assert state(loaded) == state(session)
    for step in ("undo", "redo"):
        while getattr(session, step)():
            assert getattr(loaded, step)() is not None
            np.testing.assert_array_equal(loaded.label_map, session.label_map)
        assert state(loaded) == state(session)


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.medseg")), ids=lambda path: path.stem)
def test_sessions_of_every_version_open_with_all_that_is_in_them(path):
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    session = SegmentationSession.open_saved(path, None, fixture.Painter())
    found = json.loads(json.dumps(fixture.every_fact(session)))
    assert {when: {key: found[when][key] for key in facts} for when, facts in expected.items()} == expected
    assert describe_session(path).view == {"windows": {"MR": [100, 50]}, "slice": 7}
    assert replay_stored(path).is_identical
    assert replay_recomputed(path, None, fixture.Painter()).is_identical


def test_there_is_a_fixture_of_every_version_up_to_the_present():
    assert {path.stem for path in FIXTURES.glob("*.medseg")} == {f"session-v{v}" for v in range(1, FORMAT_VERSION + 1)}


def test_the_undo_list_keeps_its_cap_and_what_it_dropped(tmp_path):
    session = session_of(undo_bytes=2000)
    for i in range(6):
        act(session, "click", (2 * i, 5, 5))
    assert session.history.dropped > 0
    session.save(tmp_path / "a.medseg")
    loaded = SegmentationSession.open_saved(tmp_path / "a.medseg", image(), fixture.Painter())
    assert loaded.history.notice == session.history.notice
    assert loaded.history.nbytes == session.history.nbytes


def test_label_values_names_colours_and_wide_types_survive(tmp_path):
    values = np.zeros(SHAPE, np.int32)
    values[2:5, 2:5, 2:5], values[7:9, 7:9, 7:9], values[1, 1, 1] = 70000, 300, 7
    config = InteractionConfig(edit_radius_mm=None)
    session = session_of(label_map=image().with_array(values), active=300, config=config)
    session.save(tmp_path / "a.medseg", view={"zoom": 2})
    loaded = SegmentationSession.open_saved(tmp_path / "a.medseg", image(), fixture.Painter())
    np.testing.assert_array_equal(loaded.label_map, values)
    assert loaded.label_map.dtype == session.label_map.dtype
    assert loaded.labels == session.labels
    assert loaded.active_label == 300
    assert loaded.config.edit_radius_mm is None
    assert describe_session(tmp_path / "a.medseg").view == {"zoom": 2}


def test_a_session_holds_no_voxel_and_no_path_of_its_image_unless_asked(tmp_path):
    session = session_of()
    act(session, "click", (5, 5, 5))
    session.save(tmp_path / "a.medseg")
    with pytest.raises(InputFileError, match="no image voxels"):
        SegmentationSession.open_saved(tmp_path / "a.medseg", None, fixture.Painter())
    assert describe_session(tmp_path / "a.medseg").image_path is None
    session.save(tmp_path / "b.medseg", with_voxels=True, image_path=Path("/data/x.nii.gz"))
    assert describe_session(tmp_path / "b.medseg").image_path == Path("/data/x.nii.gz")
    loaded = SegmentationSession.open_saved(tmp_path / "b.medseg", None, fixture.Painter())
    assert content_hash(loaded.image) == content_hash(session.image)
    with zipfile.ZipFile(tmp_path / "b.medseg") as archive:
        assert [name for name in archive.namelist() if b"x.nii.gz" in archive.read(name)] == ["image.json"]


@pytest.mark.parametrize(
    "other",
    [
        image(2),
        image(1, np.eye(4)),
        Volume(np.zeros((3, 3, 3), np.float32), np.eye(4)),
    ],
)
def test_another_image_is_refused(tmp_path, other):
    session_of().save(tmp_path / "a.medseg")
    with pytest.raises(InputFileError, match=r"a\.medseg.*image"):
        SegmentationSession.open_saved(tmp_path / "a.medseg", other, fixture.Painter())


def test_a_file_cut_off_anywhere_is_told_in_one_line(tmp_path):
    session = session_of()
    for i in range(4):
        act(session, "click", (3 * i, 5, 5))
    session.save(tmp_path / "a.medseg")
    content = (tmp_path / "a.medseg").read_bytes()
    for size in range(0, len(content), 23):
        (tmp_path / "b.medseg").write_bytes(content[:size])
        with pytest.raises(InputFileError, match=r"b\.medseg") as told:
            SegmentationSession.open_saved(tmp_path / "b.medseg", image(), fixture.Painter())
        assert "\n" not in str(told.value)


@settings(max_examples=60)
@given(st.data())
def test_a_state_with_a_changed_number_opens_as_a_session_or_is_told(tmp_path_factory, data):
    """Not random bytes, which the checksum finds, but a file that somebody made with a wrong number in it."""
    folder = tmp_path_factory.mktemp("forged")
    session = session_of()
    for index in ((5, 5, 5), (8, 5, 5), (2, 2, 2)):
        act(session, "click", index)
    act(session, "accept", (0, 0, 0))
    act(session, "click", (9, 9, 9))
    session.save(folder / "a.medseg")
    with zipfile.ZipFile(folder / "a.medseg") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    content = json.loads(parts["state/state.json"])
    wrong = data.draw(st.sampled_from([-1, 0, 1, 7, 2**40, None, "x", [], [[]], {}, True, 0.5]))
    _replaced(content, data, wrong)
    parts["state/state.json"] = json.dumps(content).encode()
    with zipfile.ZipFile(folder / "b.medseg", "w") as archive:
        for name, part in parts.items():
            kind = zipfile.ZIP_DEFLATED if "array" in name else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name), part, kind)
    try:
        loaded = SegmentationSession.open_saved(folder / "b.medseg", image(), fixture.Painter())
    except InputFileError as error:
        assert "\n" not in str(error)  # noqa: PT017  (an error is one of two right outcomes)
        return
    _ = loaded.mask, loaded.percent, loaded.clicks, loaded.proposal
    while loaded.undo():
        pass
    while loaded.redo():
        pass


def _replaced(content, data, wrong):
    """Puts a wrong value somewhere into nested lists and tables."""
    while True:
        key = data.draw(st.sampled_from(sorted(content) if isinstance(content, dict) else range(len(content))))
        inner = content[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.integers(0, 5)) == 0:
            content[key] = wrong
            return
        content = inner


def test_a_session_of_a_later_program_says_so(tmp_path):
    session_of().save(tmp_path / "a.medseg")
    with zipfile.ZipFile(tmp_path / "a.medseg") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(parts["session.json"]) | {"version": FORMAT_VERSION + 1}
    with zipfile.ZipFile(tmp_path / "a.medseg", "w") as archive:
        for name, part in (parts | {"session.json": json.dumps(manifest).encode()}).items():
            archive.writestr(name, part)
    with pytest.raises(InputFileError, match="reads up to"):
        SegmentationSession.open_saved(tmp_path / "a.medseg", image(), fixture.Painter())


@pytest.mark.parametrize("path", ["no such file.medseg", "."])
def test_what_is_not_there_is_told(tmp_path, path):
    with pytest.raises(InputFileError):
        SegmentationSession.open_saved(tmp_path / path, image(), fixture.Painter())


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    session = session_of()
    session.save(tmp_path / "a.medseg")
    before = (tmp_path / "a.medseg").read_bytes()
    act(session, "click", (5, 5, 5))

    def broken(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OutputError, match="disk"):
        session.save(tmp_path / "a.medseg")
    assert (tmp_path / "a.medseg").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.medseg"]


def test_a_read_only_session_changes_nothing_and_says_why():
    session = session_of()
    act(session, "click", (5, 5, 5))
    before = state(session)
    session.read_only = "another window has the case open (process 7)"
    for action in (session.undo, session.accept, session.add_label, session.refine, session.discard):
        with pytest.raises(MedSegError, match="process 7"):
            action()
    assert state(session) == before
