"""The language model with its value head, classifiers and the reward model: from configurations, random at the start.

The judge that reports is no network but naive Bayes on characters, so that its errors are others than theirs.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is ever fetched

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, RobertaConfig, RobertaModel

from medseg_rl.recipes.sentiment.corpus import END, PAD, START, UNKNOWN, Padded, Review, Tokenizer
from medseg_rl.rlhf.rollout import Evaluation

LONGEST = 64  # tokens


def build_language_model(vocabulary: int, *, layers: int, width: int, seed: int) -> GPT2LMHeadModel:
    """A GPT-2 with random weights and no dropout."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=LONGEST,
        n_embd=width,
        n_layer=layers,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    return GPT2LMHeadModel(config)


class TextPolicy(nn.Module):
    """The language model as a policy over the next characters. A rollout is (batch, time) without agent axes.

    `forbid_end`: answers always run to their full length. Padding, start and unknown are never drawn, nor counted in
    the softmax, in sampling and re-scoring alike.
    """

    def __init__(self, language_model: GPT2LMHeadModel, *, temperature: float = 1.0, forbid_end: bool = False) -> None:
        super().__init__()
        self.language_model, self.temperature = language_model, temperature
        width, vocabulary = language_model.config.n_embd, language_model.config.vocab_size
        self.value_head = nn.Linear(width, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)
        banned = torch.zeros(vocabulary)
        banned[[PAD, START, UNKNOWN, *([END] if forbid_end else [])]] = -math.inf
        self.register_buffer("banned", banned, persistent=False)

    def hidden(self, tokens: Tensor, attention: Tensor, cache: Any = None) -> Any:
        """The trunk's output; positions count from the first token that is no padding."""
        positions = (attention.long().cumsum(1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
        return self.language_model.transformer(
            tokens,
            attention_mask=attention.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Scaled logits of what may be drawn."""
        return cast("Tensor", self.language_model.lm_head(hidden) / self.temperature + self.banned)

    def evaluate(self, inputs: Mapping[str, Tensor]) -> Evaluation:
        """Re-score the answers: "tokens" and "attention" (batch, prompt + time), "mask" (batch, time)."""
        mask = inputs["mask"]
        steps = mask.shape[1]
        tokens, attention = inputs["tokens"], inputs["attention"]
        hidden = self.hidden(tokens[:, :-1], attention[:, :-1]).last_hidden_state[:, -steps:]
        logprobs = functional.log_softmax(self.logits(hidden), -1)
        probabilities = logprobs.exp()
        entropy = -(probabilities * logprobs.clamp_min(-1e4)).sum(-1)
        safe = torch.where(mask, tokens[:, -steps:], torch.full_like(tokens[:, -steps:], 4))
        taken = logprobs.gather(-1, safe[..., None])[..., 0]
        values = self.value_head(hidden)[..., 0]
        return Evaluation(taken * mask, values * mask, entropy * mask)


def language_loss(language_model: GPT2LMHeadModel, batch: Padded) -> Tensor:
    """Mean negative log-likelihood of each character, nats; the end token counts, padding does not."""
    tokens, attention = batch.tokens, batch.attention
    hidden = language_model.transformer(tokens[:, :-1], attention_mask=attention[:, :-1].long()).last_hidden_state
    counted = attention[:, 1:]
    return functional.cross_entropy(language_model.lm_head(hidden[counted]), tokens[:, 1:][counted])


class Classifier(nn.Module):
    """P(positive) of a text by a small RoBERTa, from its configuration."""

    def __init__(self, vocabulary: int, *, width: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        config = RobertaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=4 * width,
            max_position_embeddings=LONGEST + 4,
            hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.1,
            pad_token_id=PAD,
            bos_token_id=START,
            eos_token_id=END,
        )
        self.encoder = RobertaModel(config, add_pooling_layer=False)
        self.head = nn.Linear(width, 1)

    def forward(self, batch: Padded) -> Tensor:
        """Log-odds (n,) of being positive: masked mean of the last layer, then a linear head."""
        hidden = self.encoder(batch.tokens, attention_mask=batch.attention.long()).last_hidden_state
        weight = batch.attention[..., None].to(hidden.dtype)
        pooled = (hidden * weight).sum(1) / weight.sum(1).clamp_min(1)
        return cast("Tensor", self.head(pooled)[:, 0])

    def positive(self, batch: Padded) -> Tensor:
        """P(positive) (n,), without gradient and dropout."""
        self.eval()
        with torch.no_grad():
            return torch.sigmoid(self(batch))


class RankingScorer(nn.Module):
    """The reward model of the three steps: the supervised model without its output layer, and a scalar head."""

    def __init__(self, language_model: GPT2LMHeadModel, *, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        width = language_model.config.n_embd
        self.trunk = language_model.transformer
        self.head = nn.Linear(width, 1)
        nn.init.normal_(self.head.weight, std=1 / math.sqrt(width + 1))
        nn.init.zeros_(self.head.bias)

    def score(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """(n,): the head on the last token of "tokens" (n, length), padded behind."""
        tokens, attention = inputs["tokens"], inputs["attention"]
        hidden = self.trunk(tokens, attention_mask=attention.long()).last_hidden_state
        last = (attention.long().sum(1) - 1).clamp_min(0)
        return cast("Tensor", self.head(hidden[torch.arange(len(tokens)), last])[:, 0])


class NaiveBayes:
    """P(positive) from single characters and pairs of them, with add-one counts. Judges reports, selects nothing."""

    def __init__(self, reviews: Sequence[Review]) -> None:
        self.counts = {label: Counter[str]() for label in (True, False)}
        for review in reviews:
            self.counts[review.positive].update(_grams(review.text))
        self.kinds = len(self.counts[True].keys() | self.counts[False].keys())
        self.totals = {label: sum(counter.values()) for label, counter in self.counts.items()}

    def positive(self, text: str) -> float:
        """P(positive), tempered by the number of grams, since they are anything but independent."""
        grams = _grams(text)
        odds = sum(self._log(gram, True) - self._log(gram, False) for gram in grams) / max(1.0, len(grams) ** 0.5)
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, odds))))

    def _log(self, gram: str, label: bool) -> float:
        return math.log((self.counts[label][gram] + 1) / (self.totals[label] + self.kinds))


def _grams(text: str) -> list[str]:
    return [*text, *(a + b for a, b in itertools.pairwise(text))]


def classifier_inputs(texts: Sequence[str], tokenizer: Tokenizer, padded: Any) -> Padded:
    """Texts as a classifier reads them: start token first, cut to its longest."""
    return cast("Padded", padded([[START, *tokenizer.encode(text)][:LONGEST] for text in texts]))


def parameters_of(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
