"""Draws answers character by character, re-scores them, and measures text: diversity and length. No learning."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from medseg_rl.recipes.sentiment.corpus import END, PAD, START, Tokenizer, padded
from medseg_rl.recipes.sentiment.models import TextPolicy
from medseg_rl.rlhf.rollout import Rollout


@dataclass(frozen=True, eq=False)
class Answers:
    """`tokens`, `attention` (n, prompt + time); `mask` (n, time): up to and with the end token.

    `logprobs` (n, time): as drawn. `texts`: prompt and answer; `answers`: the answer alone.
    """

    tokens: Tensor
    attention: Tensor
    mask: Tensor
    logprobs: Tensor
    texts: tuple[str, ...]
    answers: tuple[str, ...]
    ended: Tensor

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What `TextPolicy.evaluate` needs."""
        return {"tokens": self.tokens, "attention": self.attention, "mask": self.mask}


@torch.no_grad()
def draw(
    policy: TextPolicy, prompts: Sequence[str], tokenizer: Tokenizer, *, steps: int, generator: torch.Generator
) -> Answers:
    """One answer of at most `steps` characters to each prompt, by the full softmax: no truncation of any kind."""
    policy.eval()
    start = padded([[START, *tokenizer.encode(prompt)] for prompt in prompts], left=True)
    tokens, attention = start.tokens, start.attention
    running = torch.ones(len(prompts), dtype=torch.bool)
    cache, fresh = DynamicCache(), tokens
    masks, logprobs = [], []
    for _ in range(steps):
        out = policy.hidden(fresh, attention, cache)
        logged = functional.log_softmax(policy.logits(out.last_hidden_state[:, -1]), -1)
        chosen = torch.multinomial(logged.exp(), 1, generator=generator)
        masks.append(running)
        logprobs.append(logged.gather(1, chosen)[:, 0] * running)
        fresh = torch.where(running[:, None], chosen, torch.full_like(chosen, PAD))
        tokens = torch.cat([tokens, fresh], 1)
        attention = torch.cat([attention, running[:, None]], 1)
        running = running & (chosen[:, 0] != END)
        if not running.any():
            break
    missing = steps - len(masks)
    tokens = functional.pad(tokens, (0, missing), value=PAD)
    attention = functional.pad(attention, (0, missing), value=False)
    mask = functional.pad(torch.stack(masks, 1), (0, missing), value=False)
    drawn = functional.pad(torch.stack(logprobs, 1), (0, missing))
    answers = tuple(tokenizer.decode(row[-steps:].tolist()) for row in tokens)
    texts = tuple(prompt + answer for prompt, answer in zip(prompts, answers, strict=True))
    return Answers(tokens, attention, mask, drawn, texts, answers, ~running)


@torch.no_grad()
def rollout_of(policy: TextPolicy, reference: TextPolicy, answers: Answers) -> Rollout:
    """The answers re-scored by the policy that drew them and by the reference."""
    policy.eval()
    now, before = policy.evaluate(answers.inputs), reference.evaluate(answers.inputs)
    return Rollout(
        inputs=answers.inputs,
        logprobs=now.logprobs,
        ref_logprobs=before.logprobs,
        values=now.values,
        entropy=now.entropy,
        mask=answers.mask,
        ended=answers.ended,
    )


def distinct_2(texts: Sequence[str]) -> float:
    """Share of different pairs of neighbouring characters among all of them (Li et al. 2016), over all texts."""
    pairs = [a + b for text in texts for a, b in itertools.pairwise(text)]
    return len(set(pairs)) / max(1, len(pairs))


def mean_length(texts: Sequence[str]) -> float:
    """Characters a text."""
    return sum(map(len, texts)) / max(1, len(texts))
