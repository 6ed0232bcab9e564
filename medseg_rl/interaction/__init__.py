"""One user turn: new clicks and a percent state in, an encoded change out. Plain numpy; loads no torch.

Knows nothing of undo, labels or files: that is the session's. No reference mask can be passed anywhere here.
"""

from medseg_rl.interaction.config import InteractionConfig, Preview, Progress, Timings, TurnReport, TurnResult
from medseg_rl.interaction.extent import MaskExtent
from medseg_rl.interaction.turn import TurnInput, filled, take_turn, why_nothing

__all__ = [
    "InteractionConfig",
    "MaskExtent",
    "Preview",
    "Progress",
    "Timings",
    "TurnInput",
    "TurnReport",
    "TurnResult",
    "filled",
    "take_turn",
    "why_nothing",
]
