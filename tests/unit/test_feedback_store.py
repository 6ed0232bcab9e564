"""The local feedback store: nothing without consent, nothing lost that was acknowledged, nothing left when deleted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg_rl import __version__
from medseg_rl.cli import app
from medseg_rl.errors import OutputError
from medseg_rl.rlhf.arrays import encoded, read_array
from medseg_rl.rlhf.consent import CONSENT_VERSION, ConsentError
from medseg_rl.rlhf.manifest import read_records
from medseg_rl.rlhf.records import (
    Abstention,
    Demonstration,
    Game,
    Grid,
    Ranking,
    RecordError,
    Text,
    VolumePrompt,
    new_record_id,
)
from medseg_rl.rlhf.store import FeedbackStore

GRID = Grid(spacing=(1.0, 1.0, 2.0), start=(0, 0, 0), shape=(6, 5, 4), volume_shape=(6, 5, 4))
COMMON = {
    "case_id": "case-0011aabb",
    "group_id": "case-0011aabb",
    "annotator": "annotator-7f",
    "annotator_kind": "human",
}


def array(seed, dtype=np.uint8):
    return np.random.default_rng(seed).integers(1, 100, GRID.shape).astype(dtype)


def demonstration(seed=0, *, image=False, **changes):
    """A record and its encoded arrays."""
    start, mask, voxels = encoded(array(seed)), encoded(array(seed + 100) > 50), encoded(array(seed, np.float32))
    prompt = VolumePrompt(grid=GRID, initial_probability=start[0], image=voxels[0] if image else None)
    record = Demonstration(**{**COMMON, "prompt": prompt, "completion": mask[0], "may_train": True, **changes})
    return record, [start, mask, *([voxels] if image else [])]


@pytest.fixture
def store(tmp_path):
    store = FeedbackStore(tmp_path / "feedback")
    store.set_consent(store=True)
    return store


# ---- consent ---------------------------------------------------------------------------------------------------------


def test_without_an_answer_nothing_is_stored_and_not_even_the_folder_is_made(tmp_path):
    store = FeedbackStore(tmp_path / "feedback")
    assert not store.consent.allows_storing
    with pytest.raises(ConsentError, match="not allowed"):
        store.append(*demonstration())
    assert list(tmp_path.iterdir()) == []
    assert store.records() == ()


def test_an_answer_no_stores_nothing_and_an_answer_taken_back_stores_no_more(tmp_path, store):
    store.append(*demonstration())
    store.set_consent(store=False)
    with pytest.raises(ConsentError):
        store.append(*demonstration(1))
    assert len(store.records()) == 1
    untouched = FeedbackStore(tmp_path / "other")
    assert not untouched.set_consent(store=False).allows_storing
    assert not (tmp_path / "other").exists()


def test_image_voxels_need_a_second_yes(store):
    with pytest.raises(ConsentError, match="image voxels"):
        store.append(*demonstration(image=True))
    assert not (store.folder / "arrays").exists()
    store.set_consent(store=True, images=True)
    store.append(*demonstration(image=True))
    assert store.records()[0].has_image
    with pytest.raises(ConsentError, match="first"):
        store.set_consent(store=False, images=True)


def test_a_consent_to_an_older_text_or_a_damaged_one_is_none(store):
    path = store.folder / "consent.json"
    given = json.loads(path.read_text())
    path.write_text(json.dumps({**given, "version": CONSENT_VERSION - 1}))
    with pytest.raises(ConsentError):
        store.append(*demonstration())
    assert "nothing is stored" in store.consent.line
    for damaged in ("", "{", "[]", '{"store": "yes"}', json.dumps({**given, "telephone": 1}), "\x00"):
        path.write_text(damaged)
        assert not store.consent.allows_storing
        with pytest.raises(ConsentError):
            store.append(*demonstration())


def test_the_pseudonym_of_the_annotator_outlives_a_change_of_mind(store):
    first = store.consent.annotator
    assert first.startswith("annotator-")
    store.set_consent(store=False)
    assert store.set_consent(store=True).annotator == first


# ---- append and read -------------------------------------------------------------------------------------------------


def test_what_was_appended_is_read_back_with_its_arrays(store):
    given = [demonstration(seed) for seed in range(3)]
    for record, arrays in given:
        store.append(record, arrays)
    assert store.records() == tuple(record for record, _ in given)
    assert np.array_equal(store.read_array(given[2][0].completion), array(102) > 50)
    assert store.holds(given[1][0].record_id)
    assert not store.holds("nothing")


def test_the_same_array_is_stored_once(store):
    store.append(*demonstration(0))
    store.append(*demonstration(0))
    assert store.summary().array_files == 2
    assert store.summary().records == 2


def test_a_record_whose_array_is_nowhere_is_refused_and_nothing_is_written(store):
    record, arrays = demonstration()
    with pytest.raises(RecordError, match="missing"):
        store.append(record, arrays[:1])
    assert store.records() == ()


def test_free_text_has_no_place_in_the_store(store):
    for record in (
        Text(**COMMON, text="Patient Doe"),
        Ranking(**COMMON, prompt="a", completions=("b", "c"), ranks=(1, 2)),
        replace(demonstration()[0], completion="Patient Doe"),
    ):
        with pytest.raises(RecordError) as error:
            store.append(record)
        assert "Doe" not in str(error.value)
    assert store.records() == ()


def test_an_amendment_must_name_a_stored_record_of_its_kind(store):
    record, arrays = demonstration()
    store.append(record, arrays)
    store.append(replace(record, record_id="b", amends=record.record_id, interactions=4))
    with pytest.raises(RecordError, match="amends"):
        store.append(replace(record, record_id="c", amends="elsewhere"))
    with pytest.raises(RecordError, match="amends"):
        store.append(Game(**COMMON, amends="b", click_budget=3, first="a", second="b", result="draw"))
    summary = store.summary()
    assert (summary.records, summary.kinds, summary.amended) == (2, {"demonstration": 1}, 1)


def test_a_line_cut_by_a_power_failure_is_gone_with_the_next_append_and_harms_no_other(store):
    for seed in range(2):
        store.append(*demonstration(seed))
    path = store.folder / "records.jsonl"
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in (first, first + 1, first + 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert len(store.records()) == 1
        store.append(*demonstration(5))
        assert [r.completion for r in store.records()] == [demonstration(s)[0].completion for s in (0, 5)]


def test_a_full_disk_leaves_the_manifest_as_it_was(store, monkeypatch):
    store.append(*demonstration())
    before = (store.folder / "records.jsonl").read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    record, arrays = demonstration(0, interactions=2)
    monkeypatch.setattr("medseg_rl.rlhf.store.os.fsync", full)
    with pytest.raises(OutputError, match="No space"):
        store.append(record, arrays)
    assert (store.folder / "records.jsonl").read_bytes() == before


WRITER = """
import sys, itertools
from pathlib import Path
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.rlhf.records import Game
store = FeedbackStore(Path(sys.argv[1]))
for n in itertools.count() if sys.argv[2] == "forever" else range(int(sys.argv[2])):
    store.append(Game(case_id="case-0011aabb", group_id="g", annotator=sys.argv[3], annotator_kind="human",
                      click_budget=n, first="a", second="b", result="draw"))
    print(n, flush=True)
