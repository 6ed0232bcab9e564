"""All that teaches, put together for the controller: `feedback`, `ranking`, `blind`, `presence`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl_gui.asking import Asking
from medseg_rl_gui.desk import Desk
from medseg_rl_gui.learning.blind import BlindComparison, Presence
from medseg_rl_gui.learning.feedback import Feedback
from medseg_rl_gui.learning.ranking import Ranking


class Learning:
    """What the Learn tab asks for."""

    def __init__(self, desk: Desk, asking: Asking, store: FeedbackStore) -> None:
        self.feedback = Feedback(desk, store)
        self.ranking = Ranking(desk, asking, self.feedback)
        self.blind = BlindComparison(desk, asking, self.feedback)
        self.presence = Presence(desk, self.feedback)

    def handlers(self) -> Mapping[str, Callable[..., object]]:
        """By action id."""
        return self.ranking.handlers()
