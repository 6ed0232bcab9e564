"""The automatic network and its out-of-fold starts, on a tiny synthetic data set."""

from __future__ import annotations

import itertools
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from medseg_rl.automatic import learning
from medseg_rl.automatic.grid import WorkingGrid
from medseg_rl.automatic.learning import prepare_samples, train_automatic, working_spacing
from medseg_rl.automatic.segmenter import AutomaticConfig, AutomaticSegmenter, build_network, centred
from medseg_rl.automatic.starts import folds_by_subject, load_starts, out_of_fold_starts
from medseg_rl.dataset import load_dataset
from medseg_rl.errors import BundleError, Cancelled, InputFileError
from medseg_rl.volume import Volume

SPLIT = {"train": ["a", "b", "c", "d", "e", "f"], "val": ["g"], "test": ["h"]}
TINY = AutomaticConfig(patch=(16, 16, 16), features=(4, 8, 8), updates=6, batch=1, precision="float32")


class StoppedError(Exception):
    """Raised in a test where a user would kill the program."""


@pytest.fixture
def dataset(decathlon_folder):
    return load_dataset(decathlon_folder(SPLIT, groups={"a": "one", "b": "one", "c": "two", "d": "two"}))


def dice(mask, reference) -> float:
    return 2 * float((mask & reference).sum()) / float(mask.sum() + reference.sum())


def test_it_learns_to_find_the_object_of_unseen_volumes(dataset):
    config = replace(TINY, updates=80, learning_rate=1e-2, average_decay=0.9)
    segmenter = train_automatic(prepare_samples(dataset.cases("train"), config), config)
    volume, reference = dataset.case("g").load()
    percent = segmenter.predict(volume)
    assert percent.dtype == np.uint8
    assert percent.min() >= 1
    assert percent.max() <= 99
    assert dice(percent > 50, reference) > 0.8


def test_every_axis_order_and_flip_gives_the_same_answer():
    segmenter = AutomaticSegmenter(build_network(TINY), replace(TINY, spacing=(1.0, 1.0, 2.0)))
    array = np.random.default_rng(0).normal(size=(20, 18, 9)).astype(np.float32)
    volume = Volume(array, np.diag([1.0, 1.1, 2.5, 1.0]))
    expected = segmenter.predict(volume)
    assert len(np.unique(expected)) > 5
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            turned = [axis for axis in range(3) if flips[axis]]
            affine = volume.affine[:, [*axes, 3]].copy()
            for axis in turned:
                affine[:3, 3] += affine[:3, axis] * (array.shape[axes[axis]] - 1)
                affine[:3, axis] *= -1
            other = Volume(np.flip(array.transpose(axes), turned).copy(), affine)
            assert np.array_equal(segmenter.predict(other), np.flip(expected.transpose(axes), turned))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((20, 20, 20), np.int16),
        np.full((3, 1, 40), 7, np.uint8),
        np.random.default_rng(0).normal(size=(45, 5, 17)).astype(np.float32) * 1e6,
    ],
)
def test_constant_thin_and_long_volumes_get_an_answer_of_their_shape(array):
    percent = AutomaticSegmenter(build_network(TINY), TINY).predict(Volume(array, np.diag([0.7, 3.0, 1.0, 1.0])))
    assert percent.shape == array.shape
    assert percent.dtype == np.uint8
    assert percent.min() >= 1


def test_the_working_grid_keeps_places_in_millimetres():
    ramp = np.broadcast_to(np.arange(30, dtype=np.float32)[:, None, None], (30, 8, 8))
    grid = WorkingGrid.of(Volume(ramp, np.diag([1.0, 2.0, 2.0, 1.0])), (3.0, 2.0, 2.0))
    working = grid.to_working(ramp)
    assert working.shape == (10, 8, 8)
    assert np.allclose(working[2:-2, 0, 0], np.arange(2, 8) * 3 + 1, atol=0.05)  # centres of groups of three
    assert np.allclose(grid.from_working(working)[6:-6], ramp[6:-6], atol=0.05)


def test_a_stopped_training_goes_on_to_the_same_weights(dataset, tmp_path):
    samples = prepare_samples(dataset.cases("train"), TINY)
    at_once = train_automatic(samples, TINY).weights_hash
    calls = []

    def stop_after_five(stage: str, done: int, total: int) -> None:
        calls.append(done)
        if done == 5:
            raise StoppedError

    checkpoint = tmp_path / "net.pt"
    with pytest.raises(StoppedError):
        train_automatic(samples, TINY, checkpoint=checkpoint, checkpoint_every=2, progress=stop_after_five)
    resumed = train_automatic(
        samples, TINY, checkpoint=checkpoint, checkpoint_every=2, progress=lambda stage, done, total: calls.append(done)
    )
    assert calls == [1, 2, 3, 4, 5, 5, 6]
    assert resumed.weights_hash == at_once


def test_a_checkpoint_of_another_configuration_is_not_taken_up(dataset, tmp_path):
    samples = prepare_samples(dataset.cases("train"), TINY)
    first = train_automatic(samples, TINY, checkpoint=tmp_path / "net.pt")
    other = train_automatic(samples, replace(TINY, seed=2), checkpoint=tmp_path / "net.pt")
    assert other.weights_hash == train_automatic(samples, replace(TINY, seed=2)).weights_hash != first.weights_hash


def test_a_damaged_checkpoint_is_named(dataset, tmp_path):
    checkpoint = tmp_path / "net.pt"
    checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(BundleError, match=r"net\.pt cannot be read .*delete it"):
        train_automatic(prepare_samples(dataset.cases("train"), TINY), TINY, checkpoint=checkpoint)


