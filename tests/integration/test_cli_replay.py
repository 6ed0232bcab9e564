"""`replay` as a script uses it, with real voxel agents: stored steps bit for bit, recomputed ones equal on a CPU."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from medseg_rl.bundle import load_bundle
from medseg_rl.editing import Brush
from medseg_rl.hints.clicks import ClickLabel
from medseg_rl.imageio import read_volume
from medseg_rl.session import SegmentationSession
from medseg_rl.session.safekeeping import Safekeeping

if TYPE_CHECKING:
    from conftest import Desk


@pytest.fixture
def saved(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """A session with clicks, a stroke, an undo and an open proposal, saved with its journal."""
    monkeypatch.setenv("MEDSEG_RL_HOME", str(desk.folder / "home"))
    session = SegmentationSession(read_volume(desk.image), lambda: load_bundle(None).refiner("cpu"))
    keeping = Safekeeping.begin(session, image_path=desk.image)
    session.click(desk.world((12, 11, 10)))
    session.click(desk.world((15, 11, 10)))
    session.click(desk.world((3, 3, 3)), ClickLabel.BACKGROUND)
    session.accept()
    session.edit(Brush((tuple(float(v) for v in desk.world((8, 8, 8))),), 3.0))
    session.undo()
    session.refine()
    keeping.save(desk.folder / "case.medseg")
    keeping.save(desk.folder / "portable.medseg", portable=True)
    keeping.close()
    return desk.folder / "case.medseg"


def test_stored_steps_lead_to_the_saved_session(desk: Desk, saved) -> None:
    answer = desk.run("replay", saved)
    assert answer.code == 0, answer.stderr
    assert "identical to the saved session" in answer.stdout
    assert desk.run("replay", saved, "--json").json["steps"] == 7


def test_the_same_agents_compute_every_step_anew_to_the_same_voxels(desk: Desk, saved) -> None:
    answer = desk.run("replay", saved, "--mode", "recompute", "--json")
    assert answer.code == 0, answer.stderr
    assert answer.json["identical"]
    assert [step["action"] for step in answer.json["recomputed"]] == ["click", "click", "click", "edit", "refine"]
    assert desk.run("replay", desk.folder / "portable.medseg", "--mode", "recompute", "--image", desk.image).code == 0


def test_what_cannot_be_replayed_is_told_in_one_line(desk: Desk, saved) -> None:
    answer = desk.run("replay", desk.folder / "portable.medseg", "--mode", "recompute")
    assert answer.code == 3
    assert "give it with --image" in answer.stderr
    (desk.folder / "short.medseg").write_bytes(saved.read_bytes()[:-100])
    answer = desk.run("replay", desk.folder / "short.medseg")
    assert answer.code == 3
    assert answer.stderr.count("\n") == 1


def test_other_agents_are_found_out_and_leave_with_code_8(desk: Desk, saved, monkeypatch: pytest.MonkeyPatch) -> None:
    from medseg_rl.agent.refine import VoxelAgentRefiner

    monkeypatch.setattr(VoxelAgentRefiner, "refine", lambda self, request, **_: request.percent.copy())
    answer = desk.run("replay", saved, "--mode", "recompute")
    assert answer.code == 8
    assert "4 of them differ" in answer.stdout


def test_segment_saves_what_it_did_and_replay_does_it_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_RL_HOME", str(desk.folder / "home"))
    kept = desk.folder / "kept.medseg"
    answer = desk.segment("--start", "automatic", "--session", kept)
    assert answer.code == 0, answer.stderr
    again = desk.run("replay", kept, "--mode", "recompute", "--json").json
    assert again["identical"]
    assert [step["action"] for step in again["recomputed"]][-1] == "click"
    session = SegmentationSession.open_saved(kept, read_volume(desk.image), lambda: load_bundle(None).refiner("cpu"))
    np.testing.assert_array_equal(session.label_map, desk.mask)
    said = json.loads((desk.folder / "mask.provenance.json").read_text())
    assert len(said["journal_sha256"]) == 64
    assert said["steps"] == 3
    assert [model["bundle_hash"] for model in said["models"]] == [load_bundle(None).hash]
    assert said["written"]["model"] > 0
    assert not list((desk.folder / "home").glob("cases/*"))


def test_a_session_that_could_not_be_written_stops_segment_before_any_work(desk: Desk) -> None:
    for name, what in (("kept.zip", "ends in .medseg"), ("nowhere/kept.medseg", "there is no folder")):
        answer = desk.segment("--session", desk.folder / name)
        assert answer.code == 7
        assert what in answer.stderr
        assert not (desk.folder / "mask.nii.gz").exists()


def test_another_bundle_than_that_of_the_session_is_named(desk: Desk, saved, monkeypatch: pytest.MonkeyPatch) -> None:
    from medseg_rl.bundle import Bundle

    assert desk.run("replay", saved, "--mode", "recompute").stderr == ""
    monkeypatch.setattr(Bundle, "hash", property(lambda self: "f" * 64))
    answer = desk.run("replay", saved, "--mode", "recompute")
    assert "the session was made with" in answer.stderr
    assert "done anew with untrained ffffffffffff" in answer.stderr
