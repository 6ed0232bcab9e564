"""What an open proposal comes to in numbers: voxels added and removed, mL, and how far from the nearest click.

Only the box of the proposal is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg_rl.volume import Box, FloatArray
from medseg_rl_gui.case import CaseInHand
from medseg_rl_gui.i18n import number, tr, whole
from medseg_rl_gui.view_model import Mask

LARGE_VOXELS = 1_000_000
MOST_POINTS = 20_000  # of the rim whose distance to the clicks is measured; more are thinned out


@dataclass(frozen=True)
class ProposalCounts:
    """`farthest_mm`: from a changed voxel to the click nearest to it; None without a click or a change."""

    label: int
    clicks: int
    added: int
    removed: int
    millilitres: float
    farthest_mm: float | None = None
    is_running: bool = False

    @property
    def text(self) -> str:
        """Such as "+1,204 / -310 voxels, 0.9 mL, 24 mm from the nearest click"."""
        parts = [
            tr("+{added} / -{removed} voxels").format(added=whole(self.added), removed=whole(self.removed)),
            tr("{volume} mL").format(volume=number(self.millilitres, 1 if abs(self.millilitres) >= 0.1 else 3)),
        ]
        if self.farthest_mm is not None:
            parts.append(tr("{mm} mm from the nearest click").format(mm=number(self.farthest_mm, 0)))
        return ", ".join(parts)


def counts_of(case: CaseInHand) -> ProposalCounts | None:
    """Of what the views show; None where no proposal is shown. `millilitres` is what it adds less what it removes.

    While the model is at work on something large the distance is left out: it comes with the result.
    """
    shown = case.view.proposal
    if shown is None:
        return None
    session, box = case.session, shown.box
    layers = session.label_layers
    changed = layers[0][box.slices] == shown.label  # in the order of its voxels in memory, as all that follows
    for layer in layers[1:]:
        changed |= layer[box.slices] == shown.label
    changed ^= shown.inside
    proposal, is_running = session.proposal, case.preview is not None
    if is_running or proposal is None:
        gain = int(np.count_nonzero(changed & shown.inside))
        loss = int(np.count_nonzero(changed)) - gain
    else:
        gain, loss = proposal.added_voxels, proposal.removed_voxels
    return ProposalCounts(
        shown.label,
        0 if proposal is None else proposal.clicks,
        gain,
        loss,
        (gain - loss) * session.image.voxel_volume / 1000,
        None if is_running and box.voxels > LARGE_VOXELS else _farthest(case, changed),
        is_running,
    )


def _farthest(case: CaseInHand, changed: Mask) -> float | None:
    """mm from the changed voxel that lies farthest from its nearest click to that click.

    Of what is larger than `LARGE_VOXELS` only every so many slices are looked at: it is right to within those.
    """
    clicks = [click.index for click in case.session.clicks]
    shown = case.view.proposal
    tight = Box.around_mask(changed) if clicks else None
    if tight is None or shown is None:
        return None
    changed = changed[tight.slices]
    axes = np.argsort([-stride for stride in changed.strides])  # as it lies in memory: else flattening takes ten times
    slices, step = changed.transpose(axes), -(-changed.size // LARGE_VOXELS)
    rim = np.flatnonzero(_rim(slices[::step]))  # many times as fast as three indices for each
    rim = rim[:: max(1, len(rim) // MOST_POINTS)]
    shape = (-(-slices.shape[0] // step), *slices.shape[1:])
    found = np.column_stack(np.unravel_index(rim, shape)) * (step, 1, 1)
    indices = found[:, np.argsort(axes)]
    affine = case.session.image.affine
    points = _to_world(affine, indices + np.add(shown.box.start, tight.start))
    nearest = np.full(len(points), np.inf)
    for click in clicks:
        offset = points - _to_world(affine, np.asarray([click]))
        nearest = np.minimum(nearest, np.einsum("ij,ij->i", offset, offset))
    return float(np.sqrt(nearest.max()))


def _to_world(affine: FloatArray, indices: npt.NDArray[np.intp]) -> FloatArray:
    """RAS+ mm of voxel indices (n, 3). Column by column: a matrix product waits for the threads that the model uses."""
    world: FloatArray = np.tile(affine[:3, 3], (len(indices), 1))
    for axis in range(3):
        world += indices[:, axis, None] * affine[:3, axis]
    return world


def _rim(mask: Mask) -> Mask:
    """The voxels of a mask that have a neighbour outside; what is farthest from anything lies there."""
    inner = np.zeros_like(mask)
    inner[1:-1, 1:-1, 1:-1] = mask[1:-1, 1:-1, 1:-1]
    for axis in range(3):
        before, after = [slice(None)] * 3, [slice(None)] * 3
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        inner[tuple(after)] &= mask[tuple(before)]
        inner[tuple(before)] &= mask[tuple(after)]
    return mask & ~inner
