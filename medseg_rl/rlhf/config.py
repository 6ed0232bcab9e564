"""Settings of every trainer here, with the presets that published systems stand for. Computes nothing.

Names follow TRL where it has one, but `discount` is its `gamma` and `gae_lambda` its `lam`. A preset differs from the
defaults in the fields that it names. Unknown keys are errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from medseg_rl.errors import InputFileError
from medseg_rl.rlhf.json_values import from_json

Config = TypeVar("Config")
Baseline = Literal["sample", "greedy", "loo", "value", "none"]


@dataclass(frozen=True)
class SFTConfig:
    """Learning from demonstrations. `select_by`: what chooses the epoch (InstructGPT: the reward model's score)."""

    learning_rate: float = 1e-4
    num_epochs: int = 16
    lr_schedule: Literal["cosine", "constant"] = "cosine"
    dropout: float = 0.0
    pretraining_mix: float = 0.0
    select_by: Literal["reward_model", "nll"] = "reward_model"


@dataclass(frozen=True)
class RewardConfig:
    """A reward model from rankings. `ranking_normalization`: each prompt counts once, whatever its K."""

    learning_rate: float = 1e-4
    num_epochs: int = 1
    prompts_per_batch: int = 64
    min_candidates: int = 4
    max_candidates: int = 9
    ranking_normalization: Literal["per_prompt"] = "per_prompt"
    center_rewards_coefficient: float = 0.0
    normalize_on: Literal["demonstrations", "none"] = "demonstrations"
    reward_map: bool = False
    use_implicit: bool = False


@dataclass(frozen=True)
class AdaptiveKLConfig:
    """Steers `kl_coef` so that the KL stays near `target` nats; `horizon` in episodes."""

    target: float = 6.0
    horizon: int = 10000


@dataclass(frozen=True)
class PPOConfig:
    """PPO on tokens or voxels. `kl_reduction` "mean_band": sums over agents become means, whatever the crop's size.

    `ptx_examples_per_episode`: demonstrations or corpus texts drawn for every episode of a minibatch.
    """

    num_ppo_epochs: int = 4
    num_mini_batches: int = 1
    learning_rate: float = 1e-4
    adam_eps: float = 1e-5
    kl_coef: float = 0.05
    kl_estimator: Literal["k1", "k3"] = "k1"
    kl_reduction: Literal["sum", "mean_band"] = "sum"
    adaptive_kl: AdaptiveKLConfig | None = None
    cliprange: float = 0.2
    cliprange_value: float = 0.2
    vf_coef: float = 0.1
    discount: float = 1.0
    gae_lambda: float = 0.95
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    lr_warmup_iterations: int = 10
    temperature: float = 1.0
    missing_eos_penalty: float | None = None
    ptx_coef: float = 0.0
    ptx_examples_per_episode: int = 8
    ema_decay: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_ppo_epochs < 1 or self.num_mini_batches < 1:
            raise ValueError(f"{self.num_ppo_epochs} epochs of {self.num_mini_batches} minibatches; both must be >= 1")
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; it must be positive")


@dataclass(frozen=True)
class REINFORCEConfig:
    """Task rewards without a critic. `normalize_std` divides by the group's deviation, which is biased."""

    baseline: Baseline = "loo"
    num_samples: int = 2
    counterfactual: bool = False
    normalize_std: bool = False
    learning_rate: float = 1e-4


@dataclass(frozen=True)
class HumanGuidanceConfig:
    """Weight of a person's interventions. `decay`: lambda, per finished case or episode."""

    method: Literal["hug", "ia", "hi", "none"] = "hug"
    weight_schedule: Literal["handover", "paper"] = "handover"
    decay: float = 0.997
    fixed_weight: float = 3.0
    max_exponent: float = 3.0
    intervention_penalty: float = 0.0
    guidance_coef: float = 1.0


@dataclass(frozen=True)
class REDConfig:
    """Alternating phases of reinforcement (no command) and cloning (commands)."""

    bc_ratio: float = 1.0
    nll_tolerance: float = 0.10
    value_warmup_updates: int = 200
    rl_updates: int = 8
    bc_updates: int = 8
    win_queue_size: int = 2000
    joint_beta: float | None = None
    na_command: int = 0


@dataclass(frozen=True)
class RuleRewardConfig:
    """Fit of the weights of rules by hinge loss on ordered answers."""

    margin: float = 1.0
    learning_rate: float = 1e-2
    weight_decay: float = 0.0
    num_iterations: int = 1000
    validation_fraction: float = 0.05
    ignore_features: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeagueConfig:
    """Ratings of checkpoints. `virtual_draw_strength`: draws against the parent, as a prior."""

    virtual_draw_strength: float = 4.0
    draw_margin: float = 0.005
    interval: Literal["marginal", "conditional"] = "marginal"
    bootstrap_samples: int = 2000
    max_rating_gap: float = 1200
    confidence: float = 0.95


@dataclass(frozen=True)
class PromptSamplerConfig:
    """`percentages` by use case, in table order; they are normalised. "independent": drawn, not allotted."""

    percentages: Mapping[str, float] = field(default_factory=dict)
    allocation: Literal["largest_remainder", "independent"] = "largest_remainder"
    seed: int = 0


def instructgpt() -> PPOConfig:
    """Ouyang et al. 2022, appendix C: one inner epoch of eight minibatches, weights averaged, pretraining mixed in."""
    return PPOConfig(kl_coef=0.02, num_ppo_epochs=1, num_mini_batches=8, ema_decay=0.992, ptx_coef=27.8)


def gpt2_sentiment() -> PPOConfig:
    """Chinese GPT-2 made positive: adaptive KL from 0.2 (its source uses minibatches of one sample)."""
    return PPOConfig(kl_coef=0.2, adaptive_kl=AdaptiveKLConfig(), num_ppo_epochs=4, learning_rate=1.41e-5)


def trl() -> PPOConfig:
    """The defaults of TRL's former PPO trainer."""
    return PPOConfig(kl_coef=0.05, num_ppo_epochs=4)


def voxel() -> PPOConfig:
    """Voxel agents: coefficients that mean the same for every crop."""
    return PPOConfig(kl_reduction="mean_band", discount=0.95)


PPO_PRESETS = {"instructgpt": instructgpt, "gpt2_sentiment": gpt2_sentiment, "trl": trl, "voxel": voxel}


def config_of(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """A config from parsed JSON or TOML. Raises InputFileError naming an unknown key or a value of another type."""
    try:
        return from_json(kind, values)
    except ValueError as error:
        raise InputFileError(f"{kind.__name__}: {error}") from None
