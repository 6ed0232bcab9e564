"""One user turn: new clicks and a percent state in, an encoded change out. Plain numpy; loads no torch.

Knows nothing of undo, labels or files: that is the session's. No reference mask can be passed anywhere here.
"""

from medseg_rl.interaction.config import InteractionConfig, Preview, Progress, Timings, TurnReport, TurnResult
from medseg_rl.interaction.extent import MaskExtent
from medseg_rl.interaction.strokes import Intervention, Stroke, Strokes
from medseg_rl.interaction.turn import TurnInput, filled, take_turn, why_nothing
from medseg_rl.interaction.variation import Variation, Varied, variations

__all__ = [
    "InteractionConfig",
    "Intervention",
    "MaskExtent",
    "Preview",
    "Progress",
    "Stroke",
    "Strokes",
    "Timings",
    "TurnInput",
    "TurnReport",
    "TurnResult",
    "Variation",
    "Varied",
    "filled",
    "take_turn",
    "variations",
    "why_nothing",
]
