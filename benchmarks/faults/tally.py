"""What was tried, how often and what came of it, in words: every row of the report comes from here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

Row = tuple[str, int, str, int]  # what was tried, how often, what came of it, failures


@dataclass
class Tally:
    """`found`: how often each outcome, by what was tried. `lost`: a line for each failure, which begins with that.

    `skipped`: what this machine could not try.
    """

    found: dict[str, Counter[str]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def note(self, what: str, outcome: str) -> None:
        """One trial that came out as it should."""
        self.found.setdefault(what, Counter())[outcome] += 1

    def fail(self, what: str, how: str) -> None:
        """One trial that did not."""
        self.note(what, "FAILED")
        self.lost.append(f"{what}: {how}")

    def add(self, other: Tally) -> None:
        """Those of another part of the suite too."""
        for what, outcomes in other.found.items():
            self.found.setdefault(what, Counter()).update(outcomes)
        self.lost += other.lost
        self.skipped += other.skipped

    @property
    def rows(self) -> list[Row]:
        """A row for each thing that was tried."""
        return [(what, n.total(), in_words(n), n["FAILED"]) for what, n in self.found.items()]


def in_words(outcomes: Counter[str]) -> str:
    """The most frequent first."""
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
