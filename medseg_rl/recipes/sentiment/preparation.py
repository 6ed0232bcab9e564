"""What stands before PPO: the language model, the classifiers, and a reward model from rankings. Each is one job."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2LMHeadModel

from medseg_rl.imageio.atomic import atomic_path
from medseg_rl.recipes.recipe import Result, Work, seed_of
from medseg_rl.recipes.sentiment.corpus import END, START, Corpus, Padded, Review, Tokenizer, padded
from medseg_rl.recipes.sentiment.models import (
    Classifier,
    NaiveBayes,
    RankingScorer,
    TextPolicy,
    build_language_model,
    language_loss,
    parameters_of,
)
from medseg_rl.recipes.sentiment.sampling import draw
from medseg_rl.recipes.sentiment.settings import Settings
from medseg_rl.rlhf.preferences import simulated_ranks
from medseg_rl.rlhf.reward_model import RankedPrompt, RewardModelTrainer

Model = TypeVar("Model", bound=nn.Module)

SAVE_EVERY = 50  # batches
FRAGMENT = (6, 30)  # characters: what half of the classifier's texts are cut to, since answers are fragments
# Simulated people: temperature of their choices in log-odds of the hidden utility. The last two rank held-out prompts.
ANNOTATORS = {"careful": 0.3, "hasty": 1.0, "held-out": 0.5, "held-out-hasty": 1.2}


@dataclass(frozen=True, eq=False)
class Stage:
    """The corpus with its tokenizer, and models by name from the run folder."""

    work: Work
    settings: Settings
    corpus: Corpus
    tokenizer: Tokenizer

    def save(self, name: str, module: nn.Module) -> None:
        """Keep the weights of a finished model."""
        with atomic_path(self._path(name)) as temporary:
            torch.save(module.state_dict(), temporary)

    def language_model(self) -> GPT2LMHeadModel:
        """The supervised language model."""
        return self._loaded("language", self.untrained())

    def untrained(self) -> GPT2LMHeadModel:
        """The same before its first update."""
        s = self.settings
        return build_language_model(self.tokenizer.size, layers=s.layers, width=s.width, seed=0)

    def classifier(self, name: str) -> Classifier:
        """ "reward", "selection" or "shuffled"."""
        return self._loaded(f"classifier-{name}", self.fresh_classifier(name))

    def fresh_classifier(self, name: str) -> Classifier:
        """The same before its first update."""
        return Classifier(self.tokenizer.size, width=self.settings.judge_width, seed=seed_of("classifier", name))

    def ranking_scorer(self) -> RankingScorer:
        """The reward model from rankings."""
        return self._loaded("ranked", RankingScorer(copy.deepcopy(self.language_model()), seed=0))

    def read(self, texts: Sequence[str]) -> Padded:
        """Texts as classifiers and the reward model read them."""
        return padded([[START, *self.tokenizer.encode(text)][: self.settings.text_length] for text in texts])

    def spoken(self, texts: Sequence[str]) -> Padded:
        """Texts as the language model learns them: start, characters, end unless they are cut."""
        longest = self.settings.text_length
        return padded([[START, *self.tokenizer.encode(text), END][:longest] for text in texts])

    @cached_property
    def reporting_judge(self) -> NaiveBayes:
        """The judge that selects nothing."""
        return NaiveBayes(self.corpus.parts["reporting"])

    def _path(self, name: str) -> Path:
        folder = self.work.folder / "models"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.pt"

    def _loaded(self, name: str, module: Model) -> Model:
        module.load_state_dict(torch.load(self._path(name), weights_only=True))
        module.train(False)
        return module


def fit(
    stage: Stage,
    name: str,
    module: nn.Module,
    items: Sequence[Any],
    loss_of: Callable[[list[Any]], Tensor],
    epochs: int,
) -> list[float]:
    """AdamW on shuffled batches, learning rate by a cosine; goes on from its checkpoint. Mean loss of each epoch."""
    settings, work = stage.settings, stage.work
    optimiser = torch.optim.AdamW(module.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    per_epoch = max(1, len(items) // settings.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * per_epoch)
    checkpoint, sums, begun = work.checkpoint(name), [0.0] * epochs, 0
    if state := checkpoint.load():
        module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        sums, begun = state["sums"], state["begun"]
    for number in range(begun, epochs * per_epoch):
        epoch, place = divmod(number, per_epoch)
        order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed_of(name, epoch))).tolist()
        torch.manual_seed(seed_of(name, "dropout", number))
        module.train()
        rows = order[place * settings.batch : (place + 1) * settings.batch]
        loss = loss_of([items[i] for i in rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        sums[epoch] += float(loss.detach())
        work.report(name, number + 1, epochs * per_epoch)
        if number % SAVE_EVERY == SAVE_EVERY - 1 or work.cancel():
            parts = {"module": module.state_dict(), "optimiser": optimiser.state_dict()}
            checkpoint.save({**parts, "schedule": schedule.state_dict(), "sums": sums, "begun": number + 1})
            work.stop_if_cancelled()
    stage.save(name, module)
    return [total / per_epoch for total in sums]


def train_language_model(stage: Stage) -> Result:
    """Step 1: maximum likelihood on the corpus. Held-out nats a character before and after."""
    model = stage.untrained()
    texts = [review.text for review in stage.corpus.for_language]
    before = held_out_nll(stage, model)
    losses = fit(
        stage, "language", model, texts, lambda b: language_loss(model, stage.spoken(b)), stage.settings.language_epochs
    )
    result: Result = {"texts": len(texts), "parameters": parameters_of(model), "epoch_losses": losses}
    return result | {"nll_untrained": before, "nll": held_out_nll(stage, model)}


def train_classifier(stage: Stage, name: str) -> Result:
    """A classifier on its own part of the corpus; "shuffled" on that of the reward model with labels at random."""
    reviews = list(stage.corpus.parts["reward" if name == "shuffled" else name])
    if name == "shuffled":
        order = torch.randperm(len(reviews), generator=torch.Generator().manual_seed(1)).tolist()
        reviews = [Review(r.text, reviews[k].positive) for r, k in zip(reviews, order, strict=True)]
    model = stage.fresh_classifier(name)
    generator = torch.Generator().manual_seed(seed_of("fragments", name))

    def loss_of(batch: list[Review]) -> Tensor:
        texts = [_fragment(review.text, generator) for review in batch]
        labels = torch.tensor([float(review.positive) for review in batch])
        return functional.binary_cross_entropy_with_logits(model(stage.read(texts)), labels)

    losses = fit(stage, f"classifier-{name}", model, reviews, loss_of, stage.settings.judge_epochs)
    test = stage.corpus.parts["test"]
    right = (positive(stage, model, [r.text for r in test]) > 0.5) == torch.tensor([r.positive for r in test])
    short = (positive(stage, model, [r.text[:23] for r in test]) > 0.5) == torch.tensor([r.positive for r in test])
    result: Result = {"texts": len(reviews), "parameters": parameters_of(model), "epoch_losses": losses}
    return result | {"accuracy": float(right.float().mean()), "accuracy_on_23_characters": float(short.float().mean())}


def train_ranking_scorer(stage: Stage) -> Result:
    """Step 2: simulated people rank 4..9 answers by a utility nobody else sees; the reward model learns from ranks."""
    settings = stage.settings
    generator = torch.Generator().manual_seed(seed_of("rankings"))
    trained = rank_answers(stage, settings.rankings, ("careful", "hasty"), "reward", generator)
    held_out = rank_answers(stage, settings.held_out_rankings, ("held-out", "held-out-hasty"), "test", generator)
    trainer = RewardModelTrainer(
        RankingScorer(copy.deepcopy(stage.language_model()), seed=0), settings.reward, seed=seed_of("ranked")
    )
    metrics = trainer.fit(trained)
    texts = [review.text[:23] for review in stage.corpus.parts["reward"] if review.positive][:500]
    trainer.normalise(stage.read(texts)._asdict())
    model = trainer.model
    assert isinstance(model, RankingScorer)
    with torch.no_grad():
        model.head.bias.sub_(trainer.bias)
    trainer.bias = 0.0
    stage.save("ranked", model)
    seen, unseen = trainer.accuracy(trained), trainer.accuracy(held_out)
    length = _accuracy_of_length(held_out)
    result: Result = {"prompts": len(trained), "responses": sum(len(p.ranks) for p in trained), "first": metrics[0]}
    return result | {"last": metrics[-1], "seen": seen, "held_out": unseen, "held_out_by_length_alone": length}


def rank_answers(
    stage: Stage, count: int, people: Sequence[str], part: str, generator: torch.Generator
) -> list[RankedPrompt]:
    """Beginnings of reviews, 4..9 answers of the supervised model to each, ranked by one of the people in turn."""
    policy, judge = TextPolicy(stage.language_model()), stage.classifier("selection")
    low, high = stage.settings.reward.min_candidates, stage.settings.reward.max_candidates
    ranked = []
    for k, review in enumerate(stage.corpus.parts[part][:count]):
        candidates = int(torch.randint(low, high + 1, (), generator=generator))
        prompts = [review.text[:6]] * candidates
        answers = draw(policy, prompts, stage.tokenizer, steps=stage.settings.new_tokens, generator=generator)
        inputs = stage.read(answers.texts)
        with torch.no_grad():
            utility = judge(inputs)
        person = people[k % len(people)]
        ranks = simulated_ranks(utility, temperature=ANNOTATORS[person], generator=generator)
        ranked.append(RankedPrompt(_to_length(inputs, stage.settings.text_length), ranks, person))
    return ranked


def positive(stage: Stage, model: Classifier, texts: Sequence[str]) -> Tensor:
    """P(positive) (n,) in batches."""
    return torch.cat([model.positive(stage.read(texts[i : i + 256])) for i in range(0, len(texts), 256)])


def held_out_nll(stage: Stage, model: GPT2LMHeadModel) -> float:
    """Nats a character on the first texts of the test part."""
    texts = [review.text for review in stage.corpus.parts["test"]][: stage.settings.test_texts]
    model.train(False)
    with torch.no_grad():
        return float(language_loss(model, stage.spoken(texts)))


def _fragment(text: str, generator: torch.Generator) -> str:
    if torch.rand((), generator=generator) < 0.5:
        return text
    return text[: int(torch.randint(FRAGMENT[0], FRAGMENT[1] + 1, (), generator=generator))]


def _to_length(batch: Padded, length: int) -> dict[str, Tensor]:
    """Padded to one length for all, so that prompts can be joined."""
    missing = length - batch.tokens.shape[1]
    return {
        "tokens": functional.pad(batch.tokens, (0, missing)),
        "attention": functional.pad(batch.attention, (0, missing)),
    }


def _accuracy_of_length(prompts: Sequence[RankedPrompt]) -> float:
    """How well "longer is better" (or shorter) does on the pairs: what a reward model must beat."""
    right = pairs = 0
    for prompt in prompts:
        length = prompt.inputs["attention"].sum(1)
        better = prompt.ranks[:, None] < prompt.ranks[None, :]
        right += int(((length[:, None] > length[None, :]) & better).sum())
        pairs += int((better & (length[:, None] != length[None, :])).sum())
    return max(right, pairs - right) / max(pairs, 1)
