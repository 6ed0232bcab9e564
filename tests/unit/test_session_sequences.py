"""Any sequence of actions: undo all and redo all are bit-identical, locks hold, events tell enough to do it again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg_rl.session.requests import do_again
from tests.unit.session_actions import KINDS, act, check, everything, locked_masks, settle, started

SEQUENCES = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2**32 - 1)), min_size=1, max_size=16)
VARIANTS = st.integers(0, 3)


def undo_and_redo_all(session, first):
    last, names = everything(session), session.history.undo_names
    while session.undo():
        pass
    assert everything(session) == first
    for _ in names:
        assert session.redo()
    assert everything(session) == last


@given(SEQUENCES, VARIANTS)
@settings(max_examples=80)
def test_undo_all_and_redo_all_are_bit_identical_whatever_was_done(actions, variant):
    session = started(variant=variant)
    first = everything(session)
    for kind, seed in actions:
        settle(session, kind, seed)
        act(session, kind, seed)
        check(session)
    undo_and_redo_all(session, first)


@given(SEQUENCES, VARIANTS)
@settings(max_examples=80)
def test_nothing_but_undo_redo_and_its_own_deletion_changes_a_locked_label_in_any_layer(actions, variant):
    session = started(variant=variant)
    for kind, seed in actions:
        settle(session, kind, seed)
        before = locked_masks(session)
        act(session, kind, seed)
        if kind not in ("undo", "redo"):
            for value, mask in before.items():
                if value in session.labels:
                    now = np.any([layer == value for layer in session._arrays.layers], axis=0)
                    assert np.array_equal(now, mask)


@given(SEQUENCES, VARIANTS)
@settings(max_examples=40)
def test_doing_again_what_events_tell_leads_to_the_same_session(actions, variant):
    session, twin, events = started(variant=variant), started(variant=variant), []
    session.observers.append(lambda event: events.append((event, session.active_label)))
    for kind, seed in actions:
        if kind != "start":  # its mask is not among the parameters
            settle(session, kind, seed)
            act(session, kind, seed)
    for event, active in events:
        if event.direction == "do":
            if event.label in twin.labels:
                twin.active_label = event.label if event.action not in TABLE_ACTIONS else twin.active_label
            assert do_again(twin, event.action, json.loads(json.dumps(event.parameters)))
        else:
            getattr(twin, event.direction)()
        twin.active_label = active
    assert everything(twin) == everything(session)


TABLE_ACTIONS = ("add_label", "rename_label", "recolour_label", "lock_label", "delete_label")


@given(SEQUENCES, VARIANTS)
@settings(max_examples=30)
def test_every_version_is_told_of_once(actions, variant):
    session, versions = started(variant=variant), []
    begun = session.version
    session.observers.append(lambda event: versions.append((event.base_version, event.version)))
    for kind, seed in actions:
        act(session, kind, seed)
    assert versions == [(n, n + 1) for n in range(begun, session.version)]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_ten_thousand_random_sequences(part):
    rng = np.random.default_rng(part)
    for _ in range(500):
        session = started(variant=int(rng.integers(4)))
        first = everything(session)
        for _ in range(int(rng.integers(1, 13))):
            kind = KINDS[int(rng.integers(len(KINDS)))]
            seed = int(rng.integers(2**32))
            settle(session, kind, seed)
            before = locked_masks(session) if kind not in ("undo", "redo") else {}
            act(session, kind, seed)
            check(session)
            for value, mask in before.items():
                if value in session.labels:
                    now = np.any([layer == value for layer in session._arrays.layers], axis=0)
                    assert np.array_equal(now, mask)
        undo_and_redo_all(session, first)
