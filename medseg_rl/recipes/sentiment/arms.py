"""Step 3: one arm of PPO with one seed, and what its answers are worth afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from medseg_rl.recipes.recipe import Result, seed_of
from medseg_rl.recipes.sentiment.models import TextPolicy, language_loss
from medseg_rl.recipes.sentiment.preparation import Stage, held_out_nll, positive
from medseg_rl.recipes.sentiment.sampling import Answers, distinct_2, draw, mean_length, rollout_of
from medseg_rl.recipes.sentiment.settings import PROMPTS
from medseg_rl.rlhf.config import PPOConfig
from medseg_rl.rlhf.ppo import PPOTrainer, micro_batched
from medseg_rl.rlhf.rollout import Rollout, Term

MICRO_BATCH = 64
CHECKPOINT_EVERY = 10


@dataclass(frozen=True)
class Arm:
    """`reward`: "reward" or "shuffled" (classifiers), or "ranked". `forced`: answers never end early."""

    reward: str = "reward"
    kl_coef: float | None = None
    forced: bool = False
    ptx: bool = False


ARMS = {
    "PPO": Arm(),
    "PPO, kl 0 (control)": Arm(kl_coef=0.0),
    "PPO, forced length": Arm(forced=True),
    "PPO, shuffled reward model (control)": Arm(reward="shuffled"),
    "PPO, reward model from ranks": Arm(reward="ranked"),
    "PPO-ptx, reward model from ranks": Arm(reward="ranked", ptx=True),
    "PPO, reward model from ranks, kl 0.2 (control)": Arm(reward="ranked", kl_coef=0.2),  # what more KL does for ptx
}


def config_of(stage: Stage, arm: Arm, seed: int) -> PPOConfig:
    """The settings' PPO with what the arm changes."""
    config = replace(stage.settings.ppo, seed=seed)
    if arm.kl_coef is not None:
        config = replace(config, kl_coef=arm.kl_coef, adaptive_kl=None)
    return replace(config, ptx_coef=stage.settings.ptx_coef) if arm.ptx else config


def scorer(stage: Stage, reward: str) -> Callable[[Sequence[str]], Tensor]:
    """Proxy scores (n,) of texts."""
    if reward == "ranked":
        ranked = stage.ranking_scorer()

        def of_ranks(texts: Sequence[str]) -> Tensor:
            with torch.no_grad():
                return ranked.score(stage.read(texts)._asdict())

        return of_ranks
    classifier = stage.classifier(reward)
    return lambda texts: positive(stage, classifier, texts)


def run_arm(stage: Stage, name: str, arm: Arm, seed: int) -> Result:
    """PPO from the supervised model. History of every iteration, the answers of the shipped and of the last policy."""
    settings, job = stage.settings, f"{name}-{seed}"
    policy = TextPolicy(stage.language_model(), temperature=settings.ppo.temperature, forbid_end=arm.forced)
    reference = copy.deepcopy(policy).eval().requires_grad_(False)
    proxy, judge = scorer(stage, arm.reward), stage.classifier("selection")
    asked = [PROMPTS[k % len(PROMPTS)] for k in range(settings.batch_size)]
    now: dict[str, Answers] = {}
    term = Term("reward_model", lambda rollout: proxy(now["answers"].texts))
    trainer = PPOTrainer(policy, config_of(stage, arm, seed), [(term, 1.0)])
    generator = torch.Generator().manual_seed(seed_of(name, seed))
    history: list[dict[str, float]] = []
    best: dict[str, Any] = {"gold": -1.0, "iteration": -1, "policy": policy.state_dict()}
    checkpoint = stage.work.checkpoint(_file(job))
    if state := checkpoint.load():
        trainer.load_state_dict(state["trainer"])
        generator.set_state(state["generator"])
        history, best = state["history"], state["best"]
    for iteration in range(len(history), settings.iterations):
        now["answers"] = draw(policy, asked, stage.tokenizer, steps=settings.new_tokens, generator=generator)
        rollout = rollout_of(policy, reference, now["answers"])
        gold = float(positive(stage, judge, now["answers"].texts).mean())
        if iteration % settings.score_every == 0 and gold > best["gold"]:
            best = {"gold": gold, "iteration": iteration, "policy": copy.deepcopy(policy.state_dict())}
        metrics = trainer.step(rollout, pretraining=_pretraining(stage, policy, generator) if arm.ptx else None)
        history.append(_logged(metrics, now["answers"], gold, rollout))
        stage.work.report(f"{job}: reward {history[-1]['proxy']:.3f}", iteration + 1, settings.iterations)
        if iteration % CHECKPOINT_EVERY == CHECKPOINT_EVERY - 1 or stage.work.cancel():
            parts = {"trainer": trainer.state_dict(), "generator": generator.get_state()}
            checkpoint.save({**parts, "history": history, "best": best})
            stage.work.stop_if_cancelled()
    last = judged(stage, policy, proxy, reference)
    policy.load_state_dict(best["policy"])
    shipped = judged(stage, policy, proxy, reference) | {"iteration": best["iteration"]}
    return {"arm": name, "seed": seed, "history": history, "last": last, "shipped": shipped}


