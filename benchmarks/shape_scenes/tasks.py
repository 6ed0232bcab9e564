"""Three tasks on the scenes: a model that answers, its likelihood, the metric of a whole answer. Trains nothing."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.shape_scenes.scenes import (
    CELL,
    CELLS,
    COLOURS,
    END,
    HUES,
    KINDS,
    LONGEST,
    PAD,
    SIZE,
    START,
    WORDS,
    Scenes,
)

OFFSETS, SIZES = 4, 6
THRESHOLDS = torch.arange(0.5, 0.96, 0.05)
SURPLUS = 0.3  # what a detection beyond those that are matched costs (Pinto et al. 2023: a duplicate)


class Task(Protocol):
    """A model with a likelihood, as `medseg_rl.rlhf.task_reward.Sampler` wants it, and its metric."""

    def draw(self, prompt: Scenes, generator: torch.Generator) -> Tensor: ...
    def greedy(self, prompt: Scenes) -> Tensor: ...
    def logprobs(self, prompt: Scenes, answer: Tensor) -> Tensor: ...
    def likelihood_loss(self, prompt: Scenes) -> Tensor: ...
    def reward(self, prompt: Scenes, answer: Tensor) -> Tensor: ...
    def guard(self, prompt: Scenes, answer: Tensor) -> Tensor: ...


def trunk(channels: int) -> nn.Sequential:
    """(n, channels, 32, 32) to (n, 48, 8, 8)."""
    layers: list[nn.Module] = []
    for number, (a, b) in enumerate(((channels, 24), (24, 32), (32, 48))):
        layers += [nn.Conv2d(a, b, 3, padding=1, stride=1 if number == 2 else 2), nn.GroupNorm(4, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(48, 48, 5, padding=2), nn.ReLU())


class Detector(nn.Module):
    """Every cell says whether a shape is centred in it, which, where and how large: (n, 8, 8, 5) indices."""

    PARTS = (2, len(KINDS), OFFSETS, OFFSETS, SIZES)

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head = trunk(3), nn.Conv2d(48, sum(self.PARTS), 1)

    def logits(self, prompt: Scenes) -> list[Tensor]:
        out = self.head(self.trunk(prompt.image)).permute(0, 2, 3, 1)
        return [functional.log_softmax(part, -1) for part in out.split(self.PARTS, -1)]

    def draw(self, prompt: Scenes, generator: torch.Generator) -> Tensor:
        return torch.stack([_drawn(part, generator) for part in self.logits(prompt)], -1)

    def greedy(self, prompt: Scenes) -> Tensor:
        return torch.stack([part.argmax(-1) for part in self.logits(prompt)], -1)

    def logprobs(self, prompt: Scenes, answer: Tensor) -> Tensor:
        present, *rest = [part.gather(-1, answer[..., k : k + 1])[..., 0] for k, part in enumerate(self.logits(prompt))]
        return present + answer[..., 0] * torch.stack(rest).sum(0)

    def likelihood_loss(self, prompt: Scenes) -> Tensor:
        return -self.logprobs(prompt, self.targets(prompt)).flatten(1).sum(1).mean()

    def targets(self, prompt: Scenes) -> Tensor:
        """The answer nearest to the truth."""
        answer = torch.zeros(len(prompt), CELLS, CELLS, 5, dtype=torch.long)
        there = prompt.kinds >= 0
        low, high = prompt.boxes[..., :2], prompt.boxes[..., 2:]
        centre, half = (low + high) / 2, (high - low)[..., 0] / 2
        cell = (centre / CELL).long().clamp(0, CELLS - 1)
        offset = ((centre / CELL - cell) * OFFSETS).long().clamp(0, OFFSETS - 1)
        size = ((half - 3.0) / 3.5 * SIZES).long().clamp(0, SIZES - 1)
        values = torch.stack([there.long(), prompt.kinds, offset[..., 0], offset[..., 1], size], -1)
        rows = torch.arange(len(prompt))[:, None].expand_as(there)
        answer[rows[there], cell[..., 1][there], cell[..., 0][there]] = values[there]
        return answer

    def reward(self, prompt: Scenes, answer: Tensor) -> Tensor:
        """(matches - 0.3 surplus) / shapes, averaged over IoU 0.5..0.95."""
        matches, surplus, shapes = self.matched(prompt, answer)
        return ((matches - SURPLUS * surplus) / shapes[:, None]).mean(1)

    def guard(self, prompt: Scenes, answer: Tensor) -> Tensor:
        """F1 at IoU 0.5."""
        matches, surplus, shapes = self.matched(prompt, answer)
        return 2 * matches[:, 0] / (matches[:, 0] + surplus[:, 0] + shapes)

    def matched(self, prompt: Scenes, answer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Matches and surplus detections (n, thresholds), shapes (n,). A detection belongs to its best shape."""
        present, kind = answer[..., 0].flatten(1) > 0, answer[..., 1].flatten(1)
        overlap = _overlaps(_boxes(answer), prompt.boxes) * (kind[..., None] == prompt.kinds[:, None])
        best, which = overlap.max(-1)
        good = present[..., None] & (best[..., None] >= THRESHOLDS)
        mine = functional.one_hot(which, prompt.kinds.shape[1]).bool()
        matches = (good[:, :, None, :] & mine[..., None]).any(1).sum(1).float()
        return matches, present.sum(1).float()[:, None] - matches, (prompt.kinds >= 0).sum(1).float()