"""


def writer(store, count, name):
    command = [sys.executable, "-c", WRITER, str(store.folder), str(count), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_programs_append_to_one_store_and_no_line_is_torn_or_lost(store):
    programs = [writer(store, 15, f"program-{n}") for n in range(2)]
    assert [program.wait(60) for program in programs] == [0, 0]
    for program in programs:
        program.stdout.close()
    found = [(record.annotator, record.click_budget) for record in store.records()]
    assert sorted(found) == sorted((f"program-{n}", budget) for n in range(2) for budget in range(15))


@pytest.mark.parametrize("moment", [0.03, 0.11])
def test_after_a_kill_every_acknowledged_record_is_there(store, moment):
    program = writer(store, "forever", "killed")
    assert program.stdout.readline() == "0\n"
    time.sleep(moment)
    program.send_signal(signal.SIGKILL)
    acknowledged = [0, *(int(line) for line in program.stdout.read().split("\n") if line)]
    program.wait(30)
    program.stdout.close()
    budgets = [record.click_budget for record in store.records()]
    assert budgets[: len(acknowledged)] == acknowledged
    assert len(budgets) <= len(acknowledged) + 1
    store.append(*demonstration())
    assert len(store.records()) == len(budgets) + 1


# ---- delete, export --------------------------------------------------------------------------------------------------


def test_deleting_empties_the_store_and_keeps_the_answer(store):
    for seed in range(3):
        store.append(*demonstration(seed))
    assert store.delete_all() == 3
    assert store.records() == ()
    assert {path.name for path in store.folder.rglob("*")} == {"consent.json", ".lock"}
    assert store.consent.allows_storing
    assert store.delete_all() == 0


def test_a_deletion_that_was_cut_short_is_finished_by_the_next_append_and_hides_the_rest_until_then(store):
    for seed in range(3):
        store.append(*demonstration(seed))
    (store.folder / ".deleting").touch()
    assert store.records() == ()
    store.append(*demonstration(7))
    assert len(store.records()) == 1
    assert store.summary().array_files == 2


def test_an_export_holds_everything_but_annotators_times_and_unasked_voxels(tmp_path, store):
    store.set_consent(store=True, images=True)
    record, arrays = demonstration(image=True, created_utc="2026-03-04T05:06:07Z")
    store.append(record, arrays)
    store.append(replace(record, record_id=new_record_id(), amends=record.record_id, interactions=2))
    for images in (False, True):
        path = tmp_path / f"{images}.zip"
        assert store.export(path, images=images) == 2
        folder = tmp_path / f"out {images}"
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        found = read_records(folder / "records.jsonl")
        assert [r.annotator for r in found] == ["annotator-1", "annotator-1"]
        assert found[0].created_utc == "2026-03-04T00:00:00Z"
        assert found[0].has_image == images
        assert np.array_equal(read_array(folder, found[0].completion), array(100) > 50)
        assert len(list((folder / "arrays").iterdir())) == 2 + images
        assert b"annotator-7f" not in path.read_bytes()


def test_a_damaged_array_is_named_and_no_half_export_is_left(tmp_path, store):
    record, arrays = demonstration()
    store.append(record, arrays)
    (store.folder / record.completion.path).write_bytes(b"x")
    with pytest.raises(RecordError, match="sha256"):
        store.export(tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_no_socket_is_opened(tmp_path, store, monkeypatch):
    def refused(*_args, **_options):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    store.append(*demonstration())
    store.summary()
    store.export(tmp_path / "out.zip")
    store.delete_all()


# ---- the command line ------------------------------------------------------------------------------------------------


def run(*arguments, text=None):
    return CliRunner().invoke(app, ["feedback", *map(str, arguments)], input=text)


def test_the_commands_ask_show_export_and_delete(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSEG_RL_HOME", str(tmp_path))
    assert "do not store" in run("consent").stdout
    assert "opens no network connection" in run("consent").stdout
    assert run("consent", "--images").exit_code == 1
    assert "no image voxels" in run("consent", "--store").stdout
    store = FeedbackStore()
    assert store.folder == tmp_path / "feedback"
    record, arrays = demonstration()
    store.append(record, arrays)
    store.append(Abstention(**COMMON, predicted_class="D", correct_class="A", reason="not_in_image"))
    shown = json.loads(run("show", "--records", "--json").stdout)
    assert shown["kinds"] == {"abstention": 1, "demonstration": 1}
    assert shown["list"][0] == record.to_json()
    assert record.record_id in run("show", "--records").stdout
    assert "2 records written" in run("export", tmp_path / "out.zip").stdout
    assert run("delete", text="n\n").exit_code == 1
    assert len(store.records()) == 2
    assert "2 records of before" in run("consent", "--do-not-store").stdout
    assert json.loads(run("delete", "--yes", "--json").stdout) == {"deleted": 2}
    assert store.records() == ()


def test_only_records_with_image_voxels_are_shown_and_counted_as_such(tmp_path, store):
    store.append(Game(**COMMON, click_budget=3, first="a", second="b", result="draw"))
    rows = [line for line in run("show", "--records", "--folder", store.folder).stdout.splitlines() if "game" in line]
    assert "yes" not in rows[-1].rpartition("│")[0].rpartition("│")[0]
    assert "image voxels of 0" in run("export", tmp_path / "a.zip", "--images", "--folder", store.folder).stdout
    store.set_consent(store=True, images=True)
    store.append(*demonstration(image=True))
    assert "image voxels of 1" in run("export", tmp_path / "b.zip", "--images", "--folder", store.folder).stdout
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert __version__ in archive.read("README.txt").decode()


def test_a_damaged_store_and_a_read_only_place_are_one_line(tmp_path):
    store = FeedbackStore(tmp_path / "feedback")
    store.set_consent(store=True)
    (store.folder / "records.jsonl").write_bytes(b"nonsense\n")
    answer = run("show", "--folder", store.folder)
    assert answer.exit_code == 3
    assert "line 1" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert run("delete", "--yes", "--folder", store.folder).exit_code == 0  # what cannot be read can still be deleted
    assert run("export", tmp_path / "nowhere" / "x.zip", "--folder", store.folder).exit_code == 7
    if os.geteuid() != 0:
        (tmp_path / "fixed").mkdir(mode=0o500)
        assert run("consent", "--store", "--folder", tmp_path / "fixed" / "feedback").exit_code == 7