def test_an_update_with_a_gradient_that_is_no_number_changes_nothing(dataset):
    learner = learning._Learner(TINY, "")
    images, references = learning.draw_batch(prepare_samples(dataset.cases("train"), TINY), TINY, 0)
    before = [values.clone() for values in learner.network.parameters()]
    learner.update(images * float("nan"), references)
    assert all(torch.equal(old, new) for old, new in zip(before, learner.network.parameters(), strict=True))
    learner.update(images, references)
    assert not all(torch.equal(old, new) for old, new in zip(before, learner.network.parameters(), strict=True))


def test_training_leaves_the_random_state_of_its_caller_alone(dataset):
    samples = prepare_samples(dataset.cases("train"), TINY)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train_automatic(samples, TINY)
    assert torch.equal(torch.rand(4), expected)


def test_augmentation_moves_image_and_reference_together(dataset):
    samples = [
        learning.Sample(sample.reference * 1.0, sample.reference)
        for sample in prepare_samples(dataset.cases("train"), TINY)
    ]
    config = replace(TINY, mirror=(0, 1, 2))
    overlaps = []
    for update in range(10):
        images, references = learning.draw_batch(samples, config, update)
        inside, outside = images[references > 0.5], images[references <= 0.5]
        overlaps.append(float(inside.median() - outside.median()))
    assert min(overlaps) > 0.5


def test_no_start_comes_from_a_network_that_saw_its_subject(dataset, tmp_path, monkeypatch):
    seen: list[set[str]] = []
    real = learning.prepare_samples

    def recorded(cases, *arguments):
        seen.append({case.group for case in cases})
        return real(cases, *arguments)

    monkeypatch.setattr(learning, "prepare_samples", recorded)
    starts = out_of_fold_starts(dataset, replace(TINY, updates=1), tmp_path / "starts", folds=2)
    order = {"0": 0, "1": 1, "all": 2}
    for case in dataset:
        fold = starts.manifest["cases"][case.id]["fold"]
        assert case.group not in seen[order[fold]]
        assert (fold == "all") == (case.split != "train")
    assert seen[2] == {case.group for case in dataset.cases("train")}


def test_a_subject_is_never_dealt_to_two_folds(dataset):
    cases = dataset.cases("train")
    fold_of = folds_by_subject(cases, 2, seed=0)
    assert {fold_of["a"] == fold_of["b"], fold_of["c"] == fold_of["d"]} == {True}
    assert set(fold_of.values()) == {"0", "1"}
    with pytest.raises(InputFileError, match="4 subjects cannot make 5 folds"):
        folds_by_subject(cases, 5, seed=0)


def test_stored_starts_are_read_back_and_not_made_twice(dataset, tmp_path):
    config, folder = replace(TINY, updates=1), tmp_path / "starts"
    made = out_of_fold_starts(dataset, config, folder, folds=2)

    def fail(stage: str, done: int, total: int) -> None:
        raise AssertionError("trained again")

    again = out_of_fold_starts(dataset, config, folder, folds=2, progress=fail)
    assert again.start_hash == made.start_hash == load_starts(folder).start_hash
    volume, _ = dataset.case("a").load()
    assert made.percent("a").shape == volume.shape
    assert made.weights_hash("g") == made.manifest["networks"]["all"]["weights_hash"]
    other = out_of_fold_starts(dataset, replace(config, updates=2), folder, folds=2)
    assert other.start_hash != made.start_hash


def test_a_start_that_was_changed_is_refused(dataset, tmp_path):
    starts = out_of_fold_starts(dataset, replace(TINY, updates=1), tmp_path / "starts", folds=2)
    path = tmp_path / "starts" / "a.nii.gz"
    stored = nibabel.load(path)
    array = np.asarray(stored.dataobj, dtype=np.uint8).copy()
    array[0, 0, 0] = 77
    nibabel.save(nibabel.Nifti1Image(array, stored.affine), path)
    with pytest.raises(InputFileError, match="make the starts again"):
        starts.percent("a")
    assert starts.percent("b").any()


def test_missing_starts_say_so(tmp_path):
    with pytest.raises(InputFileError, match="make the automatic starts first"):
        load_starts(tmp_path)


def test_prediction_stops_when_it_is_cancelled(dataset):
    volume, _ = dataset.case("a").load()
    with pytest.raises(Cancelled):
        AutomaticSegmenter(build_network(TINY), TINY).predict(volume, cancel=lambda: True)


def test_a_volume_smaller_than_the_patch_lies_in_its_middle():
    padded, corner = centred(torch.ones(10, 16, 20), (16, 16, 16))
    assert tuple(padded.shape) == (16, 16, 20)
    assert corner == (3, 0, 0)
    assert padded[3:13].min() == 1
    assert padded.sum() == 10 * 16 * 20


def test_the_configuration_survives_json_and_refuses_what_it_cannot_use():
    config = replace(TINY, spacing=(1.0, 1.0, 3.0))
    stored = {key: list(value) if isinstance(value, tuple) else value for key, value in config.as_dict().items()}
    assert AutomaticConfig.from_dict(stored) == config
    with pytest.raises(BundleError, match="another version"):
        AutomaticConfig.from_dict({**stored, "novelty": 1})
    with pytest.raises(ValueError, match="multiple of 4"):
        replace(TINY, patch=(15, 16, 16))


def test_the_working_spacing_is_the_median_of_the_cases(decathlon_folder):
    cases = load_dataset(decathlon_folder(SPLIT, spacing=1.5)).cases("train")
    assert working_spacing(cases) == (1.5, 1.5, 1.5)
