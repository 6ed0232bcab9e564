"""How the application asks: a service that is injected, so that no test blocks. The Qt one is in `qt_dialogs.py`.

Holds what can be asked, as values, and `ScriptedDialogs`, which answers from a list and keeps what it was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from PySide6.QtWidgets import QDialog

Tone = Literal["question", "information", "warning", "error"]
Role = Literal["accept", "reject", "destructive"]


@dataclass(frozen=True)
class Choice:
    """A button. `id` comes back as the answer; `needs_tick`: it is greyed until the tick box is ticked."""

    id: str
    text: str
    role: Role = "accept"
    needs_tick: bool = False


@dataclass(frozen=True)
class Question:
    """A message with buttons. `default`: id of the button that Enter means; closing it answers the first "reject".

    `details`: long text folded away at first. `tick`: text of a tick box, empty for none.
    """

    title: str
    text: str
    choices: tuple[Choice, ...]
    default: str = ""
    tone: Tone = "question"
    details: str = ""
    tick: str = ""

    @property
    def when_closed(self) -> str:
        """The answer when it is closed without a button."""
        return next((c.id for c in self.choices if c.role == "reject"), self.choices[-1].id)


@dataclass(frozen=True)
class Answer:
    """Id of the chosen button, and whether the tick box was ticked."""

    choice: str
    ticked: bool = False


@dataclass(frozen=True)
class FileQuestion:
    """A file or folder to choose. `filters`: name and patterns, such as ("Images", ("*.nii.gz", "*.nrrd")).

    `start`: a folder, or the name proposed. `suffix`: put behind a name to save that has none of the filters' endings.
    """

    title: str
    kind: Literal["open", "open_many", "folder", "save"]
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    start: str = ""
    suffix: str = ""


@dataclass(frozen=True)
class ValueQuestion:
    """One text or number to enter; a number where `low` and `high` are given, whole where `decimals` is 0."""

    title: str
    text: str
    value: str | float = ""
    low: float | None = None
    high: float | None = None
    decimals: int = 0
    unit: str = ""


class Dialogs(Protocol):
    """What the application needs to ask. Every call waits for the user, so only the main thread calls it."""

    def ask(self, question: Question) -> Answer:
        """One of the choices."""

    def tell(self, title: str, text: str, *, tone: Tone = "information", details: str = "") -> None:
        """Something to read, with one button."""

    def choose_files(self, question: FileQuestion) -> tuple[Path, ...]:
        """Files or one folder; empty when cancelled."""

    def enter(self, question: ValueQuestion) -> str | float | None:
        """A text or number; None when cancelled."""

    def run(self, dialog: QDialog) -> bool:
        """A dialog of one's own; True when it was accepted."""


@dataclass
class ScriptedDialogs:
    """For tests: answers in order from `answers` and keeps in `asked` what it was asked.

    An answer is a choice's id or an `Answer`, paths, a value, a bool for `run`, or a function of the question or dialog
    that returns one of these. With no answer left a question is cancelled, as if it were closed.
    """

    answers: list[Any] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)

    def ask(self, question: Question) -> Answer:
        answer = self._next(question, question.when_closed)
        answer = answer if isinstance(answer, Answer) else Answer(str(answer))
        assert answer.choice in {choice.id for choice in question.choices}, f"{answer} for {question}"
        return answer

    def tell(self, title: str, text: str, *, tone: Tone = "information", details: str = "") -> None:
        self.asked.append(Question(title, text, (Choice("ok", "OK"),), tone=tone, details=details))

    def choose_files(self, question: FileQuestion) -> tuple[Path, ...]:
        found = self._next(question, ())
        several: Sequence[Any] = [found] if isinstance(found, str | Path) else found or ()
        return tuple(Path(path) for path in several)

    def enter(self, question: ValueQuestion) -> str | float | None:
        value: str | float | None = self._next(question, None)
        return value

    def run(self, dialog: QDialog) -> bool:
        try:
            return bool(self._next(dialog, False))
        finally:
            dialog.deleteLater()

    @property
    def texts(self) -> list[str]:
        """The texts of the messages and questions so far."""
        return [question.text for question in self.asked if isinstance(question, Question)]

    def _next(self, asked: Any, otherwise: Any) -> Any:
        self.asked.append(asked)
        answer: Any = self.answers.pop(0) if self.answers else otherwise
        return answer(asked) if callable(answer) else answer
