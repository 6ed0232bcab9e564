"""The rules of the command game by positions set up by hand; its players, commanders and demonstrations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg_rl.recipes.command_rts.commanders import (
    ATTACK,
    COMMANDERS,
    DEFEND,
    MINE,
    NA,
    Minds,
    beaten_by,
    counter_of,
    obey,
    premise_fails,
    rush,
)
from medseg_rl.recipes.command_rts.game import (
    BASE,
    BASE_HEALTH,
    COST,
    DAMAGE,
    EVERYONE,
    FEATURES,
    FIGHTER_HEALTH,
    FIRST_FIGHTER,
    SLOTS,
    START_RESOURCES,
    WORKER,
    Board,
    Games,
    Orders,
)
from medseg_rl.recipes.command_rts.play import _Book, demonstrations, duel, play, rollout_of
from medseg_rl.recipes.command_rts.policy import Player, Seen
from medseg_rl.recipes.command_rts.training import SMOKE

BOARD = Board()


def _orders(select: int, kind: int = 0, cell: int = 0, games: int = 1) -> Orders:
    return Orders(*(np.full(games, value) for value in (select, kind, cell)))


def _put(games: Games, side: int, slot: int, kind: int, place: tuple[int, int]) -> None:
    games.kind[:, side, slot], games.health[:, side, slot] = kind, FIGHTER_HEALTH
    games.place[:, side, slot] = games.target[:, side, slot] = place


NOBODY = Orders.none(1)


def test_a_base_builds_what_it_can_pay_for() -> None:
    games = Games(1, BOARD)
    games.step(_orders(BASE, kind=2), NOBODY)
    assert games.kind[0, 0].tolist() == [2, -1, -1, -1, -1]
    assert games.resources[0, 0] == pytest.approx(START_RESOURCES - COST + 0.25)
    games.step(_orders(BASE, kind=2), NOBODY)
    assert games.alive[0, 0].sum() == 1


def test_a_base_without_room_builds_nothing() -> None:
    games = Games(1, BOARD)
    for slot in range(SLOTS):
        _put(games, 0, slot, 0, (1, 1))
    games.resources[:] = 8
    assert not games.permitted(0)[0, BASE]
    games.step(_orders(BASE), NOBODY)
    assert games.resources[0, 0] == pytest.approx(8.25)


def test_a_worker_at_its_mine_doubles_the_income() -> None:
    games = Games(1, BOARD)
    for _ in range(10):
        games.step(_orders(WORKER, cell=BOARD.cell(BOARD.mine)), NOBODY)
    before = games.resources.copy()
    games.step(NOBODY, NOBODY)
    assert (games.resources - before)[0].tolist() == pytest.approx([0.5, 0.25])


def test_an_order_for_all_moves_all_and_one_for_one_moves_one() -> None:
    games = Games(1, BOARD)
    _put(games, 0, 0, 0, (1, 1))
    _put(games, 0, 1, 0, (1, 1))
    games.step(_orders(FIRST_FIGHTER + 1, cell=BOARD.cell((5, 3))), NOBODY)
    assert games.place[0, 0, :2].tolist() == [[1, 1], [2, 2]]
    games.step(_orders(EVERYONE, cell=BOARD.cell((5, 3))), NOBODY)
    assert games.place[0, 0, :2].tolist() == [[2, 2], [3, 3]]


@pytest.mark.parametrize("kind", range(3))
def test_each_kind_beats_the_next_in_the_ring(kind: int) -> None:
    games = Games(1, BOARD)
    _put(games, 0, 0, kind, (5, 5))
    _put(games, 1, 0, int(beaten_by(np.array(kind))), (5, 6))
    for _ in range(int(FIGHTER_HEALTH / 2)):
        games.step(NOBODY, NOBODY)
    assert games.alive[0, :, 0].tolist() == [True, False]
    assert games.health[0, 0, 0] == FIGHTER_HEALTH - 0.5 * FIGHTER_HEALTH / 2
    assert counter_of(beaten_by(np.array(kind))) == kind


def test_damage_is_a_ring() -> None:
    assert np.array_equal(DAMAGE, np.roll(np.roll(DAMAGE, 1, 0), 1, 1))


def test_equals_fall_together() -> None:
    games = Games(1, BOARD)
    _put(games, 0, 0, 1, (5, 5))
    _put(games, 1, 0, 1, (5, 6))
    for _ in range(int(FIGHTER_HEALTH)):
        games.step(NOBODY, NOBODY)
    assert not games.alive.any()


def test_who_stands_at_a_base_with_no_enemy_near_razes_it_and_wins() -> None:
    games = Games(1, BOARD)
    _put(games, 0, 0, 0, (BOARD.size - 3, BOARD.size - 3))
    for tick in range(int(BASE_HEALTH)):
        assert not games.over[0], tick
        games.step(NOBODY, NOBODY)
    assert games.over[0]
    assert games.winner[0] == 0


def test_time_decides_by_what_is_left_of_the_bases() -> None:
    games = Games(3, replace(BOARD, horizon=1))
    games.base_health[:] = [[5, 4], [4, 5], [5, 5]]
    games.step(Orders.none(3), Orders.none(3))
    assert games.over.all()
    assert games.winner.tolist() == [0, 1, -1]


def test_a_game_that_is_over_stands_still() -> None:
    games = Games(2, BOARD)
    games.base_health[0, 1] = 0
    games.step(Orders.none(2), Orders.none(2))
    before = games.resources[0].copy()
    games.step(_orders(BASE, games=2), Orders.none(2))
    assert games.over.tolist() == [True, False]
    assert games.resources[0].tolist() == before.tolist()
    assert games.alive.sum((1, 2)).tolist() == [0, 1]


def test_both_sides_see_the_same_from_their_corners() -> None:
    games = Games(1, BOARD)
    _put(games, 0, 0, 1, (2, 3))
    _put(games, 1, 0, 1, (7, 6))
    assert np.array_equal(games.observe(0), games.observe(1))
    assert games.observe(0).shape == (1, FEATURES)


def test_fighters_are_seen_within_sight_of_ones_own_alone() -> None:
    games = Games(1, replace(BOARD, sight=2))
    _put(games, 1, 0, 1, (5, 6))
    hidden = games.observe(0)
    assert np.array_equal(hidden, Games(1, replace(BOARD, sight=2)).observe(0))
    _put(games, 0, 3, 0, (3, 4))
    seen = games.observe(0)
    _put(games, 1, 0, 1, (6, 6))
    beyond = games.observe(0)
    assert not np.array_equal(seen, beyond)
    games.kind[:, 1, 0] = -1
    assert np.array_equal(games.observe(0), beyond)


def test_batches_of_games_fit_together_however_soon_they_end() -> None:
    player = Player(BOARD)
    for horizon in (4, 9):
        board = replace(BOARD, horizon=horizon)
        found = play(player, COMMANDERS["NA"], games=3, board=board, rng=np.random.default_rng(0))
        assert found.mask.shape == (3, horizon)
    state = Games(2, BOARD)
    book = _Book()
    book.add(Seen(state.observe(0), state.permitted(0)), np.zeros(2, np.int64), Orders.none(2), ~state.over, state.over)
    assert book.episodes(state).mask.sum(1).tolist() == [1, 1]
    assert book.episodes(state).mask.shape == (2, BOARD.horizon)


def test_the_rules_are_fair_when_sides_are_exchanged() -> None:
    rng, winners = np.random.default_rng(0), []
    minds = Minds(40, rng)
    for swapped in (False, True):
        games = Games(40, BOARD)
        kinds = [np.roll(minds.opponent_kind, 1), minds.opponent_kind]
        while not games.over.all():
            orders = []
            for side in (0, 1):
                minds.opponent_kind = kinds[side ^ swapped]
                orders.append(rush(games, side, minds))
            games.step(*orders)
        winners.append(games.winner)
        minds.opponent_kind = kinds[1]
    exchanged = np.where(winners[1] < 0, -1, 1 - winners[1])
    assert np.array_equal(winners[0], exchanged)


def test_many_games_at_once_are_each_what_one_alone_is() -> None:
    rng = np.random.default_rng(1)
    script = [(rng.integers(0, EVERYONE + 1, 5), rng.integers(0, 3, 5), rng.integers(0, 100, 5)) for _ in range(60)]
    together, alone = Games(5, BOARD), [Games(1, BOARD) for _ in range(5)]
    minds = Minds(5, rng)
    for select, kind, cell in script:
        together.step(Orders(select, kind, cell), rush(together, 1, minds))
        for i, game in enumerate(alone):
            mind = Minds(1, rng)
            mind.opponent_kind = minds.opponent_kind[i : i + 1]
            game.step(Orders(select[i : i + 1], kind[i : i + 1], cell[i : i + 1]), rush(game, 1, mind))
    assert np.array_equal(together.observe(0), np.concatenate([game.observe(0) for game in alone]))
    assert together.winner.tolist() == [int(game.winner[0]) for game in alone]


def test_the_script_does_what_it_is_told_and_no_more() -> None:
    games, rng = Games(7, BOARD), np.random.default_rng(0)
    orders = obey(games, 0, np.arange(7), rng, noise=0)
    assert orders.select.tolist() == [0, BASE, BASE, BASE, 0, 0, WORKER]  # nobody is there to attack or defend
    assert orders.kind[1:4].tolist() == [0, 1, 2]
    assert premise_fails(games, 0, np.arange(7)).tolist() == [False] * 4 + [True, True, False]
    _put(games, 0, 0, 0, (1, 1))
    orders = obey(games, 0, np.full(7, ATTACK), rng, noise=0)
    assert orders.select.tolist() == [EVERYONE] * 7
    assert orders.cell.tolist() == [BOARD.cell(BOARD.enemy_base)] * 7
    assert obey(games, 0, np.full(7, DEFEND), rng, noise=0).select.tolist() == [0] * 7  # at home already


def test_an_obedient_script_wins_by_its_commander() -> None:
    rates = {}
    for name in ("Oracle", "Proxy", "Random", "Adversarial"):
        found = play(None, COMMANDERS[name], games=200, board=BOARD, rng=np.random.default_rng(0))
        rates[name] = float(found.won.float().mean())
    assert 0.75 < rates["Oracle"] < 0.95
    assert 0.35 < rates["Proxy"] < 0.65
    assert rates["Random"] < 0.2
    assert rates["Adversarial"] < 0.05


def test_demonstrations_hold_a_command_at_every_tick_and_are_the_same_for_the_same_seed() -> None:
    one, two = (demonstrations(20, BOARD, np.random.default_rng(4)) for _ in range(2))
    assert not bool(((one.inputs["command"] == NA) & one.mask).any())
    assert all(torch.equal(one.inputs[name], two.inputs[name]) for name in one.inputs)
    assert {int(c) for c in one.inputs["command"].unique()} - {0} == set(range(1, MINE + 1))


def test_a_player_scores_its_orders_as_it_drew_them() -> None:
    torch.manual_seed(0)
    player = Player(BOARD)
    episodes = play(player, COMMANDERS["Random"], games=8, board=BOARD, rng=np.random.default_rng(0))
    rollout = rollout_of(player, episodes)
    picked = {name: tensor[3:5] for name, tensor in episodes.inputs.items()}
    assert torch.allclose(player.evaluate(picked).logprobs, rollout.logprobs[3:5], atol=1e-4)
    counted = rollout.logprobs[rollout.mask]
    assert bool((counted <= 0).all())
    assert bool((counted > -20).all())  # nothing that is not permitted was ordered


def test_the_entropy_of_an_order_is_minus_its_mean_log_probability() -> None:
    torch.manual_seed(0)
    player, games = Player(BOARD), Games(20_000, BOARD)
    commands, rng = np.zeros(20_000, np.int64), np.random.default_rng(0)
    orders, seen = player.orders(games, 0, commands, rng)
    inputs = {
        "features": torch.from_numpy(seen.features)[:, None], "permitted": torch.from_numpy(seen.permitted)[:, None],
        "command": torch.from_numpy(commands)[:, None],
        **{name: torch.from_numpy(getattr(orders, name))[:, None] for name in ("select", "kind", "cell")},
    }  # fmt: skip
    with torch.no_grad():
        found = player.evaluate(inputs)
    assert float(-found.logprobs.mean()) == pytest.approx(float(found.entropy.mean()), rel=0.02)


def test_the_command_no_command_is_the_zero_vector() -> None:
    player = Player(BOARD)
    assert torch.equal(player.command.weight[NA], torch.zeros_like(player.command.weight[NA]))


def test_a_player_meets_itself_without_an_edge() -> None:
    torch.manual_seed(0)
    player = Player(SMOKE.board)
    winners = duel(player, player, games=400, board=SMOKE.board, rng=np.random.default_rng(0))
    decided = winners[winners >= 0]
    assert abs(decided.mean() - 0.5) < 4 * 0.5 / np.sqrt(max(1, len(decided)))
