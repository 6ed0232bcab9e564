"""PPO against closed forms, enumeration, finite differences and TorchRL; tokens and voxels by the same code."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from medseg_rl.rlhf.config import (
    PPO_PRESETS,
    AdaptiveKLConfig,
    PPOConfig,
    SFTConfig,
    config_of,
    gpt2_sentiment,
    instructgpt,
    trl,
    voxel,
)
from medseg_rl.rlhf.ppo import (
    PPOTrainer,
    adapted,
    kl_estimate,
    micro_batched,
    policy_loss,
    rewards_of,
    value_loss,
)
from medseg_rl.rlhf.rollout import Evaluation, Rollout, Term


class Tabular(nn.Module):
    """One distribution over `actions` for every agent and step, and a value: as tokens (agents=()) or voxels."""

    def __init__(self, actions: int, agents: tuple[int, ...] = (), steps: int = 1) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(steps, *agents, actions))
        self.value = nn.Parameter(torch.zeros(steps, *agents))

    def evaluate(self, inputs: Mapping[str, Tensor]) -> Evaluation:
        actions, mask = inputs["actions"], inputs["mask"]
        logged = torch.log_softmax(self.logits, -1).expand(*actions.shape, -1)
        entropy = -(logged.exp() * logged).sum(-1)
        taken = logged.gather(-1, actions[..., None])[..., 0]
        return Evaluation(taken * (mask > 0), self.value.expand(actions.shape) * (mask > 0), entropy * (mask > 0))


def rollout(
    policy: Tabular, reference: Tabular, count: int, generator: torch.Generator, weights: Tensor | None = None
) -> Rollout:
    probabilities = torch.softmax(policy.logits.detach(), -1)
    flat = probabilities.reshape(-1, probabilities.shape[-1])
    actions = torch.multinomial(flat, count, replacement=True, generator=generator).T.reshape(
        count, *policy.value.shape
    )
    mask = torch.ones_like(actions, dtype=torch.bool) if weights is None else weights.expand(actions.shape)
    inputs = {"actions": actions, "mask": mask}
    with torch.no_grad():
        now, before = policy.evaluate(inputs), reference.evaluate(inputs)
    return Rollout(inputs, now.logprobs, before.logprobs, now.values, now.entropy, mask)


REWARDS = torch.tensor([1.0, 0.5, 0.0])


def reward_of_action(found: Rollout) -> Tensor:
    return REWARDS[found.inputs["actions"]]


def trained(config: PPOConfig, steps: int, episodes: int = 512) -> tuple[Tabular, dict[str, float]]:
    policy = Tabular(3)
    reference = copy.deepcopy(policy)
    trainer = PPOTrainer(policy, config, [(Term("table", reward_of_action), 1.0)])
    generator = torch.Generator().manual_seed(0)
    metrics: dict[str, float] = {}
    for _ in range(steps):
        metrics = trainer.step(rollout(policy, reference, episodes, generator))
    return policy, metrics


def test_the_tabular_case_converges_to_the_exact_optimum():
    config = PPOConfig(
        kl_coef=0.5, learning_rate=0.02, num_ppo_epochs=2, whiten_advantages=False, lr_warmup_iterations=0
    )
    policy, _ = trained(config, 400, episodes=2048)
    optimum = torch.softmax(REWARDS / 0.5, 0)
    assert optimum.tolist() == pytest.approx([0.665241, 0.244728, 0.090031], abs=1e-6)
    torch.testing.assert_close(torch.softmax(policy.logits.detach(), -1)[0], optimum, atol=0.02, rtol=0)


def test_a_large_kl_coefficient_keeps_the_reference_and_none_drifts():
    base = PPOConfig(learning_rate=0.02, lr_warmup_iterations=0)
    kept, _ = trained(replace(base, kl_coef=20.0, whiten_advantages=False), 60)
    free, _ = trained(replace(base, kl_coef=0.0), 60)
    assert torch.softmax(kept.logits, -1).max() < 0.38
    assert torch.softmax(free.logits, -1)[0, 0] > 0.9


@pytest.mark.parametrize("agents", [(), (3, 2, 2)])
def test_the_first_pass_has_ratio_one_and_no_kl(agents: tuple[int, ...]) -> None:
    policy = Tabular(3, agents, steps=2)
    nn.init.normal_(policy.logits)
    trainer = PPOTrainer(policy, PPOConfig(num_ppo_epochs=1), [(Term("table", reward_of_action), 1.0)])
    metrics = trainer.step(rollout(policy, copy.deepcopy(policy), 16, torch.Generator().manual_seed(1)))
    assert metrics["val/ratio"] == pytest.approx(1, abs=1e-6)
    assert metrics["val/first_ratio_error"] == 0
    assert metrics["policy/clipfrac_avg"] == metrics["policy/approxkl_avg"] == 0
    assert metrics["objective/kl"] == metrics["objective/kl_sum"] == 0


KEYS = {
    "eps", "objective/kl", "objective/kl_sum", "objective/entropy", "objective/non_score_reward",
    "objective/rlhf_reward", "objective/scores", "policy/approxkl_avg", "policy/clipfrac_avg", "policy/entropy_avg",
    "loss/policy_avg", "loss/value_avg", "val/clipfrac_avg", "val/ratio", "val/ratio_var", "val/num_eos_tokens", "lr",
    "episode", "loss/ptx_avg", "reward/table",
}  # fmt: skip


def test_tokens_and_voxels_log_the_same_keys():
    found = []
    for agents in ((), (2, 2, 1)):
        policy = Tabular(3, agents)
        trainer = PPOTrainer(policy, PPOConfig(), [(Term("table", reward_of_action), 1.0)])
        found.append(trainer.step(rollout(policy, copy.deepcopy(policy), 8, torch.Generator().manual_seed(1))))
    assert found[0].keys() == found[1].keys() >= KEYS


def test_the_reward_reported_is_the_score_plus_what_is_not_score():
    policy, reference = Tabular(3, steps=2), Tabular(3, steps=2)
    nn.init.normal_(policy.logits)
    trainer = PPOTrainer(policy, PPOConfig(kl_coef=0.3), [(Term("table", reward_of_action), 2.0)])
    found = rollout(policy, reference, 64, torch.Generator().manual_seed(1))
    metrics = trainer.step(found)
    assert metrics["objective/non_score_reward"] == pytest.approx(-0.3 * metrics["objective/kl"], rel=1e-5)
    total = metrics["objective/scores"] + metrics["objective/non_score_reward"]
    assert metrics["objective/rlhf_reward"] == pytest.approx(total)
    assert metrics["objective/scores"] == pytest.approx(2 * metrics["reward/table"], rel=1e-5)


@pytest.mark.parametrize("size", [2, 6])
def test_voxel_losses_and_kl_do_not_depend_on_the_size_of_the_crop(size: int) -> None:
    policy, reference = Tabular(3, (size, 1, 1)), Tabular(3, (size, 1, 1))
    policy.logits.data[..., 0] = 0.5
    actions = torch.arange(3).repeat(20)[:, None, None, None, None].expand(-1, 1, size, 1, 1)
    inputs = {"actions": actions, "mask": torch.ones_like(actions, dtype=torch.bool)}
    with torch.no_grad():
        now, before = policy.evaluate(inputs), reference.evaluate(inputs)
    found = Rollout(inputs, now.logprobs, before.logprobs, now.values, now.entropy, inputs["mask"])
    metrics = PPOTrainer(policy, replace(voxel(), num_ppo_epochs=1), [(Term("table", reward_of_action), 1.0)]).step(
        found
    )
    logs = torch.log_softmax(torch.tensor([0.5, 0.0, 0.0]), 0)
    assert metrics["objective/kl"] == pytest.approx(float((logs - math.log(1 / 3)).mean()), rel=1e-4)
    assert metrics["objective/kl_sum"] == pytest.approx(size * metrics["objective/kl"], rel=1e-4)
    assert metrics["objective/scores"] == pytest.approx(0.5)


def test_the_estimators_by_enumeration():
    policy, reference = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.3, 0.5])
    exact = float((policy * (policy / reference).log()).sum())
    for estimator in ("k1", "k3"):
        values = kl_estimate(policy.log(), reference.log(), estimator=estimator)
        assert float((policy * values).sum()) == pytest.approx(exact)
    assert (kl_estimate(policy.log(), reference.log(), estimator="k3") >= 0).all()
    assert (kl_estimate(policy.log(), reference.log(), estimator="k1") < 0).any()


def test_the_coefficient_adapts_as_published():
    config = AdaptiveKLConfig(target=6, horizon=10000)
    assert adapted(0.2, 12, config=config, episodes=128) == pytest.approx(0.200512)
    assert adapted(0.2, 0, config=config, episodes=128) == pytest.approx(0.2 * (1 - 0.2 * 0.0128))


def test_the_clipped_loss_by_hand():
    ratio, advantages = torch.tensor([[1.5, 0.5, 1.5, 0.5]]), torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    found = policy_loss(ratio.log(), torch.zeros(1, 4), advantages, torch.ones(1, 4), cliprange=0.2)
    assert found.loss.item() == pytest.approx((-1.2 - 0.5 + 1.5 + 0.8) / 4)
    assert found.clipfrac.item() == 0.5
    value = value_loss(
        torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([[1.0]]), torch.ones(1, 1), cliprange=0.2
    )
    assert value.loss.item() == pytest.approx(0.5 * 0.64)


def test_the_clipped_loss_is_that_of_torchrl():
    objectives = pytest.importorskip("torchrl.objectives")
    from tensordict import TensorDict
    from tensordict.nn import ProbabilisticTensorDictModule, TensorDictModule
    from tensordict.nn import ProbabilisticTensorDictSequential as Sequential

    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    actor = Sequential(
        TensorDictModule(net, in_keys=["observation"], out_keys=["logits"]),
        ProbabilisticTensorDictModule(
            in_keys=["logits"],
            out_keys=["action"],
            distribution_class=torch.distributions.Categorical,
            return_log_prob=True,
        ),
    )
    critic = TensorDictModule(nn.Linear(4, 1), in_keys=["observation"], out_keys=["state_value"])
    loss = objectives.ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_bonus=False)
    observation, action = torch.randn(32, 4), torch.randint(3, (32,))
    old, advantage = torch.randn(32) * 0.3 - 1.1, torch.randn(32, 1)
    data = TensorDict(
        {
            "observation": observation,
            "action": action,
            "action_log_prob": old,
            "advantage": advantage,
            "value_target": advantage,
        },
        [32],
    )
    expected = loss(data)["loss_objective"]
    logged = torch.log_softmax(net(observation), -1).gather(1, action[:, None])
    found = policy_loss(logged, old[:, None], advantage, torch.ones(32, 1), cliprange=0.2)
    torch.testing.assert_close(found.loss, expected)


def test_the_mixed_gradient_is_the_sum_of_both_by_finite_differences():
    policy = Tabular(3, steps=2).double()
    nn.init.normal_(policy.logits)
    start = copy.deepcopy(policy.state_dict())
    target = torch.tensor([2, 0])

    def supervised() -> Tensor:
        return -torch.log_softmax(policy.logits, -1).gather(-1, target[:, None]).mean()

    found = rollout(policy, Tabular(3, steps=2).double(), 32, torch.Generator().manual_seed(3))
    gradients = {}
    for coefficient in (0.0, 7.0):
        policy.load_state_dict(start)
        config = PPOConfig(num_ppo_epochs=1, ptx_coef=coefficient)
        trainer = PPOTrainer(policy, config, [(Term("table", reward_of_action), 1.0)])
        trainer.step(found, pretraining=lambda count: [(supervised(), 0.25), (supervised(), 0.75)])
        assert policy.logits.grad is not None
        gradients[coefficient] = policy.logits.grad.clone()
    policy.load_state_dict(start)
    numeric = torch.zeros_like(policy.logits)
    with torch.no_grad():
        for place in numeric.flatten().argsort():
            flat = policy.logits.view(-1)
            kept = float(flat[place])
            sides = []
            for shift in (1e-6, -1e-6):
                flat[place] = kept + shift
                sides.append(float(supervised()))
            flat[place] = kept
            numeric.view(-1)[place] = (sides[0] - sides[1]) / 2e-6
    torch.testing.assert_close(gradients[7.0], gradients[0.0] + 7 * numeric, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_accumulated_gradients_are_those_of_the_whole(size: int) -> None:
    weight = torch.randn(4, requires_grad=True)
    examples = torch.randn(8, 4)
    (whole,) = torch.autograd.grad(((examples @ weight) ** 2).mean(), weight)
    for loss, share in micro_batched(lambda part: ((part @ weight) ** 2).mean(), examples, size=size):
        (share * loss).backward()
    torch.testing.assert_close(weight.grad, whole)


@pytest.mark.parametrize(("coefficient", "low", "high"), [(0.0, 0.0, 0.3), (20.0, 0.85, 0.95)])
def test_ptx_keeps_the_public_score_that_a_wrong_reward_model_costs(
    coefficient: float, low: float, high: float
) -> None:
    """Planted: the reward model likes action 0, the labels say action 2."""
    labelled = torch.tensor([0.05, 0.05, 0.9])
    policy = Tabular(3)
    policy.logits.data = labelled.log()[None]
    reference = copy.deepcopy(policy)
    config = PPOConfig(kl_coef=0.0, learning_rate=0.02, lr_warmup_iterations=0, ptx_coef=coefficient)
    trainer = PPOTrainer(policy, config, [(Term("table", reward_of_action), 1.0)])
    generator = torch.Generator().manual_seed(0)

    def pretraining(count: int) -> list[tuple[Tensor, float]]:
        return [(-(labelled * torch.log_softmax(policy.logits[0], -1)).sum(), 1.0)]

    for _ in range(80):
        trainer.step(rollout(policy, reference, 128, generator), pretraining=pretraining)
    assert low <= float(torch.softmax(policy.logits.detach()[0], -1)[2]) <= high


def test_ptx_without_anything_to_mix_in_is_refused():
    policy = Tabular(3)
    with pytest.raises(ValueError, match="pretraining"):
        PPOTrainer(policy, PPOConfig(ptx_coef=1.0)).step(rollout(policy, policy, 4, torch.Generator()))


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped():
    config = PPOConfig(num_mini_batches=2, adaptive_kl=AdaptiveKLConfig(target=0.01, horizon=100), ema_decay=0.9)

    def steps(trainer: PPOTrainer, policy: Tabular, generator: torch.Generator, count: int) -> list[dict[str, float]]:
        return [trainer.step(rollout(policy, Tabular(3), 32, generator)) for _ in range(count)]

    def fresh() -> tuple[PPOTrainer, Tabular]:
        policy = Tabular(3)
        return PPOTrainer(policy, config, [(Term("table", reward_of_action), 1.0)]), policy

    whole, policy = fresh()
    generator = torch.Generator().manual_seed(5)
    expected = steps(whole, policy, generator, 6)
    first, begun = fresh()
    generator = torch.Generator().manual_seed(5)
    steps(first, begun, generator, 3)
    second, resumed = fresh()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    found = steps(second, resumed, generator, 3)
    for ours, theirs in zip(found, expected[3:], strict=True):
        assert {k: v for k, v in ours.items() if k != "eps"} == {k: v for k, v in theirs.items() if k != "eps"}
    assert second.kl_coef == whole.kl_coef != config.kl_coef
    assert torch.equal(resumed.logits, policy.logits)
    assert second.average is not None
    assert whole.average is not None
    assert torch.equal(second.average["logits"], whole.average["logits"])


def test_the_learning_rate_warms_up_from_a_tenth():
    policy = Tabular(3)
    trainer = PPOTrainer(policy, PPOConfig(learning_rate=1.0, lr_warmup_iterations=10))
    rates = [trainer.step(rollout(policy, policy, 4, torch.Generator().manual_seed(0)))["lr"] for _ in range(12)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[5] == pytest.approx(0.55)
    assert rates[10] == rates[11] == 1.0


def test_a_missing_end_costs_what_the_config_says():
    policy = Tabular(3, steps=2)
    found = rollout(policy, policy, 2, torch.Generator().manual_seed(0))
    found = replace(found, ended=torch.tensor([True, False]))
    rewards = rewards_of(found, [], config=PPOConfig(missing_eos_penalty=1.0), kl_coef=0.0)
    assert rewards.elements.tolist() == [[0, 0], [0, -1]]


def test_presets_differ_from_the_defaults_in_what_they_name():
    default = PPOConfig()
    changed = {
        name: {k for k, v in vars(make()).items() if v != getattr(default, k)} for name, make in PPO_PRESETS.items()
    }
    assert changed == {
        "instructgpt": {"kl_coef", "num_ppo_epochs", "num_mini_batches", "ema_decay", "ptx_coef"},
        "gpt2_sentiment": {"kl_coef", "adaptive_kl", "learning_rate"},
        "trl": set(),
        "voxel": {"kl_reduction", "discount"},
    }
    assert instructgpt().ptx_coef == 27.8
    assert gpt2_sentiment().learning_rate == 1.41e-5
    assert trl() == default


def test_unknown_settings_are_refused_by_name():
    from medseg_rl.errors import InputFileError

    assert config_of(SFTConfig, {"num_epochs": 2}).num_epochs == 2
    with pytest.raises(InputFileError, match="gamma"):
        config_of(PPOConfig, {"gamma": 0.9})
