"""Edits by hand, in millimetres: brush, lasso, scribble, islands, holes, smoothing, margin, slices, other labels.

Pure functions on a box of a mask, and `operations` that a journal can keep. Knows no session, no locks and no undo.
"""

from medseg_rl.editing.context import Edit, EditContext
from medseg_rl.editing.drawing import Brush, FillBox, GrowRegion, Lasso
from medseg_rl.editing.elsewhere import Combine, CopySlice, Interpolate
from medseg_rl.editing.grid import Grid, Plane
from medseg_rl.editing.operations import Operation, from_json, to_json
from medseg_rl.editing.outlines import box_between
from medseg_rl.editing.separating import Islands, SplitIslands
from medseg_rl.editing.shaping import FillHoles, Margin, Smooth
from medseg_rl.editing.strokes import scribble_voxels, stroke_mask
from medseg_rl.editing.threshold import Threshold

__all__ = [
    "Brush",
    "Combine",
    "CopySlice",
    "Edit",
    "EditContext",
    "FillBox",
    "FillHoles",
    "Grid",
    "GrowRegion",
    "Interpolate",
    "Islands",
    "Lasso",
    "Margin",
    "Operation",
    "Plane",
    "Smooth",
    "SplitIslands",
    "Threshold",
    "box_between",
    "from_json",
    "scribble_voxels",
    "stroke_mask",
    "to_json",
]
