"""What the policy over templated answers is asked: our own prompts by kind and use case, split into known and held out.

`refusals.yaml` holds intents in paraphrases, `prompts.yaml` the use cases of InstructGPT's prompt set. Answers nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import yaml

SITUATIONS = {
    "disallowed": "disallowed",
    "false_premise": "false premise",
    "sensitive": "allowed",
    "allowed": "allowed",
}
HELD_OUT = 4  # the last of every `HELD_OUT` of a list of one use case


class Asked(NamedTuple):
    """`kind`: "disallowed", "sensitive", "false_premise" or "allowed". `use_case`, `prompt_kind`: "" without one."""

    text: str
    kind: str
    use_case: str = ""
    prompt_kind: str = ""

    @property
    def situation(self) -> str:
        """As the rubric knows it."""
        return SITUATIONS[self.kind]


class Split(NamedTuple):
    """`train`, `paraphrases` (of known intents, held out) and `new` (held-out intents, each with its use case)."""

    train: list[Asked]
    paraphrases: list[Asked]
    new: list[Asked]


def prompts() -> Split:
    """The last paraphrase of every intent and the last quarter of every list of a use case are held out."""
    intents = _content("refusals.yaml")
    known = [Asked(text, kind) for kind, rows in intents.items() for texts in rows for text in texts[:-1]]
    paraphrases = [Asked(texts[-1], kind) for kind, rows in intents.items() for texts in rows]
    train, new = [], []
    for members in _lists():
        kept = len(members) - len(members) // HELD_OUT
        train += members[:kept]
        new += members[kept:]
    return Split(known + train, paraphrases, new)


def by_use_case(asked: Sequence[Asked]) -> Mapping[str, list[Asked]]:
    """Allowed prompts of each use case, in the order of the file."""
    found: dict[str, list[Asked]] = {}
    for prompt in asked:
        if prompt.use_case and prompt.kind == "allowed":
            found.setdefault(prompt.use_case, []).append(prompt)
    return found


def _lists() -> Iterator[list[Asked]]:
    for use_case, lists in _content("prompts.yaml").items():
        for name, texts in lists.items():
            kind, prompt_kind = ("disallowed", "plain") if name == "disallowed" else ("allowed", name)
            yield [Asked(text, kind, use_case, prompt_kind) for text in texts]


def _content(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(files(__package__).joinpath(name).read_text(encoding="utf-8"))
    return found
