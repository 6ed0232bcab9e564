"""Phases of reinforcement and cloning: what may enter which, the bound, the ratio, and a planted conflict."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from medseg_rl.rlhf.config import PPOConfig, REDConfig
from medseg_rl.rlhf.grounded import (
    CloningTrainer,
    Examples,
    GroundedTrainer,
    WinQueue,
    commanded,
    false_premise,
    mixed,
    negative_log_likelihood,
    obedience,
    warm_up_values,
)
from medseg_rl.rlhf.ppo import PPOTrainer
from medseg_rl.rlhf.rollout import Evaluation, Rollout, Term

ACTIONS = 3


class Tabular(nn.Module):
    """One step, three actions, commands 0 (none), 1, 2; a shared row that both kinds of phases move."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.zeros(ACTIONS))
        self.command = nn.Embedding(3, ACTIONS, padding_idx=0)
        self.value = nn.Parameter(torch.zeros(1))

    def evaluate(self, inputs: Mapping[str, Tensor]) -> Evaluation:
        logits = torch.log_softmax(self.shared + self.command(inputs["command"]), -1)
        chosen = logits.gather(-1, inputs["action"][..., None])[..., 0]
        entropy = -(logits.exp() * logits).sum(-1)
        return Evaluation(chosen, self.value.expand(chosen.shape), entropy)


def _examples(commands: list[int], actions: list[int]) -> Examples:
    rows = {"command": torch.tensor(commands)[:, None], "action": torch.tensor(actions)[:, None]}
    return Examples(rows, torch.ones(len(commands), 1, dtype=torch.bool))


DATA = _examples([1, 2] * 20, [1, 2] * 20)  # command c asks for action c


class Bandit:
    """Without a command only action 0 wins."""

    def __init__(self, policy: Tabular, count: int = 64) -> None:
        self.policy, self.count = policy, count
        self.generator = torch.Generator().manual_seed(0)

    def play(self) -> tuple[Rollout, Tensor]:
        command = torch.zeros(self.count, 1, dtype=torch.long)
        with torch.no_grad():
            chances = torch.softmax(self.policy.shared, 0)
            action = torch.multinomial(chances, self.count, replacement=True, generator=self.generator)[:, None]
            inputs = {"command": command, "action": action}
            found = self.policy.evaluate(inputs)
        won = action[:, 0] == 0
        mask = torch.ones(self.count, 1, dtype=torch.bool)
        rollout = Rollout(
            inputs, found.logprobs, found.logprobs, found.values.clone(), found.entropy, mask,
            extra={"won": won.float()},
        )  # fmt: skip
        return rollout, won


def _cloned() -> Tabular:
    policy = Tabular()
    trainer = CloningTrainer(policy, learning_rate=0.05)
    for _ in range(100):
        trainer.step(DATA)
    return policy


def _trainer(policy: Tabular, config: REDConfig, *, learning_rate: float = 0.05, ptx: float = 0.0) -> GroundedTrainer:
    ppo = PPOConfig(kl_coef=0, learning_rate=learning_rate, lr_warmup_iterations=0, num_ppo_epochs=4, ptx_coef=ptx)
    return GroundedTrainer(
        PPOTrainer(policy, ppo, [(Term("won", lambda r: r.extra["won"]), 1.0)]),  # type: ignore[arg-type]
        config, DATA, DATA, batch=16, learning_rate=0.05,
    )  # fmt: skip


def test_the_commanded_data_hold_no_step_without_a_command() -> None:
    with pytest.raises(ValueError, match="1 steps"):
        commanded(_examples([1, 0], [1, 0]), na_command=0)
    padded = Examples(_examples([1, 0], [1, 0]).inputs, torch.tensor([[True], [False]]))
    assert commanded(padded, na_command=0) is padded


def test_an_rl_phase_refuses_commands() -> None:
    policy = _cloned()
    trainer = _trainer(policy, REDConfig())
    rollout, won = Bandit(policy).play()
    rollout.inputs["command"][0] = 1
    with pytest.raises(ValueError, match="no command"):
        trainer.cycle(lambda: (rollout, won))


def test_the_queue_keeps_the_last_wins_and_no_loss() -> None:
    queue = WinQueue(3)
    queue.add(_examples([0] * 4, [0, 1, 2, 1]), torch.tensor([True, False, True, False]))
    assert queue.count == 2
    queue.add(_examples([0] * 2, [1, 1]), torch.tensor([True, True]))
    drawn = queue.sample(200, generator=torch.Generator().manual_seed(0))
    assert queue.count == 3
    assert set(drawn.inputs["action"][:, 0].tolist()) == {1, 2}  # the oldest, an action 0, has left


