"""The text recipe's parts: re-scoring, corpus splits, and PPO on a planted reward."""

from __future__ import annotations

import copy

import pytest
import torch

from medseg_rl.rlhf.config import PPOConfig
from medseg_rl.rlhf.ppo import PPOTrainer
from medseg_rl.rlhf.rollout import Term

corpus = pytest.importorskip("medseg_rl.recipes.sentiment.corpus")
models = pytest.importorskip("medseg_rl.recipes.sentiment.models")
sampling = pytest.importorskip("medseg_rl.recipes.sentiment.sampling")

TOKENIZER = corpus.Tokenizer(tuple("好坏很不错这部电影我你他，。"))
PROMPTS = ["这部电影很", "很"] * 16


def policy(forbid_end: bool = False) -> object:
    model = models.build_language_model(TOKENIZER.size, layers=2, width=32, seed=0)
    with torch.no_grad():
        model.transformer.wte.weight.mul_(5)  # something else than a uniform choice
    return models.TextPolicy(model, forbid_end=forbid_end).eval()


@pytest.mark.parametrize("forbid_end", [False, True])
def test_rescored_log_probabilities_are_those_of_the_draw(forbid_end: bool) -> None:
    ours = policy(forbid_end)
    answers = sampling.draw(ours, PROMPTS, TOKENIZER, steps=8, generator=torch.Generator().manual_seed(0))
    found = sampling.rollout_of(ours, copy.deepcopy(ours), answers)
    torch.testing.assert_close(found.logprobs, answers.logprobs, atol=1e-4, rtol=0)
    assert (found.logprobs - found.ref_logprobs).abs().max() == 0
    assert bool(answers.mask.all()) == forbid_end
    assert answers.ended.any() != forbid_end


def test_nothing_counts_after_the_end() -> None:
    answers = sampling.draw(policy(), PROMPTS, TOKENIZER, steps=8, generator=torch.Generator().manual_seed(0))
    drawn = answers.tokens[:, -8:]
    for row, mask in zip(drawn.tolist(), answers.mask.tolist(), strict=True):
        stop = row.index(corpus.END) + 1 if corpus.END in row else 8
        assert mask == [True] * stop + [False] * (8 - stop)
        assert all(token == corpus.PAD for token in row[stop:])


def test_a_planted_reward_rises_and_the_same_seed_gives_the_same_text() -> None:
    def run() -> tuple[list[float], tuple[str, ...]]:
        ours = policy()
        reference = copy.deepcopy(ours)
        drawn = {}
        term = Term("good", lambda rollout: torch.tensor([float("好" in text) for text in drawn["now"].answers]))
        trainer = PPOTrainer(ours, PPOConfig(learning_rate=3e-3, lr_warmup_iterations=0, kl_coef=0.0), [(term, 1.0)])
        generator = torch.Generator().manual_seed(0)
        scores = []
        for _ in range(4):
            drawn["now"] = sampling.draw(ours, PROMPTS * 2, TOKENIZER, steps=6, generator=generator)
            metrics = trainer.step(sampling.rollout_of(ours, reference, drawn["now"]))
            scores.append(metrics["objective/scores"])
            if len(scores) == 1:
                assert metrics["val/first_ratio_error"] == 0
                assert metrics["objective/kl"] == 0
        return scores, drawn["now"].texts

    scores, texts = run()
    assert scores[-1] > scores[0] + 0.1
    assert run() == (scores, texts)


def test_the_parts_of_the_corpus_share_no_text() -> None:
    found = corpus.read_corpus(limit=400)
    texts = [review.text for part in found.parts.values() for review in part]
    assert len(texts) == len(set(texts)) == 800
    assert set(found.parts) == {"reward", "selection", "reporting", "test"}
    assert not {r.text for r in found.parts["test"]} & {r.text for r in found.for_language}


def test_text_survives_the_tokenizer_and_rare_characters_show() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode("这部电影很好")) == "这部电影很好"
    assert TOKENIZER.decode([*TOKENIZER.encode("好龘"), corpus.END, 5]) == "好□"


def test_the_judge_that_reports_learns_which_characters_are_kind() -> None:
    judge = models.NaiveBayes([corpus.Review("很好很好", True), corpus.Review("不坏吗坏", False)])
    assert judge.positive("好") > 0.5 > judge.positive("坏")


def test_diversity_counts_different_pairs() -> None:
    assert sampling.distinct_2(["好好好", "很坏"]) == pytest.approx(2 / 3)
