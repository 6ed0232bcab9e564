"""How large the recipe on text is, in full and as a smoke run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from medseg_rl.rlhf.config import PPOConfig, RewardConfig

PROMPTS = ("刚收到货，感觉", "这部电影很", "说实话，真的很", "这次购物总的来说体验很")
KINDLY = "非常好，很满意。"  # put before a prompt: the best start that is set by hand


@dataclass(frozen=True)
class Settings:
    """`corpus_limit`: reviews of each label, None for all. `rankings`: prompts that simulated people rank answers to.

    `arms`: those to run and report, all where none is named. `score_every`: iterations between two that may be
    shipped. `final_samples`: answers to each prompt at the end.
    """

    layers: int = 3
    width: int = 128
    judge_width: int = 96
    rare_below: int = 3
    vocabulary: int | None = None
    corpus_limit: int | None = None
    text_length: int = 48
    language_epochs: int = 3
    judge_epochs: int = 3
    batch: int = 64
    learning_rate: float = 1e-3
    rankings: int = 800
    held_out_rankings: int = 150
    iterations: int = 157
    batch_size: int = 128
    new_tokens: int = 16
    score_every: int = 5
    final_samples: int = 64
    seeds: int = 3
    refusal_seeds: int = 5
    refusal_iterations: int = 100
    arms: tuple[str, ...] = ()
    test_texts: int = 500
    ptx_coef: float = 1.0
    ppo: PPOConfig = field(
        default_factory=lambda: PPOConfig(num_mini_batches=2, kl_coef=0.05, ptx_examples_per_episode=1)
    )
    reward: RewardConfig = field(default_factory=lambda: RewardConfig(prompts_per_batch=8, learning_rate=3e-4))


def smoke() -> Settings:
    """Two layers of width 64, three iterations: some ten seconds."""
    return replace(
        Settings(),
        layers=2,
        width=64,
        judge_width=32,
        vocabulary=796,
        corpus_limit=150,
        text_length=24,
        language_epochs=1,
        judge_epochs=1,
        rankings=8,
        held_out_rankings=8,
        iterations=3,
        batch_size=16,
        score_every=1,
        final_samples=4,
        seeds=1,
        refusal_seeds=1,
        refusal_iterations=2,
        test_texts=20,
    )
