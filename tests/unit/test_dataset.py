"""Data sets in the layout of the Decathlon: what is read, what is refused, and the hashes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg_rl.dataset import SPLITS, find_data_root, load_dataset, target_name
from medseg_rl.errors import GeometryError, InputFileError

SPLIT = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}


def test_cases_come_with_their_split_image_and_reference(decathlon_folder):
    dataset = load_dataset(decathlon_folder(SPLIT))
    assert [case.id for case in dataset.cases("train")] == ["a", "b"]
    assert [case.id for case in dataset.cases("val")] == ["c"]
    volume, reference = dataset.case("d").load()
    assert volume.modality == "MR"
    assert reference.shape == volume.shape == (20, 18, 16)
    assert volume.array[reference].mean() > volume.array[~reference].mean() + 50


def test_a_target_is_the_union_of_its_label_values(decathlon_folder):
    case = load_dataset(decathlon_folder(SPLIT)).case("a")
    whole, lower, upper = (case.load(target)[1] for target in ("whole", (1,), (2,)))
    assert lower.any()
    assert upper.any()
    assert not (lower & upper).any()
    assert np.array_equal(lower | upper, whole)
    assert case.label_voxels == {1: int(lower.sum()), 2: int(upper.sum())}
    assert [target_name("whole"), target_name((2, 1))] == ["whole", "1+2"]


def test_the_data_hash_follows_its_definition_and_notices_a_changed_voxel(decathlon_folder):
    folder = decathlon_folder(SPLIT)
    lines = sorted(
        f"{path.relative_to(folder).as_posix()}, {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for part in ("imagesTr", "labelsTr")
        for path in (folder / part).iterdir()
    )
    before = load_dataset(folder)
    assert before.data_hash == hashlib.sha256("".join(lines).encode()).hexdigest()
    image = nibabel.load(folder / "imagesTr" / "a.nii.gz")
    array = image.get_fdata()
    array[0, 0, 0] += 1
    nibabel.save(nibabel.Nifti1Image(array, image.affine), folder / "imagesTr" / "a.nii.gz")
    after = load_dataset(folder)
    assert after.data_hash != before.data_hash
    assert after.split_hash == before.split_hash


def test_a_subject_in_two_splits_is_refused_by_the_groups_of_the_index(decathlon_folder):
    groups = {"a": "one", "b": "two", "c": "two", "d": "three"}
    with pytest.raises(InputFileError, match="subject two is in two splits: b in train, c in val"):
        load_dataset(decathlon_folder(SPLIT, groups=groups))


def test_groups_in_the_splits_file_come_before_those_of_the_index(decathlon_folder):
    stated = {**SPLIT, "groups": {"a": "head", "b": "head"}}
    dataset = load_dataset(decathlon_folder(stated, groups={"a": "x", "b": "y", "c": "z"}))
    assert [case.group for case in dataset] == ["head", "head", "z", "d"]


def test_without_a_splits_file_whole_subjects_are_dealt_the_same_way_each_time(decathlon_folder):
    folder = decathlon_folder(None, groups={f"case_{k}": f"subject_{k // 2}" for k in range(10)})
    first, again = load_dataset(folder), load_dataset(folder)
    assert first.split_hash == again.split_hash
    assert sum(len(first.cases(split)) for split in SPLITS) == 10
    assert all(first.cases(split) for split in SPLITS)
    assert len({(case.group, case.split) for case in first}) == 5


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["a", "b"], "val": ["b", "c"], "test": ["d"]}, "puts b in both train and val"),
        ({"train": ["a", "b"], "val": ["c"]}, "leaves out d"),
        ({"train": ["a", "b"], "val": ["c"], "test": ["d", "e"]}, "names e, which dataset.json does not list"),
    ],
)
def test_a_split_that_does_not_fit_the_cases_is_refused(decathlon_folder, splits, message):
    folder = decathlon_folder(SPLIT)
    (folder / "splits.json").write_text(json.dumps(splits))
    with pytest.raises(InputFileError, match=message):
        load_dataset(folder)


def test_two_subjects_are_too_few_to_draw_a_split(decathlon_folder):
    folder = decathlon_folder(None, groups={f"case_{k}": f"subject_{k % 2}" for k in range(10)})
    with pytest.raises(InputFileError, match=r"2 subjects cannot be split .* write a splits\.json"):
        load_dataset(folder)


def test_a_label_of_another_shape_is_refused(decathlon_folder):
    folder = decathlon_folder(SPLIT)
    label = nibabel.Nifti1Image(np.ones((20, 18, 15), np.uint8), np.eye(4))
    nibabel.save(label, folder / "labelsTr" / "b.nii.gz")
    with pytest.raises(GeometryError, match=r"b: image is \(20, 18, 16\) voxels but label is \(20, 18, 15\)"):
        load_dataset(folder)


def test_a_case_with_an_empty_reference_is_left_out_and_counted(decathlon_folder):
    folder = decathlon_folder(SPLIT)
    label = nibabel.Nifti1Image(np.zeros((20, 18, 16), np.uint8), np.eye(4))
    nibabel.save(label, folder / "labelsTr" / "b.nii.gz")
    dataset = load_dataset(folder)
    assert [case.id for case in dataset.cases("train")] == ["a"]
    assert [case.id for case in dataset.empty()] == ["b"]
    assert [case.id for case in dataset.empty((3,))] == ["a", "b", "c", "d"]


def test_a_missing_file_and_a_wrong_count_are_named(decathlon_folder):
    folder = decathlon_folder(SPLIT)
    (folder / "labelsTr" / "c.nii.gz").unlink()
    with pytest.raises(InputFileError, match=r"labelsTr/c\.nii\.gz is listed in dataset.json but missing"):
        load_dataset(folder)
    description = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": 7}))
    with pytest.raises(InputFileError, match="announces 7 cases but lists 4"):
        load_dataset(folder)


def test_a_folder_without_a_description_says_what_a_data_set_needs(tmp_path):
    with pytest.raises(InputFileError, match=r"needs dataset\.json, imagesTr and labelsTr"):
        load_dataset(tmp_path)


def test_the_data_folder_is_the_given_one_then_that_of_the_environment(tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("MEDSEG_RL_DATA", str(tmp_path))
    assert find_data_root() == tmp_path
    assert find_data_root(other) == other
    with pytest.raises(InputFileError, match="is not a folder"):
        find_data_root(tmp_path / "nowhere")


def test_reading_a_data_set_loads_no_torch():
    command = "import sys, medseg_rl.dataset; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


def test_the_hippocampus_set_keeps_pairs_together_as_its_description_says(data_root: Path):
    folder = data_root / "hippocampus"
    if not folder.is_dir():
        pytest.skip("no hippocampus set")
    dataset = load_dataset(folder)
    assert [len(dataset.cases(split)) for split in SPLITS] == [135, 29, 29]
    assert [len({case.group for case in dataset.cases(split)}) for split in SPLITS] == [90, 19, 19]
    assert not dataset.empty()
