"""The proof: its plan stands, stopped runs go on, what was not run is told with its reason, tables come from rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from benchmarks import publish
from benchmarks.proof import running
from benchmarks.proof.__main__ import main
from benchmarks.proof.plan import PLAN, Arm, Job, Place, Plan, Question
from benchmarks.proof.reporting import not_run_table, proof_text
from benchmarks.proof.running import data_in, run_plan, train_job
from benchmarks.proof.standing import Folder, Ledger, Shared, standing
from medseg_rl.errors import InputFileError
from medseg_rl.evaluation.compare import MUST_AGREE
from medseg_rl.evaluation.records import Record, write_records
from medseg_rl.refiner import never_cancelled
from medseg_rl.training_run import RECORD

PLACES = (Place("balls", starts=("A",)),)
REWARD, TWIN, OTHER = (Arm(name, f"the arm {name}", places=PLACES) for name in ("reward", "twin", "other"))
SMALL = Plan(
    stages=((REWARD, TWIN), (OTHER,)),
    questions=(
        Question("Methods", "Which?", "reward", ("reward", "twin")),
        Question("More", "?", "reward", ("other",)),
    ),
    seeds=(0, 1),
)
SHARED = Shared(updates=100)
ABOUT = {"set": "balls", "split": "val", "case": "a", "subject": "a", "structure": "whole", "start": "A"}
RULES = {"robot": "primary", "robot_seed": 0, "config_hash": "c", "roi_kind": "common", "m_steps": 3, "status": "ok"}
SCORES = {"nsd_2mm": 0.5, "nsd_1vox": 0.5, "hd95_mm": 2.0, "assd_mm": 1.0}
UNKNOWN = ("respected", "changed_vox", "far_vox", "far_wrong_vox", "latency_ms", "peak_mb")


def rows_of(job: Job, dice: Callable[[str], float]) -> list[Record]:
    """Eight subjects, 20 clicks that change nothing; `dice` says what each has."""
    same = {**ABOUT, **RULES, **SCORES, **dict.fromkeys(UNKNOWN), "method": job.arm.name, "train_seed": job.seed}
    return [
        Record(**same | {"case": name, "subject": name, "click": n, "n_clicks": n, "dice": dice(name)} | raw)
        for name in (f"subject {n}" for n in range(8))
        for n, raw in enumerate([{"respected_raw": None}, *[{"respected_raw": 0.75}] * 20])
    ]


def measure(folder: Folder, job: Job, dice: Callable[[str], float] = lambda subject: 0.9, **changes: object) -> None:
    """What a trained and evaluated run leaves on disk."""
    train(folder, job)
    rows, name = folder.rows(job), "balls_val_whole_A_primary_common"
    rows.mkdir(parents=True)
    write_records(rows / f"{name}.csv", rows_of(job, dice))
    manifest = dict.fromkeys(MUST_AGREE, "same") | {"commit": "abc", "dirty": False, "config": {"roi": "common"}}
    manifest |= {"weights_hash": {job.arm.name: "w"}, **changes}
    (rows / f"{name}.json").write_text(json.dumps(manifest))


def train(folder: Folder, job: Job, minutes: float = 2.0) -> None:
    run = folder.run(job)
    run.mkdir(parents=True, exist_ok=True)
    (run / RECORD).write_text("{}")
    (run / "claim.json").write_text(json.dumps({"config": "settings"}))
    (run / "spent.json").write_text(json.dumps({"cpu_s": 60 * minutes, "commit": "abc", "dirty": False}))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    kept = Folder(tmp_path / "proof")
    kept.keep(SHARED)
    return kept


def test_every_arm_of_the_plan_is_one_that_the_trainers_take():
    names = [arm.name for arm in PLAN.arms]
    assert len(names) == len(set(names))
    hashes = {str(SHARED.config(Job(arm, 1))) + str(arm.steps) for arm in PLAN.arms}
    assert len(hashes) == len(names)  # no two arms are the same run
    for question in PLAN.questions:
        assert question.reference in question.arms
        assert set(question.arms) <= set(names)


def test_the_twin_comes_first_with_all_seeds_and_no_run_has_more_updates_than_another():
    first = [(job.arm.name, job.seed) for job in PLAN.jobs()][:6]
    assert first == [(name, seed) for seed in (0, 1, 2) for name in ("agent", "twin_a")]
    trainings = [SHARED.config(job).training for job in PLAN.jobs()]
    assert {training.updates for training in trainings} == {SHARED.updates}
    assert all(training.validate_every > training.updates for training in trainings)


class Worker:
    """Stands for training and evaluation: does a job at a time, and stops or fails where it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop_after: int = 99, defect_in: str = "") -> None:
        self.done: list[str] = []
        self._left, self._defect_in = stop_after, defect_in
        monkeypatch.setattr(running, "train_job", self._train)
        monkeypatch.setattr(running, "evaluate_job", self._evaluate)

    def cancel(self) -> bool:
        return self._left <= 0

    def _train(self, job: Job, *_: object) -> None:
        if job.arm.name == self._defect_in:
            raise ZeroDivisionError("a defect")

    def _evaluate(self, job: Job, folder: Folder, *_: object) -> None:
        measure(folder, job)
        self.done.append(job.name)
        self._left -= 1