def judged(
    stage: Stage,
    policy: TextPolicy,
    proxy: Callable[[Sequence[str]], Tensor],
    reference: TextPolicy,
    *,
    before_prompt: str = "",
) -> Result:
    """Fresh answers to the four prompts with a seed that all policies share, scored by everyone.

    `before_prompt` is shown to the policy and to nobody who judges.
    """
    settings = stage.settings
    prompts = [prompt for prompt in PROMPTS for _ in range(settings.final_samples)]
    generator = torch.Generator().manual_seed(seed_of("final answers"))
    asked = [before_prompt + prompt for prompt in prompts]
    answers = draw(policy, asked, stage.tokenizer, steps=settings.new_tokens, generator=generator)
    texts = [prompt + answer for prompt, answer in zip(prompts, answers.answers, strict=True)]
    rollout = rollout_of(policy, reference, answers)
    reporting = [stage.reporting_judge.positive(text) for text in texts]
    return {
        "proxy": float(proxy(texts).mean()),
        "selection": float(positive(stage, stage.classifier("selection"), texts).mean()),
        "reporting": sum(reporting) / len(reporting),
        "reporting_each": reporting,
        "kl": float(((rollout.logprobs - rollout.ref_logprobs) * rollout.mask).sum(1).mean()),
        "distinct2": distinct_2(answers.answers),
        "length": mean_length(answers.answers),
        "nll": held_out_nll(stage, policy.language_model),
        "samples": [texts[k * settings.final_samples] for k in range(len(PROMPTS))],
    }


def _logged(metrics: dict[str, float], answers: Answers, gold: float, rollout: Rollout) -> dict[str, float]:
    kept = ("objective/kl", "objective/kl_coef", "objective/entropy", "policy/clipfrac_avg", "val/ratio")
    return {
        "proxy": metrics["objective/scores"],
        "gold": gold,
        "distinct2": distinct_2(answers.answers),
        "length": mean_length(answers.answers),
        "ended": float(answers.ended.float().mean()),
        **{key: metrics[key] for key in (*kept, "val/first_ratio_error", "loss/ptx_avg", "loss/value_avg")},
    }


def _pretraining(stage: Stage, policy: TextPolicy, generator: torch.Generator) -> Any:
    texts = stage.corpus.for_language

    def mixed(count: int) -> Any:
        rows = torch.randint(len(texts), (count,), generator=generator)
        return micro_batched(
            lambda part: language_loss(policy.language_model, stage.spoken([texts[i].text for i in part.tolist()])),
            rows,
            size=MICRO_BATCH,
        )

    return mixed


def _file(job: str) -> str:
    return "".join(c if c.isalnum() or c == "-" else "_" for c in job)
