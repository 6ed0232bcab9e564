"""Ratings against choix, the test values KataGo publishes, closed forms, and the coverage of the intervals."""

from __future__ import annotations

import math

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg_rl.rlhf.config import LeagueConfig
from medseg_rl.rlhf.ratings import (
    ELO_PER_NAT,
    GameResult,
    Ratings,
    bootstrap,
    fit,
    information_of,
    normal_cdf,
    rate,
    simulated_coverage,
    virtual_draws,
)

NO_PRIOR = LeagueConfig(virtual_draw_strength=0.0)


def _games(first: str, second: str, *, won: int, lost: int, drawn: int = 0) -> list[GameResult]:
    scores = [1.0] * won + [0.0] * lost + [0.5] * drawn
    return [GameResult(first, second, score, f"{first}{second}{i}") for i, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("won", "lost", "drawn", "draws", "rating", "uncertainty"),
    [(10, 4, 0, 4, math.log(2), 0.5), (32, 8, 4, 4, math.log(3), 1 / 3), (0, 0, 0, 25, 0.0, 0.4)],
)
def test_two_checkpoints_have_the_values_that_katago_tests(
    won: int, lost: int, drawn: int, draws: float, rating: float, uncertainty: float
) -> None:
    found = rate(
        _games("new", "old", won=won, lost=lost, drawn=drawn),
        anchor="old", parents={"new": "old"}, config=LeagueConfig(virtual_draw_strength=draws), players=("old", "new"),
    )  # fmt: skip
    # The older has no parent: a trace of 0.01 draws, which the published values do not have.
    assert found.log_gamma.tolist() == pytest.approx([0, rating], abs=2e-3)
    assert found.conditional[1] == pytest.approx(uncertainty, abs=2e-3)


def _chain() -> tuple[np.ndarray, np.ndarray]:
    wins = np.zeros((5, 5))
    for (i, j), (lost, won) in {(0, 1): (6, 12), (2, 0): (12, 6), (3, 2): (24, 12), (4, 3): (40, 8)}.items():
        wins[i, j], wins[j, i] = won if (i, j) == (0, 1) else lost, lost if (i, j) == (0, 1) else won
    return wins, fit(wins)


def test_a_chain_of_five_has_the_ratings_and_both_uncertainties_of_the_closed_form() -> None:
    wins, rating = _chain()
    two = math.log(2)
    assert rating.tolist() == pytest.approx([0, -two, two, 2 * two, 2 * two + math.log(5)])
    found = Ratings(tuple("abcde"), "a", rating, information_of(wins + wins.T, rating), (0,) * 5)
    assert found.conditional.tolist() == pytest.approx([math.sqrt(x) for x in (1 / 8, 1 / 4, 1 / 12, 3 / 44, 3 / 20)])
    assert (found.marginal * ELO_PER_NAT).tolist() == pytest.approx([0, 86.9, 86.9, 106.4, 125.9], abs=0.05)


def test_choix_finds_the_same_ratings() -> None:
    rng = np.random.default_rng(0)
    wins = rng.integers(1, 20, (7, 7)).astype(float)
    np.fill_diagonal(wins, 0)
    other = choix.ilsr_pairwise_dense(wins, alpha=0)
    assert fit(wins).tolist() == pytest.approx((other - other[0]).tolist(), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 10_000))
def test_differences_do_not_depend_on_the_anchor(one: int, two: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"p{i}" for i in range(5)]
    pairs = rng.permuted(np.tile(np.arange(5), (60, 1)), axis=1)[:, :2]
    games = [GameResult(names[i], names[j], float(rng.integers(0, 3)) / 2, "c") for i, j in pairs]
    found = [rate(games, anchor=names[anchor], players=names).difference("p0", "p3") for anchor in (one, two)]
    assert found[0] == pytest.approx(found[1], abs=1e-4)


def test_the_information_is_the_second_derivative_of_the_likelihood() -> None:
    wins, rating = _chain()
    games, step = wins + wins.T, 1e-4

    def gradient(at: np.ndarray) -> np.ndarray:
        return (wins - games / (1 + np.exp(at[None, :] - at[:, None]))).sum(1)

    numeric = np.stack([(gradient(rating + e) - gradient(rating - e)) / (2 * step) for e in step * np.eye(5)])
    assert np.allclose(information_of(games, rating), -numeric, atol=1e-6)


