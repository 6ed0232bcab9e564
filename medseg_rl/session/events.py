"""What a session tells those who watch it: one event for each committed action, undo and redo, after the state changed.

Journal, autosave and feedback stand behind this seam; the session knows none of them and waits for none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medseg_rl.history import UndoEntry
from medseg_rl.interaction import Intervention, TurnReport
from medseg_rl.session.state import Ledger

Direction = Literal["do", "undo", "redo"]
Parameters = Mapping[str, Any]  # JSON-ready: str, int, float, bool, None, lists and mappings of them


@dataclass(frozen=True, eq=False)
class SessionEvent:
    """One step of a session.

    `action`: id of what was done ("click", "accept", "edit", ...). `parameters`: what it takes to do it again, ready
    for JSON, points in RAS+ mm and voxels in file order. `name`: as in the undo list. `label`: the value it was about.
    `entry`: its deltas in working order and the ledgers before and after; the same object for the action, its undo and
    its redo. `version`: of the session after the step, `base_version`: before. `report`: of a model action that was
    done, None for an undo or a redo. `interventions`: what strokes into it met, working order.
    """

    action: str
    parameters: Parameters
    name: str
    label: int | None
    base_version: int
    version: int
    entry: UndoEntry[Ledger]
    direction: Direction = "do"
    report: TurnReport | None = None
    interventions: tuple[Intervention, ...] = ()

    @property
    def ledger(self) -> Ledger:
        """The small facts of the session after the step."""
        return self.entry.before if self.direction == "undo" else self.entry.after


SessionObserver = Callable[[SessionEvent], None]


def tell(observers: Sequence[SessionObserver], event: SessionEvent) -> None:
    """Hand the event to every observer. What the first of them raised is raised when all were told; the step stands."""
    failed: Exception | None = None
    for observer in observers:
        try:
            observer(event)
        except Exception as error:
            failed = failed or error
    if failed is not None:
        raise failed
