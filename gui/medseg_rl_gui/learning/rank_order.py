"""The order of candidates while it is being given: best first, ties, none usable. No Qt, no session.

    order = RankOrder(4).ranked(2).tied().ranked(0)     # the third is best, the first is as good

What is in no group was left unranked and stands behind all that are ranked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class RankOrder:
    """`groups`: numbers from 0, best group first, ties in one group. `ties`: the next goes into the last group.

    `none_usable`: the user said that none will do.
    """

    count: int
    groups: tuple[tuple[int, ...], ...] = ()
    ties: bool = False
    none_usable: bool = False

    def ranked(self, number: int) -> RankOrder:
        """With this one next; as it is where it has a rank already or is not there."""
        if not 0 <= number < self.count or self.rank_of(number) is not None:
            return self
        if self.ties and self.groups:
            groups = (*self.groups[:-1], (*self.groups[-1], number))
        else:
            groups = (*self.groups, (number,))
        return replace(self, groups=groups, ties=False, none_usable=False)

    def tied(self) -> RankOrder:
        """The next one is as good as the last; nothing to tie with before the first."""
        return replace(self, ties=bool(self.groups))

    def back(self) -> RankOrder:
        """The last thing said is taken back."""
        if self.none_usable or self.ties:
            return replace(self, none_usable=False, ties=False)
        if not self.groups:
            return self
        last = self.groups[-1][:-1]
        return replace(self, groups=(*self.groups[:-1], last) if last else self.groups[:-1])

    def without_any(self) -> RankOrder:
        """None is usable, or that is taken back; ranks that were given stay."""
        return replace(self, none_usable=not self.none_usable, ties=False)

    def rank_of(self, number: int) -> int | None:
        """From 1; None while it has none."""
        return next((rank for rank, group in enumerate(self.groups, 1) if number in group), None)

    @property
    def best(self) -> int | None:
        """The first of the best; None where none is usable, or none was ranked."""
        return self.groups[0][0] if self.groups and not self.none_usable else None

    @property
    def can_be_submitted(self) -> bool:
        """Whether anything was said."""
        return bool(self.groups) or self.none_usable
