"""Cases for an agent that knows no structure: the same by number, in units of the voxel, from every side."""

import numpy as np
import pytest

from medseg_rl.preprocessing import relative_spacing
from medseg_rl.training_mixture import LabelledVolume, Mixture, MixtureConfig
from medseg_rl.volume import Box


def ball(centre: tuple[int, int, int], radius: float, shape: tuple[int, int, int]) -> np.ndarray:
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)) <= radius**2


def labelled(name: str, spacing: tuple[float, float, float] = (0.8, 0.8, 3.2)) -> LabelledVolume:
    reference = ball((25, 30, 20), 9, (60, 64, 48))
    image = (reference + np.random.default_rng(0).normal(0, 0.1, reference.shape)).astype(np.float32)
    return LabelledVolume(name, (image,), (reference,), (spacing,))


def mixture(**changes) -> Mixture:
    config = MixtureConfig(**{"synthetic_share": 0.0, **changes})
    return Mixture([[[labelled("a")]], [[labelled("b")], [labelled("c")]]], config, seed=3)


def test_relative_spacing_keeps_the_anisotropy_and_forgets_the_size():
    assert relative_spacing((2.0, 2.0, 2.0)) == pytest.approx((1.0, 1.0, 1.0))
    assert relative_spacing((1.0, 1.0, 8.0)) == pytest.approx((0.5, 0.5, 4.0))
    assert relative_spacing((0.3, 0.3, 2.4)) == pytest.approx(relative_spacing((1.0, 1.0, 8.0)))


def test_a_case_is_the_same_for_its_number_and_another_for_another():
    first, again, other = mixture()[7], mixture()[7], mixture()[8]
    for name in ("image", "reference", "start"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert first.spacing == again.spacing
    assert not np.array_equal(first.image, other.image)


def test_cases_hold_some_of_the_object_and_a_start_that_is_wrong_somewhere():
    for number in range(12):
        case = mixture(crop_voxels=24, blurred_share=0.0)[number]
        assert max(case.image.shape) <= 24
        assert case.reference.any()
        assert case.start is not None
        assert not np.array_equal(case.start > 50, case.reference)
        assert 1 <= case.start.min() <= case.start.max() <= 99


def test_every_axis_comes_to_be_the_thick_one_and_lengths_are_in_voxels():
    cases = [mixture()[number] for number in range(30)]
    assert {int(np.argmax(case.spacing)) for case in cases} == {0, 1, 2}
    assert all(np.prod(case.spacing) == pytest.approx(1.0) for case in cases)


def test_each_set_is_as_likely_as_another_however_many_targets_it_has():
    names = [mixture(crop_voxels=12)[number].id for number in range(120)]
    assert 35 < names.count("a") < 85
    assert names.count("b") > 12
    assert names.count("c") > 12


def test_without_labelled_sets_all_cases_are_synthetic():
    case = Mixture([], MixtureConfig(), seed=0)[1]
    assert case.reference.any()
    assert np.isfinite(case.image).all()


def test_the_start_of_a_coarse_level_is_wrong_at_the_surface_alone():
    for number in range(8):
        case = mixture(blurred_share=1.0, surface_share=1.0)[number]
        wrong = (case.start > 50) != case.reference
        inner = case.reference & (case.start > 90)
        assert not (wrong & inner).any()
        box = Box.around_mask(case.reference)
        assert box is not None
        assert 2 * ((case.start > 50) & case.reference).sum() > 1.4 * case.reference.sum()


def test_a_mixture_has_no_end_and_says_so():
    with pytest.raises(TypeError, match="no end"):
        iter(mixture())
