""" "The target is not here" on its way from the session to what is learned, and the two ways to abstain wrongly."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medseg_rl.recipes.refinement.clinician import corrects
from medseg_rl.recipes.refinement.labelled import phantom_cases
from medseg_rl.recipes.refinement.learning import abstention
from medseg_rl.recipes.refinement.material import Material, read_material
from medseg_rl.refiners.enforce_only import EnforceOnly
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.session import SegmentationSession
from medseg_rl.session.feedback import FeedbackRecorder
from medseg_rl.session.feedback_filing import CaseIdentity
from medseg_rl.training_scenes import TrainingCase


def a_store(folder: Path) -> FeedbackStore:
    """Five patients with the target; of five others a person says that it is not there."""
    store = FeedbackStore(folder)
    store.set_consent(store=True, images=True)
    for case in phantom_cases(5, 7):
        image, reference = case.load()
        corrects(case.id, case.group, image, reference, refiner=EnforceOnly(), automatic=None, store=store)
    for case in phantom_cases(5, 100):
        session = SegmentationSession(case.load()[0], EnforceOnly())
        recorder = FeedbackRecorder(store, CaseIdentity(case.id, case.group, annotator_kind="simulated"))
        recorder.watch(session)
        recorder.target_not_here("not_in_image")
        recorder.finish()
    return store


def a_case(name: str, *, present: bool) -> TrainingCase:
    reference = np.full((4, 4, 4), present)
    return TrainingCase(name, np.zeros((4, 4, 4), np.float32), reference, None, (1.0, 1.0, 1.0))


def a_player(answers: list[bool]) -> Any:
    """Its start is full or empty, by the list."""
    left = iter(answers)
    network = SimpleNamespace(
        predict=lambda volume: np.full(volume.array.shape, 90 if next(left) else 5, np.uint8), config=None
    )
    return SimpleNamespace(has_automatic=True, automatic=lambda: network)


def material(present: int, absent: int) -> Material:
    held = tuple(a_case(f"p{n}", present=True) for n in range(present))
    nowhere = tuple(a_case(f"a{n}", present=False) for n in range(absent))
    return Material((), held, (0, present), (), "", {}, (), (), nowhere)


def test_what_a_person_says_is_not_there_becomes_an_empty_mask_of_its_region(tmp_path: Path) -> None:
    store = a_store(tmp_path / "store")
    found = read_material([tmp_path / "store"], tmp_path / "unpacked", held_out_share=0.4)
    nowhere = (*found.absent, *found.absent_held_out)
    assert len(nowhere) == 5
    assert not any(case.reference.any() for case in nowhere)
    assert {case.image.shape for case in nowhere} == {(24, 24, 24)}
    assert found.sources[0].skipped == {}
    group = {record.record_id: record.group_id for record in store.records()}
    sides = [
        {group[case.id] for case in (*one, *other)}
        for one, other in ((found.train, found.absent), (found.held_out, found.absent_held_out))
    ]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 4


def test_the_two_rates_count_what_is_empty_and_what_is_not() -> None:
    player = a_player([True, False, True, True, True, False])  # four with the target, then two without
    assert abstention(player, material(4, 2)) == {"over": 0.25, "under": 0.5, "present": 4, "absent": 2}


@pytest.mark.parametrize(("present", "absent"), [(3, 0), (0, 3)])
def test_rates_come_in_pairs_or_not_at_all(present: int, absent: int) -> None:
    found = abstention(a_player([True] * 6), material(present, absent))
    assert (found["over"], found["under"]) == (None, None)