def _boxes(answer: Tensor) -> Tensor:
    """(n, cells, 4) of every cell, in pixels."""
    y, x = torch.meshgrid(torch.arange(CELLS), torch.arange(CELLS), indexing="ij")
    centre = torch.stack([x + (answer[..., 2] + 0.5) / OFFSETS, y + (answer[..., 3] + 0.5) / OFFSETS], -1) * CELL
    half = (3.0 + (answer[..., 4] + 0.5) / SIZES * 3.5)[..., None]
    return torch.cat([centre - half, centre + half], -1).flatten(1, 2)


def _overlaps(ours: Tensor, theirs: Tensor) -> Tensor:
    """Intersection over union of boxes (n, a, 4) and (n, b, 4)."""
    a, b = ours[:, :, None], theirs[:, None]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0)
    both = sides.prod(-1)
    areas = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return both / (areas - both).clamp_min(1e-6)


class Colouriser(nn.Module):
    """Every cell of a grey image picks none or one of six colours, pale or vivid: (n, 8, 8) indices 0..12."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head = trunk(1), nn.Conv2d(48, 1 + 2 * len(COLOURS), 1)
        chroma = torch.tensor(HUES - HUES.mean(1, keepdims=True), dtype=torch.float32)
        self.register_buffer("chroma", torch.cat([torch.zeros(1, 3), 0.35 * chroma, chroma]))

    def logits(self, prompt: Scenes) -> Tensor:
        return functional.log_softmax(self.head(self.trunk(prompt.grey)).permute(0, 2, 3, 1), -1)

    def draw(self, prompt: Scenes, generator: torch.Generator) -> Tensor:
        return _drawn(self.logits(prompt), generator)

    def greedy(self, prompt: Scenes) -> Tensor:
        return self.logits(prompt).argmax(-1)

    def logprobs(self, prompt: Scenes, answer: Tensor) -> Tensor:
        return self.logits(prompt).gather(-1, answer[..., None])[..., 0]

    def likelihood_loss(self, prompt: Scenes) -> Tensor:
        return -self.logprobs(prompt, prompt.palette).flatten(1).sum(1).mean()

    def reward(self, prompt: Scenes, answer: Tensor) -> Tensor:
        """Colourfulness (Hasler and Suesstrunk 2003) of grey plus the cells' chroma, channels in 0..1."""
        chroma = cast("Tensor", self.chroma)[answer].permute(0, 3, 1, 2).repeat_interleave(CELL, 2)
        image = (prompt.grey + chroma.repeat_interleave(CELL, 3)).clamp(0, 1)
        red, green, blue = image.flatten(2).unbind(1)
        first, second = red - green, (red + green) / 2 - blue
        spread = (first.var(1) + second.var(1)).sqrt()
        return spread + 0.3 * (first.mean(1) ** 2 + second.mean(1) ** 2).sqrt()

    def guard(self, prompt: Scenes, answer: Tensor) -> Tensor:
        """Share of cells whose hue, or lack of one, is the true one."""
        hue = torch.where(answer > 0, (answer - 1) % len(COLOURS), torch.full_like(answer, -1))
        true = torch.where(prompt.palette > 0, (prompt.palette - 1) % len(COLOURS), torch.full_like(answer, -1))
        return (hue == true).float().flatten(1).mean(1)