def test_a_plan_that_was_stopped_goes_on_with_what_is_open(folder, tmp_path, monkeypatch):
    names = [job.name for job in SMALL.jobs()]
    data = data_in(tmp_path)
    first = Worker(monkeypatch, stop_after=2)
    assert not run_plan(SMALL, folder, SHARED, data, cancel=first.cancel)
    second = Worker(monkeypatch)
    assert run_plan(SMALL, folder, SHARED, data, cancel=second.cancel)
    assert (first.done, second.done) == (names[:2], names[2:])
    third = Worker(monkeypatch)
    assert run_plan(SMALL, folder, SHARED, data, cancel=third.cancel)
    assert third.done == []


def test_an_arm_that_fails_is_listed_and_the_others_are_run(folder, tmp_path, monkeypatch):
    worker = Worker(monkeypatch, defect_in="twin")
    assert not run_plan(SMALL, folder, SHARED, data_in(tmp_path), cancel=worker.cancel)
    assert len(worker.done) == 4
    stands = {job: standing(folder, job) for job in SMALL.jobs()}
    table = not_run_table(SMALL, stands, SHARED)
    assert "| Methods | twin | the arm twin | 0, 1 | failed: ZeroDivisionError: a defect |" in table
    mended = Worker(monkeypatch)
    assert run_plan(SMALL, folder, SHARED, data_in(tmp_path), cancel=mended.cancel)
    assert standing(folder, Job(TWIN, 0)).failure is None


def test_other_settings_need_another_folder(folder, tmp_path):
    with pytest.raises(InputFileError, match="begun with"):
        run_plan(SMALL, folder, Shared(updates=7), data_in(tmp_path), cancel=never_cancelled)


def test_a_finished_run_of_other_settings_is_not_taken_for_this_one(folder, tmp_path):
    train(folder, Job(REWARD, 0))
    with pytest.raises(InputFileError, match="other settings"):
        train_job(Job(REWARD, 0), folder, SHARED, data_in(tmp_path), never_cancelled)


def test_the_ledger_adds_up_over_attempts_and_refuses_other_code(tmp_path):
    Ledger(tmp_path).note()
    path = tmp_path / "spent.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"cpu_s": 60.0}))
    Ledger(tmp_path).note()
    assert 60 <= json.loads(path.read_text())["cpu_s"] < 70
    path.write_text(json.dumps(content | {"code_hash": "another"}))
    with pytest.raises(InputFileError, match="other code"):
        Ledger(tmp_path)


