"""A session that is killed at any moment is there again: the short form of `benchmarks/session_kills.py`."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system with fork")

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "session_kills.py"


@pytest.fixture
def session_kills(monkeypatch):
    monkeypatch.setenv("MEDSEG_RL_HOME", "")  # given back after the test; the script sets its own
    spec = importlib.util.spec_from_file_location("session_kills", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "session_kills", module)  # its dataclasses ask for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)  # a child works at once, alone
def test_nothing_that_was_acknowledged_is_lost_by_kills(session_kills):
    outcome = session_kills.kill(8, seed=11)
    assert outcome.kills == 8
    assert outcome.steps > 5
    assert outcome.lost == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_count_of_losses_finds_a_journal_that_forgets(session_kills, monkeypatch):
    monkeypatch.setattr(session_kills.Safekeeping, "_flush", lambda keeping: keeping._pending.clear())
    monkeypatch.setattr(session_kills, "LONGEST_LIFE", 1.0)
    assert session_kills.kill(6, seed=12).lost != []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_nothing_is_lost_by_two_hundred_kills(session_kills):
    outcome = session_kills.kill(200, seed=13)
    assert outcome.kills == 200
    assert outcome.lost == []