class Captioner(nn.Module):
    """Words by a recurrent net that sees the whole scene: (n, LONGEST) tokens up to an end."""

    def __init__(self, document_counts: Counter[tuple[int, ...]], documents: int, width: int = 96) -> None:
        super().__init__()
        self.trunk, self.words = trunk(3), nn.Embedding(len(WORDS), width)
        self.start = nn.Linear(48 * 16, width)
        self.cell, self.head = nn.GRUCell(2 * width, width), nn.Linear(width, len(WORDS))
        self.score = CiderD(document_counts, documents)

    def context(self, prompt: Scenes) -> Tensor:
        pooled = functional.avg_pool2d(self.trunk(prompt.image), 2)
        return torch.relu(self.start(pooled.flatten(1)))

    def unrolled(self, prompt: Scenes, choose: object) -> tuple[Tensor, Tensor]:
        """Tokens and their log-probabilities (n, LONGEST), zero after the end. `choose`: a generator, None for the
        most probable word, or the tokens to re-score.
        """
        context = self.context(prompt)
        state, word = context, torch.full((len(prompt),), START)
        running = torch.ones(len(prompt), dtype=torch.bool)
        tokens, logged = [], []
        for step in range(LONGEST):
            state = self.cell(torch.cat([self.words(word), context], 1), state)
            logs = functional.log_softmax(self.head(state), -1)
            if isinstance(choose, Tensor):
                word = choose[:, step]
            elif isinstance(choose, torch.Generator):
                word = _drawn(logs, choose)
            else:
                word = logs.argmax(-1)
            word = torch.where(running, word, torch.full_like(word, PAD))
            logged.append(logs.gather(1, word[:, None])[:, 0] * running)
            tokens.append(word)
            running = running & (word != END)
        return torch.stack(tokens, 1), torch.stack(logged, 1)

    def draw(self, prompt: Scenes, generator: torch.Generator) -> Tensor:
        return self.unrolled(prompt, generator)[0]

    def greedy(self, prompt: Scenes) -> Tensor:
        return self.unrolled(prompt, None)[0]

    def logprobs(self, prompt: Scenes, answer: Tensor) -> Tensor:
        return self.unrolled(prompt, answer)[1]

    def likelihood_loss(self, prompt: Scenes) -> Tensor:
        which = torch.arange(len(prompt)) % 3
        return -self.logprobs(prompt, prompt.captions[torch.arange(len(prompt)), which]).sum(1).mean()

    def reward(self, prompt: Scenes, answer: Tensor) -> Tensor:
        """CIDEr-D against the three captions."""
        pairs = zip(answer.tolist(), prompt.captions.tolist(), strict=True)
        return torch.tensor([self.score(_words(a), [_words(r) for r in references]) for a, references in pairs])

    def guard(self, prompt: Scenes, answer: Tensor) -> Tensor:
        """Whether the shapes named, with their colours, are those of the scene: 1 or 0."""
        truth = [
            Counter(zip(c, k, strict=True)) for c, k in zip(prompt.colours.tolist(), prompt.kinds.tolist(), strict=True)
        ]
        right = []
        for tokens, shapes in zip(answer.tolist(), truth, strict=True):
            shapes.pop((-1, -1), None)
            right.append(float(_named(_words(tokens)) == shapes))
        return torch.tensor(right)


class CiderD:
    """CIDEr-D (Vedantam et al. 2015, section 7) with document frequencies from training captions."""

    def __init__(self, document_counts: Counter[tuple[int, ...]], documents: int) -> None:
        self.document_counts, self.total = document_counts, math.log(documents)
        self._known: dict[tuple[int, ...], list[_Weighted]] = {}  # of references, which come again and again

    def __call__(self, candidate: Sequence[int], references: Sequence[Sequence[int]]) -> float:
        """10 times the mean over n = 1..4 and references of the clipped cosine, times exp(-(length gap)^2 / 72)."""
        score = 0.0
        ours = self._weighted(candidate)
        for reference in references:
            words = tuple(reference)
            if words not in self._known:
                self._known[words] = self._weighted(words)
            nearness = math.exp(-((len(candidate) - len(words)) ** 2) / 72)
            score += nearness * math.fsum(a.cosine(b) for a, b in zip(ours, self._known[words], strict=True))
        return 10 * score / 4 / len(references)

    def _weighted(self, words: Sequence[int]) -> list[_Weighted]:
        found = []
        for n in range(1, 5):
            counts = Counter(grams(words, n))
            weights = {g: k * (self.total - math.log(max(1, self.document_counts[g]))) for g, k in counts.items()}
            found.append(_Weighted(weights, math.sqrt(math.fsum(w * w for w in weights.values()))))
        return found


class _Weighted(NamedTuple):
    """Runs of n words of one sentence with their TF-IDF weights, and the length of that vector."""

    weights: dict[tuple[int, ...], float]
    norm: float

    def cosine(self, reference: _Weighted) -> float:
        """Clipped: a run that is said oftener than in the reference gains nothing."""
        norms, theirs = self.norm * reference.norm, reference.weights
        shared = math.fsum(min(w, theirs[gram]) * theirs[gram] for gram, w in self.weights.items() if gram in theirs)
        return shared / norms if norms else 0.0


def grams(words: Sequence[int], n: int) -> list[tuple[int, ...]]:
    """All runs of n words."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def document_counts(scenes: Scenes) -> Counter[tuple[int, ...]]:
    """In how many scenes each run of 1..4 words stands in a caption."""
    counts: Counter[tuple[int, ...]] = Counter()
    for captions in scenes.captions.tolist():
        counts.update({gram for caption in captions for n in range(1, 5) for gram in grams(_words(caption), n)})
    return counts


def _words(tokens: Sequence[int]) -> list[int]:
    return list(tokens[: tokens.index(END)]) if END in tokens else [t for t in tokens if t != PAD]


def _named(words: Sequence[int]) -> Counter[tuple[int, int]]:
    first = len(WORDS) - len(KINDS) - len(COLOURS)
    found: Counter[tuple[int, int]] = Counter()
    for a, b in itertools.pairwise(words):
        if first <= a < first + len(COLOURS) <= b:
            found[(a - first, b - first - len(COLOURS))] += 1
    return found


def _drawn(logs: Tensor, generator: torch.Generator) -> Tensor:
    chosen = torch.multinomial(logs.detach().exp().flatten(0, -2), 1, generator=generator)
    return chosen.reshape(logs.shape[:-1])


assert SIZE == CELL * CELLS