def test_what_was_not_run_is_told_from_what_is_on_disk(folder):
    measure(folder, Job(REWARD, 0))
    train(folder, Job(TWIN, 0), minutes=4)
    begun = folder.run(Job(REWARD, 1))
    begun.mkdir(parents=True)
    (begun / "spent.json").write_text(json.dumps({"cpu_s": 30.0}))
    table = not_run_table(SMALL, {job: standing(folder, job) for job in SMALL.jobs()}, SHARED)
    assert table.splitlines()[2:] == [
        "| Methods | twin | the arm twin | 0 | no time: trained, but its evaluation is not finished |",
        "| Methods | reward | the arm reward | 1 | no time: stopped after 0 of 100 updates, 0 CPU minutes |",
        "| Methods | twin | the arm twin | 1 | no time: a run took 3.0 CPU minutes so far |",
        "| More | other | the arm other | 0, 1 | no time: a run took 3.0 CPU minutes so far |",
    ]


def test_nothing_is_said_of_time_where_no_run_has_told_how_long_it_takes(folder):
    table = not_run_table(SMALL, {job: standing(folder, job) for job in SMALL.jobs()}, SHARED)
    assert table.count("| not begun |") == 3


def test_figures_of_the_report_are_those_of_the_rows(folder):
    for seed, reward, twin in ((0, 0.90, 0.88), (1, 0.92, 0.89)):
        measure(folder, Job(REWARD, seed), lambda subject, dice=reward: dice)
        measure(folder, Job(TWIN, seed), lambda subject, dice=twin: dice)
    text = proof_text(SMALL, folder)
    assert (
        "reward minus twin +0.0250 [+0.0250, +0.0250], Holm p 0.0078; by training seed +0.0200, +0.0300: ahead." in text
    )
    assert "| **reward** | 2 | 8 (8) | 0.910 [0.910, 0.910] |" in text
    assert "**0.910 [0.910, 0.910] (0.0141)**" in text  # SD over the seeds .90 and .92
    assert "| Dice @20, start A | at least 0.96 | 0.910 | 0.050 |" in text
    assert "| clicks that lower Dice | at most 5 % | 0.0 % | 0.0 |" in text
    assert "| clicks respected before enforcement | over 90 % | 75.0 % | 15.0 |" in text
    assert "Of 6 runs in the plan 4 are measured: 2.0 to 2.0 CPU minutes of training each, 100 updates (4000 by" in text
    assert "pilot" not in text.lower()
    assert "No answer yet to: More." in text


def by_turns(subject: str) -> float:
    return 0.9 + 0.001 * (1 if int(subject[-1]) % 2 else -1)


def test_equal_arms_are_called_equal_and_few_seeds_a_pilot(folder):
    measure(folder, Job(REWARD, 0))
    measure(folder, Job(TWIN, 0), by_turns)
    measure(folder, Job(REWARD, 1), lambda subject: 0.7)  # without a partner: in the table, in no comparison
    text = proof_text(SMALL, folder)
    assert "Holm p 1; by training seed -0.0000: a pilot, 1 of 2 seeds, no verdict." in text.replace("+0.0", "-0.0")
    assert "Fewer than 2 seeds, so pilots and no claims: twin (seed 0)." in text
    assert "Wilcoxon" not in text  # no test of unequal seeds
    measure(folder, Job(TWIN, 1), lambda subject: 0.7)
    assert "no difference (interval and every seed lie within ±0.005)." in proof_text(SMALL, folder)


def test_seeds_that_disagree_decide_nothing(folder):
    for seed, reward in ((0, 0.93), (1, 0.89)):
        measure(folder, Job(REWARD, seed), lambda subject, dice=reward: dice)
        measure(folder, Job(TWIN, seed))
    assert "by training seed +0.0300, -0.0100: undecided." in proof_text(SMALL, folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"dirty": True}, "checkout with changes"), ({"data_hash": "x"}, "differ in data"), ({"config": {}}, "in rules")],
)
def test_rows_that_cannot_be_compared_are_refused(folder, changes, said):
    measure(folder, Job(REWARD, 0))
    measure(folder, Job(TWIN, 0), **changes)
    with pytest.raises(InputFileError, match=said):
        proof_text(SMALL, folder)


def test_the_sections_take_their_place_and_leave_the_rest(folder, tmp_path):
    results = tmp_path / "RESULTS.md"
    results.write_text("# Results\n\nothers\n")
    words = ["report", "--output", str(folder.path), "--into", str(results)]
    assert main(words, SMALL) == main(words, SMALL) == 0
    text = results.read_text()
    assert text.startswith("# Results\n\nothers\n\n<!-- proof")
    assert text.count("## The proof") == text.count(publish.PROOF_BEGIN) == text.count(publish.PROOF_END) == 1
    results.write_text(text + "after\n")
    assert main(words, SMALL) == 0
    assert results.read_text() == text + "after\n"


