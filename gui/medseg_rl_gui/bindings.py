"""Keys and gestures in force: a preset with the user's own changes. Refuses what is taken twice. Knows no widget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from PySide6.QtGui import QKeySequence

from medseg_rl_gui.actions import ACTIONS, BY_ID, CONTEXTS, Context, Preset
from medseg_rl_gui.gestures import MOUSE_ACTIONS, MOUSE_BY_ID, Gesture, clash
from medseg_rl_gui.i18n import tr

Changes = Mapping[str, tuple[str, ...]]


class TakenError(ValueError):
    """A key or gesture already means something else there; the message names it."""

    def __init__(self, keys: str, other: str) -> None:
        self.keys, self.other = keys, other
        super().__init__(tr("{keys} already means “{action}”").format(keys=keys, action=tr(_text(other))))


def portable(keys: str) -> str:
    """Keys in Qt's one spelling: "ctrl+z" is "Ctrl+Z". Raises ValueError for what is no key."""
    sequence = QKeySequence(keys, QKeySequence.SequenceFormat.PortableText)
    if sequence.count() != 1 or not sequence.toString():
        raise ValueError(tr("“{keys}” is no key").format(keys=keys))
    return sequence.toString(QKeySequence.SequenceFormat.PortableText)


@dataclass(frozen=True)
class Bindings:
    """A preset and what the user changed in it: keys and gestures by action id; an empty tuple takes them away."""

    preset: Preset = "default"
    changes: Changes = field(default_factory=dict)

    def of(self, id_: str) -> tuple[str, ...]:
        """The keys or gestures of an action or a mouse action."""
        if id_ in self.changes:
            return self.changes[id_]
        if id_ in MOUSE_BY_ID:
            return MOUSE_BY_ID[id_].gestures_in(self.preset)
        return BY_ID[id_].keys_in(self.preset)

    @cached_property
    def gestures(self) -> Mapping[str, tuple[str, ...]]:
        """By id of the mouse action."""
        return {action.id: self.of(action.id) for action in MOUSE_ACTIONS}

    def keys_in(self, context: Context) -> Mapping[str, tuple[str, ...]]:
        """By id of the action, those of one context."""
        return {action.id: self.of(action.id) for action in ACTIONS if action.context == context}

    def changing(self, id_: str, *keys: str) -> Self:
        """With other keys or gestures for one action. Raises TakenError, or ValueError for what is none."""
        wanted = _spelled(id_, keys)
        for text in wanted:
            other = self._holder(id_, text)
            if other is not None:
                raise TakenError(text, other)
        shipped = type(self)(self.preset).of(id_)
        kept = {name: value for name, value in self.changes.items() if name != id_}
        return type(self)(self.preset, kept if wanted == shipped else {**kept, id_: wanted})

    def conflicts(self) -> list[tuple[str, str, str]]:
        """Keys or gestures that mean two things: (keys, id, other id). Empty in all that is shipped."""
        found = []
        for id_ in (*BY_ID, *MOUSE_BY_ID):
            for text in self.of(id_):
                other = self._holder(id_, text)
                if other is not None and id_ < other:
                    found.append((text, id_, other))
        return found

    def checked(self) -> tuple[Self, list[str]]:
        """Without changes that cannot be: unknown ids, no keys, taken ones; and what was left out, in words."""
        kept: dict[str, tuple[str, ...]] = {}
        problems = []
        for id_, keys in self.changes.items():
            try:
                kept[id_] = _spelled(id_, keys)
            except ValueError as error:
                problems.append(str(error))
        for text, id_, other in type(self)(self.preset, kept).conflicts():
            dropped = id_ if id_ in kept else other
            kept.pop(dropped, None)
            problems.append(str(TakenError(text, other if dropped == id_ else id_)))
        return type(self)(self.preset, kept), problems

    def _holder(self, id_: str, text: str) -> str | None:
        """Who else has these keys in the same context, or this gesture with the same tool."""
        if id_ in MOUSE_BY_ID:
            same = (a.id for a in MOUSE_ACTIONS if clash(MOUSE_BY_ID[id_], a, text))
        else:
            same = (a.id for a in ACTIONS if a.context == BY_ID[id_].context)
        return next((other for other in same if other != id_ and text in self.of(other)), None)


def _spelled(id_: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Keys or gestures in their one spelling. Raises ValueError for an unknown action or what is none."""
    if id_ in MOUSE_BY_ID:
        return tuple(str(Gesture.of(text)) for text in keys)
    if id_ not in BY_ID:
        raise ValueError(tr("there is no action “{id}”").format(id=id_))
    return tuple(portable(text) for text in keys)


def context_text(id_: str) -> str:
    """Where an action's keys work, in words."""
    return tr("Mouse") if id_ in MOUSE_BY_ID else tr(CONTEXTS[BY_ID[id_].context])


def _text(id_: str) -> str:
    return MOUSE_BY_ID[id_].text if id_ in MOUSE_BY_ID else BY_ID[id_].text
