"""Closed forms and hand-computed values for the statistics over subjects."""

import numpy as np
import pytest

from medseg_rl.evaluation.statistics import (
    Interval,
    PairedComparison,
    bootstrap_interval,
    compare_with_reference,
    holm,
    rank_biserial,
    wilcoxon_p,
)


def test_holm_equals_the_values_computed_by_hand():
    # sorted .01 x 4 = .04, .02 x 3 = .06, .03 x 2 = .06, .04 x 1 = .04 -> raised to .06
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_holm_never_exceeds_one_and_leaves_a_single_test_alone():
    assert holm([0.9, 0.8, 0.7]) == [1.0, 1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_holm_rejects_in_order_so_a_small_p_value_cannot_overtake_a_larger_one():
    p_values = [0.001, 0.02, 0.021, 0.5]
    adjusted = holm(p_values)
    assert adjusted == sorted(adjusted)
    assert adjusted == pytest.approx([0.004, 0.06, 0.06, 0.5])


def test_bootstrap_of_a_constant_has_no_width():
    assert bootstrap_interval([0.7] * 12) == Interval(pytest.approx(0.7), pytest.approx(0.7), pytest.approx(0.7))


def test_bootstrap_is_the_same_for_the_same_seed_and_not_for_another():
    values = np.random.default_rng(3).normal(size=19)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_bootstrap_of_two_subjects_has_its_three_values_and_the_ends_as_interval():
    # resampled means are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4: the 2.5 % tails lie inside the end values
    interval = bootstrap_interval([0.0, 1.0])
    assert (interval.low, interval.mean, interval.high) == (0.0, 0.5, 1.0)


def test_bootstrap_width_is_near_the_normal_interval_of_a_large_sample():
    values = np.random.default_rng(0).normal(2.0, 1.0, size=400)
    interval = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert interval.high - interval.mean == pytest.approx(half, rel=0.05)
    assert interval.mean - interval.low == pytest.approx(half, rel=0.05)


def test_bootstrap_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one subject"):
        bootstrap_interval([])


def test_wilcoxon_of_all_positive_pairs_is_two_over_two_to_the_n():
    assert wilcoxon_p([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == pytest.approx(2 / 2**6)


def test_wilcoxon_is_two_sided():
    differences = [0.3, 1.2, -0.5, 2.0, 0.7]
    assert wilcoxon_p(differences) == wilcoxon_p([-d for d in differences])


def test_wilcoxon_drops_zeros_and_rounding():
    assert wilcoxon_p([0.0, 0.0, 1e-17]) == 1.0
    assert wilcoxon_p([1.0, 2.0, 3.0, 0.0, 1e-16]) == wilcoxon_p([1.0, 2.0, 3.0])


def test_rank_biserial_equals_the_value_computed_by_hand():
    # ranks of |d|: 1 -> 1, -2 -> 2, 3 -> 3, 4 -> 4; (1 + 3 + 4 - 2) / 10
    assert rank_biserial([1.0, -2.0, 3.0, 4.0]) == pytest.approx(0.6)


def test_rank_biserial_shares_ranks_of_ties_and_is_zero_without_differences():
    assert rank_biserial([1.0, -1.0]) == 0.0
    assert rank_biserial([0.0]) == 0.0
    assert rank_biserial([-0.1, -0.2]) == -1.0


def test_a_comparison_pairs_by_subject_and_corrects_over_the_family():
    reference = {f"s{i}": 0.9 for i in range(8)}
    family = {
        "worse": {f"s{i}": 0.8 - 0.001 * i for i in range(8)},
        "mixed": {f"s{i}": 0.9 + 0.01 * (-1) ** i * (i + 1) for i in range(8)},
        "other subjects": {"x": 0.1},
    }
    worse, mixed = compare_with_reference(reference, family)
    assert (worse.other, worse.subjects) == ("worse", 8)
    assert worse.difference.mean == pytest.approx(0.1035)
    assert worse.rank_biserial == 1.0
    assert worse.p_value == pytest.approx(2 / 2**8)
    assert worse.p_holm == pytest.approx(2 * worse.p_value)  # two tests in the family, not three
    assert mixed.p_holm >= mixed.p_value


def test_no_difference_may_be_said_only_if_the_whole_interval_lies_inside_the_margin():
    def comparison(low: float, high: float) -> PairedComparison:
        return PairedComparison("x", 5, Interval(0.0, low, high), 1.0, 1.0, 0.0)

    assert comparison(-0.005, 0.004).no_difference
    assert not comparison(-0.006, 0.004).no_difference
    assert not comparison(-0.001, 0.0051).no_difference