def test_a_lost_mark_is_named_rather_than_text_lost(folder, tmp_path, capsys):
    results = tmp_path / "RESULTS.md"
    results.write_text(f"{publish.PROOF_BEGIN}\n\nold\n")
    assert main(["report", "--output", str(folder.path), "--into", str(results)], SMALL) == 3
    assert "put it back" in capsys.readouterr().err
    assert results.read_text().endswith("old\n")


def test_a_report_of_nothing_says_how_to_begin(tmp_path, capsys):
    assert main(["report", "--output", str(tmp_path)], SMALL) == 3
    assert "benchmarks.proof run" in capsys.readouterr().err


TINY = (
    *("network=small", "batch=1", "pool=2", "generation=2", "precision=fp32", "scenes.crop_voxels=[16, 16, 16]"),
    *("hints.kind=edt_exp", "max_interactions=2"),
)
TINY_AUTOMATIC = ("updates=2", "batch=1", "patch=[24, 24, 24]", "precision=float32")


def write_balls(folder: Path) -> Path:
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    names = [f"ball_{n}" for n in range(8)]
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        inside = ((np.indices((20, 20, 20)) - rng.uniform(8, 12, (3, 1, 1, 1))) ** 2).sum(0) < 25
        image = (rng.normal(100, 10, inside.shape) + 60 * inside).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / "imagesTr" / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(inside.astype(np.uint8), np.eye(4)), folder / "labelsTr" / f"{name}.nii.gz")
    about = {"name": "balls", "modality": {"0": "MRI"}, "licence": "CC0", "labels": {"0": "none", "1": "ball"}}
    about["training"] = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    (folder / "dataset.json").write_text(json.dumps(about | {"numTraining": len(names)}))
    (folder / "splits.json").write_text(json.dumps({"train": names[:5], "val": names[5:7], "test": names[7:]}))
    return folder.parent


def test_two_arms_are_trained_evaluated_and_told_by_two_commands(tmp_path, capsys):
    data, out = write_balls(tmp_path / "data" / "balls"), tmp_path / "out"
    plan = Plan(((REWARD, replace(TWIN, changes=("training.policy=twin_a",))),), SMALL.questions[:1], seeds=(0,))
    words = ["run", "--output", str(out), "--data", str(data), "--updates", "4"]
    words += [part for change in TINY for part in ("--set", f"training.{change}")]
    words += [part for change in TINY_AUTOMATIC for part in ("--set", f"automatic.{change}")]
    assert main([*words, "--budget-minutes", "0"], plan) == 0
    assert "the same command goes on" in capsys.readouterr().out
    assert main([*words, "--budget-minutes", "5"], plan) == 0
    said = capsys.readouterr().out
    assert "all of the plan was run" in said, said
    folder = Folder(out)
    shared = [folder.run(job) / "starts" / "starts.json" for job in plan.jobs()]
    assert shared[0].resolve() == shared[1].resolve()  # both arms begin from the same starts
    assert all(standing(folder, job).updates == 4 and standing(folder, job).cpu_s > 0 for job in plan.jobs())
    manifest = json.loads(next(folder.rows(next(plan.jobs())).glob("*.json")).read_text())
    assert manifest["config"]["split"] == "val"
    for ledger in out.glob("runs/*/*/*/spent.json"):  # this checkout may have changes, a report may not
        ledger.write_text(json.dumps(json.loads(ledger.read_text()) | {"dirty": False}))
    for path in out.glob("rows/*/*/*/*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"dirty": False}))
    results = tmp_path / "RESULTS.md"
    assert main(["report", "--output", str(out), "--into", str(results)], plan) == 0
    text = results.read_text()
    assert "| reward | 1 | 2 (2) |" in text.replace("**", "")
    assert "Nothing: all of the plan was run." in text
