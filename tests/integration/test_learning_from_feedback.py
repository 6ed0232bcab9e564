"""`medseg-rl learn` and the flywheel as a user runs them, on phantoms: what they write, a stop in between."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg_rl.bundle import bundle_names, load_bundle
from medseg_rl.cli import app
from medseg_rl.errors import Cancelled, InputFileError
from medseg_rl.recipes.recipe import Work
from medseg_rl.recipes.refinement import commands, flywheel, preferred, task_rewards
from medseg_rl.recipes.refinement.clinician import corrects
from medseg_rl.recipes.refinement.labelled import phantom_cases
from medseg_rl.recipes.refinement.learning import LearnConfig, learn
from medseg_rl.recipes.report import write_report
from medseg_rl.refiners.enforce_only import EnforceOnly
from medseg_rl.rlhf.league import read_games, read_registry
from medseg_rl.rlhf.store import FeedbackStore

pytestmark = pytest.mark.skipif("hippocampus" not in bundle_names(), reason="no model is shipped")
FEW = LearnConfig(updates=2, batch=2, pool=2, start_updates=1, clicks=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("feedback") / "store"
    kept = FeedbackStore(folder)
    kept.set_consent(store=True, images=True)
    for case in phantom_cases(3, 7):
        image, reference = case.load()
        corrects(case.id, case.group, image, reference, refiner=EnforceOnly(), automatic=None, store=kept)
    return folder


def test_the_command_writes_candidate_card_games_and_verdict(store: Path, tmp_path: Path) -> None:
    settings = ["updates=2", "batch=2", "pool=2", "clicks=1"]
    arguments = ["learn", str(store), "-o", str(tmp_path / "run"), "--json", "--bundle", "hippocampus"]
    done = CliRunner().invoke(app, [*arguments, *(part for s in settings for part in ("--set", s))])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    candidate, incumbent = load_bundle(Path(found["bundle"])), load_bundle("hippocampus")
    assert candidate.files["models/agent.safetensors"] != incumbent.files["models/agent.safetensors"]
    assert candidate.files["models/automatic.safetensors"] == incumbent.files["models/automatic.safetensors"]
    card = (candidate.folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert "2 accepted masks of 2 patients" in card
    assert "store masks and actions and image voxels" in card
    assert len(read_games(Path(found["games"]))) == 1
    assert {entry.parent for entry in read_registry(Path(found["registry"])).values()} == {
        None,
        found["promotion"]["incumbent"],
    }
    assert not found["promotion"]["promoted"]  # never without the public benchmark


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(store: Path, tmp_path: Path) -> None:
    incumbent = load_bundle("hippocampus")
    whole = learn([store], incumbent, FEW, Work(tmp_path / "whole")).bundle
    folder = tmp_path / "stopped"
    with pytest.raises(Cancelled):
        learn([store], incumbent, FEW, Work(folder, cancel=lambda: (folder / "start.pt").exists()))
    assert learn([store], incumbent, FEW, Work(folder)).bundle.files == whole.files


def test_what_the_start_learned_for_an_annotator_is_in_a_model_of_his_own_and_nobody_elses(
    store: Path, tmp_path: Path
) -> None:
    incumbent = load_bundle("hippocampus")
    config = replace(FEW, updates=0, annotator="dr_wide")
    found = learn([store], incumbent, config, Work(tmp_path))
    assert found.own is not None
    assert found.own.name == "hippocampus_for_dr_wide"
    assert "for the annotator dr_wide, and nobody else" in (found.own.folder / "docs" / "README.md").read_text("utf-8")
    weights = ("models/agent.safetensors", "models/automatic.safetensors")
    assert [found.bundle.files[name] == incumbent.files[name] for name in weights] == [True, True]
    assert [found.own.files[name] == incumbent.files[name] for name in weights] == [True, False]
    assert {game.first for game in read_games(tmp_path / "own" / "games.csv")} == {
        f"{found.own.name}@{found.own.hash[:16]}"
    }


@pytest.mark.parametrize(("annotator", "start", "said"), [("../x", 1, "names a folder"), ("anna", 0, "start_updates")])
def test_an_annotator_without_a_folders_name_or_without_anything_to_learn_is_refused(
    annotator: str, start: int, said: str, store: Path, tmp_path: Path
) -> None:
    config = replace(FEW, annotator=annotator, start_updates=start)
    with pytest.raises(InputFileError, match=said):
        learn([store], load_bundle("hippocampus"), config, Work(tmp_path))


def test_the_flywheel_writes_its_table(tmp_path: Path) -> None:
    report = flywheel.run(Work(tmp_path, smoke=True))
    write_report(tmp_path, report)
    with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["fed with"] for row in rows] == [arm.label for arm in flywheel.ARMS]
    assert "claims nothing" in (tmp_path / "card.md").read_text(encoding="utf-8")
    assert flywheel.run(Work(tmp_path, smoke=True)).table == report.table


def test_the_three_steps_run_on_the_voxel_agents_and_begin_where_the_supervised_policy_is(tmp_path: Path) -> None:
    report = preferred.run(Work(tmp_path, smoke=True))
    write_report(tmp_path, report)
    assert [(row["arm"], row["checkpoint"]) for row in report.table] == [
        (arm, which) for arm in ("PPO", "PPO-ptx") for which in ("shipped", "last")
    ]
    for arm in ("PPO", "PPO-ptx"):
        result = json.loads((tmp_path / "jobs" / f"{arm}_0.json").read_text(encoding="utf-8"))
        assert result["first_ratio_error"] < 1e-4
        assert abs(result["first_kl"]) < 1e-6
        assert result["points"][0]["kl"] == pytest.approx(0, abs=1e-3)
    assert preferred.run(Work(tmp_path, smoke=True)).table == report.table


def test_task_rewards_write_all_arms_and_go_on_after_a_stop_as_if_there_had_been_none(tmp_path: Path) -> None:
    asked = [0]

    def stop() -> bool:
        asked[0] += 1
        return asked[0] == 6

    with pytest.raises(Cancelled):
        task_rewards.run(Work(tmp_path / "stopped", smoke=True, cancel=stop))
    stopped = task_rewards.run(Work(tmp_path / "stopped", smoke=True))
    whole = task_rewards.run(Work(tmp_path / "whole", smoke=True))
    assert stopped.table == whole.table
    assert [row["arm"] for row in whole.table] == ["before", *(arm.label for arm in task_rewards.ARMS)]
    write_report(tmp_path / "whole", whole)
    assert "claims nothing" in (tmp_path / "whole" / "card.md").read_text(encoding="utf-8")


def test_commands_write_the_tables_of_obedience_and_go_on_after_a_stop_as_if_there_had_been_none(
    tmp_path: Path,
) -> None:
    asked = [0]

    def stop() -> bool:
        asked[0] += 1
        return asked[0] == 8

    with pytest.raises(Cancelled):
        commands.run(Work(tmp_path / "stopped", smoke=True, cancel=stop))
    stopped = commands.run(Work(tmp_path / "stopped", smoke=True))
    whole = commands.run(Work(tmp_path / "whole", smoke=True))
    assert stopped.extra_tables["every_run"] == whole.extra_tables["every_run"]
    assert [row["arm"] for row in whole.table] == ["shipped", *commands.ARMS]
    shipped = whole.table[0]
    assert shipped["Dice gain, Oracle"] == shipped["Dice gain, Adversarial"]  # it hears no command yet
    write_report(tmp_path / "whole", whole)
    assert "claims nothing" in (tmp_path / "whole" / "card.md").read_text(encoding="utf-8")