def test_an_empty_queue_has_nothing_to_sample() -> None:
    with pytest.raises(ValueError, match="no game was won"):
        WinQueue(3).sample(1, generator=torch.Generator())


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, 16), (0.5, 8), (0.0, 0)])
def test_the_ratio_of_wins_to_data_is_exact(ratio: float, expected: int) -> None:
    queue = WinQueue(10)
    queue.add(_examples([0], [0]), torch.tensor([True]))
    batch = mixed(DATA, queue, count=16, bc_ratio=ratio, generator=torch.Generator().manual_seed(0))
    assert int((batch.inputs["command"] == 0).sum()) == expected
    assert int((batch.inputs["command"] != 0).sum()) == 16


def test_the_embedding_of_no_command_is_zero_and_stays_zero() -> None:
    policy = _cloned()
    trainer = _trainer(policy, REDConfig(rl_updates=2, bc_updates=2))
    for _ in range(5):
        trainer.cycle(Bandit(policy).play)
    assert torch.equal(policy.command.weight[0], torch.zeros(ACTIONS))
    assert bool((policy.command.weight[1] != 0).any())


def test_a_phase_ends_as_soon_as_the_bound_is_exceeded() -> None:
    policy = _cloned()
    trainer = _trainer(policy, REDConfig(rl_updates=50, bc_updates=1, nll_tolerance=0.0), learning_rate=0.2)
    metrics = trainer.cycle(Bandit(policy).play)
    assert metrics["red/rl_updates"] < 50
    assert metrics["red/nll_after_rl"] > trainer.bound


def test_red_learns_to_win_and_keeps_obeying_while_rl_with_large_steps_forgets() -> None:
    red, alone = _cloned(), _cloned()
    grounded = _trainer(red, REDConfig(rl_updates=4, bc_updates=12), learning_rate=0.2)
    plain = _trainer(alone, REDConfig(), learning_rate=0.2)
    bandit, lonely = Bandit(red), Bandit(alone)
    for _ in range(12):
        grounded.cycle(bandit.play)
        for _ in range(4):
            plain.ppo.step(lonely.play()[0])
    assert float(torch.softmax(red.shared, 0)[0].detach()) > 0.9
    assert float(torch.softmax(alone.shared, 0)[0].detach()) > 0.9
    assert grounded.validation_nll() <= grounded.bound
    assert plain.validation_nll() > 5 * grounded.validation_nll()


def test_joint_mixes_the_data_into_one_loss_and_has_no_phases() -> None:
    policy = _cloned()
    trainer = _trainer(policy, REDConfig(joint_beta=1.0), ptx=1.0)
    metrics = trainer.joint_update(Bandit(policy).play)
    assert metrics["loss/ptx_avg"] > 0
    assert "red/bc_nll" in metrics
    with pytest.raises(ValueError, match="joint_update"):
        trainer.cycle(Bandit(policy).play)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped() -> None:
    config = REDConfig(rl_updates=2, bc_updates=2)
    policy = _cloned()
    trainer, bandit = _trainer(policy, config), Bandit(policy)
    trainer.cycle(bandit.play)
    state, saved = copy.deepcopy((trainer.state_dict(), policy.state_dict()))
    play_state = bandit.generator.get_state()
    expected = trainer.cycle(bandit.play)
    expected.pop("eps")  # episodes a second: the clock's
    other = Tabular()
    other.load_state_dict(saved)
    again, replay = _trainer(other, config), Bandit(other)
    again.load_state_dict(state)
    replay.generator.set_state(play_state)
    found = again.cycle(replay.play)
    assert {name: found[name] for name in expected} == expected
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), other.parameters(), strict=True))


def test_the_value_head_warms_up_with_the_policy_frozen() -> None:
    policy = _cloned()
    rollout, won = Bandit(policy).play()
    before = policy.shared.detach().clone()
    losses = warm_up_values(policy, [policy.value], [rollout], [won.float()[:, None]], updates=400, learning_rate=0.05)
    assert torch.equal(policy.shared.detach(), before)
    assert float(policy.value.detach()) == pytest.approx(float(won.float().mean()), abs=0.02)
    assert losses[-1] <= losses[0]


def test_the_likelihood_is_the_mean_over_what_counts() -> None:
    policy = Tabular()
    examples = _examples([0] * 9, [0, 1, 2] * 3)
    examples.mask[3:] = False
    assert float(negative_log_likelihood(policy, examples).detach()) == pytest.approx(torch.tensor(3.0).log().item())


def test_obedience_is_the_gap_between_the_oracle_and_the_adversary() -> None:
    won = {"Oracle": torch.tensor([True] * 9 + [False]), "Adversarial": torch.tensor([True] + [False] * 9)}
    found = obedience(won)
    assert found.grounded == pytest.approx(0.8)
    assert found.wins["Oracle"].low < 0.9 < found.wins["Oracle"].high


def test_a_false_premise_asks_that_nothing_changes() -> None:
    before = [torch.zeros(4), torch.zeros(4)]
    after = [torch.zeros(4), torch.tensor([0.0, 1.0, 0.0, 0.0])]
    found = false_premise(before, after)
    assert found.unchanged.rate == 0.5
    assert found.changed_share == pytest.approx(0.125)