def test_a_checkpoint_without_a_parent_draws_a_trace_with_everyone() -> None:
    prior = virtual_draws(("a", "b", "c"), {"b": "a"}, strength=4)
    assert prior[0, 1] == pytest.approx(2 + 0.0025)
    assert prior[0, 2] == pytest.approx(0.0025 + 0.0025)
    assert np.array_equal(prior, prior.T)


def test_who_never_lost_has_a_finite_rating() -> None:
    found = rate(_games("a", "b", won=20, lost=0), anchor="b", parents={"a": "b"})
    assert 0 < found.log_gamma[0] < 4


def test_somebody_without_any_game_is_refused_without_a_prior() -> None:
    with pytest.raises(ValueError, match="no virtual draw"):
        fit(np.zeros((2, 2)))


def test_intervals_of_marginal_uncertainty_cover_and_conditional_ones_do_not() -> None:
    games = np.diag(np.full(4, 60.0), 1)
    marginal, conditional = simulated_coverage(np.linspace(0, 2, 5), games + games.T, repeats=400)
    assert 0.92 <= marginal[-1] <= 0.98
    assert conditional[-1] < 0.85


@pytest.mark.slow
def test_intervals_cover_as_they_say_in_two_thousand_simulations() -> None:
    games = np.diag(np.full(4, 60.0), 1)
    marginal, conditional = simulated_coverage(np.zeros(5), games + games.T, repeats=2000, seed=1)
    assert (marginal[1:] >= 0.92).all()
    assert (marginal[1:] <= 0.98).all()
    # Four equal links: the far end varies by four of them, and the conditional interval knows one alone.
    assert conditional[-1] == pytest.approx(2 * normal_cdf(1.96 / 2) - 1, abs=0.03)


def test_every_interval_of_the_table_on_the_slide_is_as_wide_as_its_games_allow() -> None:
    rows = [(28.2, 740), (28.2, 724), (27.1, 732), (22.8, 1241), (23.4, 1159), (23.0, 1166)]
    least = [4 * ELO_PER_NAT / math.sqrt(games) for _, games in rows]  # 2 u with all opponents equally strong
    assert least == pytest.approx([25.5, 25.8, 25.7, 19.7, 20.4, 20.3], abs=0.06)
    assert all(width >= bound for (width, _), bound in zip(rows, least, strict=True))


def test_games_on_one_case_count_less_in_the_bootstrap() -> None:
    alone = [GameResult("a", "b", float(i % 3 > 0), f"case{i}") for i in range(90)]
    grouped = [game._replace(case=f"case{i // 30 if i % 3 else 3}") for i, game in enumerate(alone)]
    config = LeagueConfig(bootstrap_samples=200)
    widths = []
    for games in (alone, grouped):
        ratings = rate(games, anchor="b", config=config)
        widths.append(bootstrap(games, ratings, config=config).half_width("a", confidence=0.95))
    assert widths[1] > widths[0]


def test_the_bootstrap_agrees_with_fisher_where_cases_are_independent() -> None:
    games = [GameResult("a", "b", float(i % 3 > 0), f"case{i}") for i in range(150)]
    ratings = rate(games, anchor="b", config=NO_PRIOR)
    sampled = bootstrap(games, ratings, config=LeagueConfig(virtual_draw_strength=0, bootstrap_samples=600))
    fisher = 1.96 * ratings.marginal[0] * ELO_PER_NAT
    assert sampled.half_width("a", confidence=0.95) == pytest.approx(fisher, rel=0.2)


def test_superiority_is_certain_for_the_far_better_and_even_for_equals() -> None:
    games = [*_games("a", "b", won=60, lost=4), *_games("b", "c", won=30, lost=30)]
    table = rate(games).superiority()
    assert table[0, 1] > 0.99
    assert table[1, 2] == pytest.approx(0.5, abs=0.01)
    assert np.allclose(table + table.T, 1)
