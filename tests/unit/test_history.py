"""Box deltas and the undo stack: bit for bit, within their bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medseg_rl.history import BoxDelta, UndoEntry, UndoStack, write_box
from medseg_rl.volume import Box

DTYPES = st.sampled_from([np.uint8, np.uint16, np.int32])
SHAPE = (7, 6, 5)


@st.composite
def pairs(draw):
    """Two arrays of one shape and type, mostly equal."""
    dtype = draw(DTYPES)
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=6))
    values = st.integers(0, 3)
    before = draw(hnp.arrays(dtype, shape, elements=values, fill=st.just(0)))
    after = np.where(draw(hnp.arrays(bool, shape)), draw(hnp.arrays(dtype, shape, elements=values)), before)
    return before, after.astype(dtype)


@given(pairs(), st.tuples(*[st.integers(0, 4)] * 3))
def test_a_delta_applies_and_reverts_bit_for_bit(pair, start):
    before, after = pair
    delta = BoxDelta.encode(start, before, after)
    if delta is None:
        assert np.array_equal(before, after)
        return
    whole = np.full([n + s + 2 for n, s in zip(before.shape, start, strict=True)], 3, before.dtype)
    inside = tuple(slice(s, s + n) for n, s in zip(before.shape, start, strict=True))
    whole[inside] = before
    untouched = whole.copy()
    delta.apply(whole)
    assert np.array_equal(whole[inside], after)
    delta.revert(whole)
    assert np.array_equal(whole, untouched)
    assert delta.voxels == np.count_nonzero(before != after)


@given(pairs())
def test_the_box_of_a_delta_is_tight(pair):
    before, after = pair
    delta = BoxDelta.encode((0, 0, 0), before, after)
    expected = Box.around_mask(before != after)
    assert (delta is None) == (expected is None)
    if delta is not None:
        assert delta.box == expected


def test_writing_what_is_there_makes_no_delta():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert write_box(array, (0, 1, 1), array[:, 1:, 1:].copy()) is None


def test_a_delta_of_one_region_costs_its_changed_voxels_and_not_the_volume():
    array = np.zeros((200, 200, 200), np.uint8)
    ball = np.sum(np.square(np.indices((41, 41, 41)) - 20), axis=0) <= 400
    delta = write_box(array, (80, 80, 80), np.where(ball, np.uint8(99), np.uint8(0)))
    assert delta is not None
    assert delta.nbytes < 4000  # 68,921 voxels in the box


def test_a_delta_can_be_applied_to_a_part_of_the_volume():
    before, after = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    after[2, 2, 2] = 7
    delta = BoxDelta.encode((10, 10, 10), before, after)
    part = np.zeros((6, 6, 6), np.uint8)
    delta.apply(part, origin=(9, 9, 9))
    assert part[3, 3, 3] == 7
    assert part.sum() == 7


def test_a_delta_refuses_an_array_it_is_not_of():
    after = np.ones((2, 2, 2), np.uint8)
    delta = BoxDelta.encode((3, 3, 3), np.zeros_like(after), after)
    with pytest.raises(ValueError, match="uint8"):
        delta.apply(np.zeros((8, 8, 8), np.int32))
    with pytest.raises(ValueError, match="covers"):
        delta.apply(np.zeros((4, 4, 4), np.uint8))


@dataclass
class Case:
    """The smallest owner of a stack: two arrays and a list of clicks."""

    stack: UndoStack[tuple[int, ...]]

    def __post_init__(self):
        self.arrays = {"labels": np.zeros(SHAPE, np.int32), "percent": np.ones(SHAPE, np.uint8)}
        self.clicks: tuple[int, ...] = ()

    def act(self, rng):
        before, deltas = self.clicks, []
        for key, array in self.arrays.items():
            start = rng.integers(0, 4, 3)
            size = rng.integers(1, np.array(SHAPE) - start + 1)
            delta = write_box(array, tuple(int(s) for s in start), rng.integers(1, 4, size).astype(array.dtype))
            if delta is not None:
                deltas.append((key, delta))
        self.clicks = (*self.clicks, int(rng.integers(100)))
        self.stack.push(UndoEntry(f"action {len(self.clicks)}", tuple(deltas), before, self.clicks))

    def undo(self):
        entry = self.stack.undo()
        if entry is not None:
            for key, delta in reversed(entry.deltas):
                delta.revert(self.arrays[key])
            self.clicks = entry.before
        return entry is not None

    def redo(self):
        entry = self.stack.redo()
        if entry is not None:
            for key, delta in entry.deltas:
                delta.apply(self.arrays[key])
            self.clicks = entry.after
        return entry is not None

    def state(self):
        return self.arrays["labels"].tobytes(), self.arrays["percent"].tobytes(), self.clicks


@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(["act", "act", "undo", "redo"]), max_size=25))
def test_undo_all_and_redo_all_are_bit_identical(seed, moves):
    rng, case = np.random.default_rng(seed), Case(UndoStack())
    first = case.state()
    for move in moves:
        if move == "act":
            case.act(rng)
        else:
            getattr(case, move)()
    last = case.state()
    done = len(case.stack.undo_names)
    while case.undo():
        pass
    assert case.state() == first
    for _ in range(done):
        assert case.redo()
    assert case.state() == last


@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from(["act", "act", "act", "undo"]), min_size=1, max_size=25))
def test_the_byte_cap_holds_and_what_is_left_undoes_bit_for_bit(seed, moves):
    rng, case = np.random.default_rng(seed), Case(UndoStack(cap_bytes=3000))
    states = []  # the state before each entry that can be undone
    for move in moves:
        if move == "act":
            states = [*states[: len(case.stack.undo_names)], case.state()]
            case.act(rng)
            states = states[-len(case.stack.undo_names) :]
        elif case.undo():
            assert case.state() == states[len(case.stack.undo_names)]
        assert case.stack.nbytes <= 3000 or len(case.stack.undo_names) <= 1
    for expected in reversed(states[: len(case.stack.undo_names)]):
        assert case.undo()
        assert case.state() == expected


def test_the_oldest_entry_goes_first_and_the_stack_says_so():
    stack: UndoStack[None] = UndoStack(cap_bytes=1100)
    assert stack.notice == ""
    dropped = [stack.push(UndoEntry(name, (), None, None)) for name in ("one", "two", "three")]
    assert dropped == [(), (), ("one",)]
    assert stack.undo_names == ("three", "two")
    assert stack.dropped == 1
    assert "1 oldest entry dropped" in stack.notice


def test_the_newest_entry_is_kept_whatever_it_weighs():
    rng = np.random.default_rng(0)
    array = np.zeros((20, 20, 20), np.uint8)
    delta = write_box(array, (0, 0, 0), rng.integers(0, 255, array.shape).astype(np.uint8))
    stack: UndoStack[None] = UndoStack(cap_bytes=600)
    stack.push(UndoEntry("small", (), None, None))
    stack.push(UndoEntry("large", (("array", delta),), None, None))
    assert stack.undo_names == ("large",)
    assert stack.nbytes > stack.cap_bytes


def test_a_new_action_ends_what_could_be_done_again():
    stack: UndoStack[None] = UndoStack()
    stack.push(UndoEntry("one", (), None, None))
    stack.undo()
    assert stack.redo_names == ("one",)
    stack.push(UndoEntry("two", (), None, None))
    assert stack.redo_names == ()
    assert stack.redo() is None
    assert stack.nbytes == UndoEntry("two", (), None, None).nbytes


@given(pairs(), st.integers(0, 2))
def test_what_a_delta_brings_above_a_level_is_what_counting_says(pair, level):
    before, after = pair
    delta = BoxDelta.encode((1, 2, 3), before, after)
    if delta is None:
        return
    entered, left = (after > level) & ~(before > level), (before > level) & ~(after > level)
    crossing = delta.crossing(level)
    assert (crossing.entered, crossing.left) == (np.count_nonzero(entered), np.count_nonzero(left))
    tight = Box.around_mask(entered | left)
    assert crossing.box == (None if tight is None else tight.shifted((1, 2, 3)))
    gained = (entered.astype(int) - left)[delta.box.shifted((-1, -2, -3)).slices]
    for axis, gains in enumerate(crossing.gains):
        assert gains.tolist() == gained.sum(axis=tuple(a for a in range(3) if a != axis)).tolist()
    back = delta.inverse.crossing(level)
    assert (back.entered, back.left, back.box) == (crossing.left, crossing.entered, crossing.box)


@given(pairs())
def test_a_delta_that_keeps_its_values_does_what_it_does_once_it_let_them_go(pair):
    before, after = pair
    kept, bare = BoxDelta.encode((0, 0, 0), before, after, keep=True), BoxDelta.encode((0, 0, 0), before, after)
    if kept is None or bare is None:
        return
    assert np.array_equal(kept.new_values(), bare.new_values())
    elsewhere = np.full_like(before, 7)  # what the delta does not cover stays, also in an array it was not made of
    expected = elsewhere.copy()
    bare.apply(expected)
    for _ in range(2):
        found = elsewhere.copy()
        kept.apply(found)
        assert np.array_equal(found, expected)
        kept.let_go()


@given(pairs())
def test_the_inverse_of_a_delta_takes_it_back(pair):
    before, after = pair
    delta = BoxDelta.encode((0, 0, 0), before, after, keep=True)
    if delta is None:
        return
    array = after.copy()
    delta.inverse.apply(array)
    assert np.array_equal(array, before)
    delta.inverse.revert(array)
    assert np.array_equal(array, after)


def test_what_is_on_the_undo_stack_holds_no_values_but_the_compressed_ones():
    delta = BoxDelta.encode((0, 0, 0), np.zeros((4, 4, 4), np.uint8), np.ones((4, 4, 4), np.uint8), keep=True)
    UndoStack().push(UndoEntry("one", (("a", delta),), None, None))
    assert not any(isinstance(value, np.ndarray) for value in delta._known.values())


def test_a_delta_made_of_a_view_still_knows_what_it_changed_after_it_was_applied_there():
    array = np.zeros((4, 4, 4), np.uint8)
    after = array.copy()
    after[1:3, 1:3, 1:3] = 9
    delta = BoxDelta.encode((0, 0, 0), array, after, keep=True)
    delta.apply(array)
    assert delta.crossing(5).entered == 8
