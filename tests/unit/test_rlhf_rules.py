"""Rubrics, weights and rates of rules; the prompt mix; proxy against gold."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from scipy.stats import chisquare

from medseg_rl.errors import InputFileError
from medseg_rl.rlhf.config import PromptSamplerConfig, RuleRewardConfig
from medseg_rl.rlhf.intervals import wilson
from medseg_rl.rlhf.overoptimisation import (
    Point,
    best_of_n,
    best_of_n_curve,
    best_of_n_kl,
    falls_from_the_start,
    gold_peak,
)
from medseg_rl.rlhf.prompts import (
    INSTRUCTGPT_USE_CASES,
    StratifiedPromptSampler,
    largest_remainder,
    measured_mix,
)
from medseg_rl.rlhf.rules import error_rates, features_of, fit_weights, joined, ordered_pairs, read_rubric

RUBRICS = Path(__file__).resolve().parents[2] / "medseg_rl" / "recipes" / "rubrics"


@pytest.mark.parametrize("name", ["segmentation", "text"])
def test_exactly_one_class_fits_every_combination(name: str) -> None:
    rubric = read_rubric(RUBRICS / f"{name}.yaml")
    found = Counter(
        rubric.class_of(dict(zip(rubric.propositions, values, strict=True)))
        for values in itertools.product((False, True), repeat=len(rubric.propositions))
    )
    assert found.keys() == set(rubric.classes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("changed_locked_voxels: false, abstained: false", "abstained: false"), "C and D|D and C"),
        (("    - {inside_body_mask: false}\n", ""), "no class"),
        (("[D, A, B, C]", "[D, A, B]"), "every class once"),
        (("orders:", "order:"), "unknown key 'order'"),
        (("classes:\n  C:", "classes: [\n  C:"), "no rubric"),
    ],
)
def test_a_rubric_that_is_not_exclusive_and_exhaustive_is_refused(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    path = tmp_path / "rubric.yaml"
    path.write_text((RUBRICS / "segmentation.yaml").read_text().replace(*change))
    with pytest.raises(InputFileError, match=message):
        read_rubric(path)


@pytest.mark.parametrize(("does", "over", "under"), [("A", 1.0, 0.0), ("D", 0.0, 1.0)])
def test_always_and_never_refusing_both_have_no_f1(does: str, over: float, under: float) -> None:
    rubric = read_rubric(RUBRICS / "segmentation.yaml")
    rates = error_rates(rubric, [("present", does)] * 30 + [("absent", does)] * 10)
    assert (rates.over.rate, rates.under.rate, rates.f1) == (over, under, 0)


def test_the_right_class_in_each_situation_has_f1_one():
    rubric = read_rubric(RUBRICS / "segmentation.yaml")
    rates = error_rates(rubric, [("present", "D")] * 3 + [("absent", "A")] * 5)
    assert (rates.over.rate, rates.under.rate, rates.f1) == (0, 0, 1)


def test_the_hinge_separates_planted_orders():
    hidden = torch.tensor([2.0, -1.0, 0.0])
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for _ in range(60):
        phi = (torch.rand(5, 3, generator=generator) < 0.5).float()
        pairs.append(ordered_pairs(phi, (-(phi @ hidden)).argsort().argsort()))
    distinct = [p._replace(better=p.better, worse=p.worse) for p in pairs]
    found = fit_weights(joined(distinct), config=RuleRewardConfig(num_iterations=400), generator=generator)
    assert found.weights[0] > 0.5
    assert found.weights[1] < -0.2
    assert abs(float(found.weights[2])) < 0.3
    assert found.train_loss < 1


def test_features_stand_in_the_order_of_the_rules_and_can_be_ignored():
    rules = {"long": lambda p, a: len(a) > 3, "half": lambda p, a: 0.5, "same": lambda p, a: p == a}
    assert features_of(rules, "x", "x").tolist() == [0, 0.5, 1]
    assert features_of(rules, "x", "long answer", ignore=("half",)).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1000, [457, 124, 112, 84, 66, 42, 35, 35, 26, 19]),
        (100, [46, 12, 11, 8, 7, 4, 4, 3, 3, 2]),
        (20, [9, 2, 2, 2, 1, 1, 1, 1, 1, 0]),
    ],
)
def test_the_use_cases_of_the_published_table_are_allotted(count: int, expected: list[int]) -> None:
    assert list(largest_remainder(INSTRUCTGPT_USE_CASES, count).values()) == expected


def sampler(allocation: str, seed: int = 0) -> StratifiedPromptSampler[str]:
    config = PromptSamplerConfig(INSTRUCTGPT_USE_CASES, allocation, seed)  # type: ignore[arg-type]
    return StratifiedPromptSampler(config, {name: [f"{name} {k}" for k in range(30)] for name in INSTRUCTGPT_USE_CASES})


def test_prompts_are_drawn_as_allotted_and_none_twice_before_all_came():
    drawn = sampler("largest_remainder").draw(100)
    assert Counter(name for name, _ in drawn)["Generation"] == 46
    chat = [prompt for name, prompt in drawn if name == "Chat"]
    assert len(set(chat)) == len(chat) == 8
    generated = Counter(prompt for name, prompt in drawn if name == "Generation")
    assert len(generated) == 30
    assert drawn == sampler("largest_remainder").draw(100)
    assert drawn != sampler("largest_remainder", 1).draw(100)


def test_independent_draws_have_the_shares_on_average():
    found = Counter(name for name, _ in sampler("independent").draw(10000))
    expected = [10000 * share / 99.9 for share in INSTRUCTGPT_USE_CASES.values()]
    assert chisquare([found[name] for name in INSTRUCTGPT_USE_CASES], expected).pvalue > 0.001


def test_an_empty_use_case_is_named():
    with pytest.raises(InputFileError, match="Chat"):
        StratifiedPromptSampler(PromptSamplerConfig({"Chat": 10.0, "Other": 90.0}), {"Other": ["x"]})


def test_a_mix_is_called_measured_only_with_enough_cases():
    assert measured_mix(["leak"] * 199, ["leak", "other"]) == ({"leak": 50, "other": 50}, "uniform, not measured")
    assert measured_mix(["leak"] * 150 + ["other"] * 50, ["leak", "other"])[0] == {"leak": 75, "other": 25}
    with pytest.raises(InputFileError, match="tear"):
        measured_mix(["tear"], ["leak"])


def test_wilsons_interval_is_the_published_one():
    found = wilson(7, 10)  # Newcombe 1998: solutions of (p - 0.7)^2 = z^2 p (1 - p) / 10
    for end in (found.low, found.high):
        assert (end - 0.7) ** 2 == pytest.approx(1.959963984540054**2 * end * (1 - end) / 10)
    assert math.isnan(wilson(0, 0).rate)


@pytest.mark.parametrize(("n", "expected"), [(1, 0.0), (4, 0.6363), (16, 1.8351), (64, 3.1745)])
def test_the_distance_of_best_of_n(n: int, expected: float) -> None:
    assert best_of_n_kl(n) == pytest.approx(expected, abs=5e-5)


def test_the_best_of_n_is_that_of_all_subsets():
    proxy, gold = torch.randn(2, 6, dtype=torch.float64), torch.randn(2, 6, dtype=torch.float64)
    for n in (1, 3, 6):
        by_hand = [
            float(gold[row, max(subset, key=lambda i: float(proxy[row, i]))])
            for row in range(2)
            for subset in itertools.combinations(range(6), n)
        ]
        assert best_of_n(proxy, gold, n) == pytest.approx(sum(by_hand) / len(by_hand))
    with pytest.raises(ValueError, match="best of 7"):
        best_of_n(proxy, gold, 7)
    assert [p.kl for p in best_of_n_curve(proxy, gold, (1, 4))] == [0, pytest.approx(0.6363, abs=1e-4)]


def test_the_policy_to_ship_is_where_gold_peaks_not_the_last():
    points = [Point(0, 0.1, 0.5), Point(1, 0.4, 0.8), Point(4, 0.9, 0.6)]
    assert gold_peak(points) == 1
    assert points[2].root_kl == 2
    assert Point(-0.1, 0, 0).root_kl == 0
    assert falls_from_the_start([points[1], points[2]])
    assert not falls_from_the_start(points)
