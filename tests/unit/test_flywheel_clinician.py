"""The synthetic clinician and what stores give to learn from: no network anywhere, so any refiner will do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg_rl.errors import InputFileError
from medseg_rl.recipes.refinement.clinician import STYLES, Style, corrects
from medseg_rl.recipes.refinement.labelled import phantom_cases
from medseg_rl.recipes.refinement.learning import MIXED, mixed
from medseg_rl.recipes.refinement.material import read_material
from medseg_rl.refiners.enforce_only import EnforceOnly
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.volume import Volume


def ball(radius: float, size: int = 25) -> np.ndarray:
    middle = size // 2
    return sum((axis - middle) ** 2 for axis in np.indices((size,) * 3)) <= radius**2


def a_store(folder: Path, patients: int = 4) -> FeedbackStore:
    store = FeedbackStore(folder)
    store.set_consent(store=True, images=True)
    for case in phantom_cases(patients, 7):
        image, reference = case.load()
        corrects(case.id, case.group, image, reference, refiner=EnforceOnly(), automatic=None, store=store)
    return store


def test_a_wide_contour_adds_exactly_what_lies_within_its_margin_and_a_narrow_one_takes_it() -> None:
    image = Volume(np.zeros((25, 25, 25), np.float32), np.eye(4))
    assert not (ball(6) & ~Style("w", margin_mm=1.0).mask(ball(6), image)).any()
    plane = np.zeros((25, 25, 25), bool)
    plane[10:15] = True
    wide, narrow = (STYLES[name].mask(plane, image).any((1, 2)).nonzero()[0] for name in ("wide", "narrow"))
    assert (wide.min(), wide.max()) == (9, 15)
    assert (narrow.min(), narrow.max()) == (11, 13)


def test_islands_below_his_limit_are_dropped_and_a_tail_is_cut_along_the_patient() -> None:
    image = Volume(np.zeros((25, 25, 25), np.float32), np.diag([1.0, -1.0, 1.0, 1.0]))  # second axis runs posterior
    with_island = ball(6)
    with_island[1, 1, 1] = True
    assert (Style("d", least_island_mm3=20).mask(with_island, image) == ball(6)).all()
    kept = np.flatnonzero(Style("t", tail_mm=3.0).mask(ball(6), image).any((0, 2)))
    assert (kept.min(), kept.max()) == (6, 15)


def test_what_he_accepts_is_his_mask_to_the_voxel_and_all_records_say_he_is_simulated(tmp_path: Path) -> None:
    store = a_store(tmp_path / "store", patients=3)
    material = read_material([tmp_path / "store"], tmp_path / "unpacked")
    wanted = sorted(int(case.load()[1].sum()) for case in phantom_cases(3, 7))
    assert sorted(int(case.reference.sum()) for case in (*material.train, *material.held_out)) == wanted
    assert material.annotators == {"simulated": 3}
    assert all(record.annotator_kind == "simulated" for record in store.records())


def test_a_store_and_its_export_are_the_same_material(tmp_path: Path) -> None:
    a_store(tmp_path / "store").export(tmp_path / "export.zip", images=True)
    one, other = (read_material([tmp_path / name], tmp_path / "unpacked") for name in ("store", "export.zip"))
    assert one.fingerprint == other.fingerprint
    assert [case.id for case in one.held_out] == [case.id for case in other.held_out]
    both = read_material([tmp_path / "store", tmp_path / "export.zip"], tmp_path / "unpacked")
    assert len(both.train) == len(one.train)  # the same records do not count twice


def test_no_patient_is_on_both_sides_of_the_split(tmp_path: Path) -> None:
    store = a_store(tmp_path / "store", patients=6)
    group = {record.record_id: record.group_id for record in store.records()}
    material = read_material([tmp_path / "store"], tmp_path / "unpacked", held_out_share=0.4)
    sides = [{group[case.id] for case in side} for side in (material.train, material.held_out)]
    assert not sides[0] & sides[1]
    assert material.patients == (4, 2)


def test_records_without_voxels_and_stores_whose_consent_was_taken_back_teach_nothing(tmp_path: Path) -> None:
    store = a_store(tmp_path / "store")
    store.export(tmp_path / "masks.zip", images=False)
    with pytest.raises(InputFileError, match="image not stored"):
        read_material([tmp_path / "masks.zip"], tmp_path / "unpacked")
    store.set_consent(store=False)
    with pytest.raises(InputFileError, match="consent taken back"):
        read_material([tmp_path / "store"], tmp_path / "unpacked")


def test_pretraining_cases_get_their_share_of_the_places_and_none_without_them(tmp_path: Path) -> None:
    a_store(tmp_path / "store")
    material = read_material([tmp_path / "store"], tmp_path / "unpacked")
    places = mixed(material.train, material.held_out, 0.25)
    assert len(places) == MIXED
    assert sum(any(place is case for case in material.held_out) for place in places) == MIXED // 4
    assert mixed(material.train, [], 0.25) == list(material.train)
