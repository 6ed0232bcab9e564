"""A synthetic clinician with a style, who works through the real session, its recorder and a feedback store.

He sees the reference of a case and wants it drawn his way: that mask is what he clicks for and what he accepts. Clicks
first, then his own hand, voxel by voxel. Simulated, and every record says so.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl import metrics
from medseg_rl.automatic.segmenter import AutomaticSegmenter
from medseg_rl.editing import FillBox
from medseg_rl.editing.checks import as_point
from medseg_rl.errors import ClickError
from medseg_rl.hints.robots import LargestRegion, robot_rng
from medseg_rl.refiner import Refiner
from medseg_rl.rlhf.store import FeedbackStore
from medseg_rl.session import SegmentationSession
from medseg_rl.session.feedback import FeedbackRecorder
from medseg_rl.session.feedback_filing import CaseIdentity
from medseg_rl.volume import Spacing, Volume

Mask = npt.NDArray[np.bool_]
GOOD_ENOUGH = 0.9  # Dice with his mask: from here on he draws himself


@dataclass(frozen=True)
class Style:
    """`margin_mm`: how far outside the reference he draws, inside where negative. `least_island_mm3`: he drops smaller
    pieces; 0 keeps them. `tail_mm`: he leaves so much of the posterior end of the organ out.
    """

    name: str
    margin_mm: float = 0.0
    least_island_mm3: float = 0.0
    tail_mm: float = 0.0

    def mask(self, reference: Mask, image: Volume) -> Mask:
        """The reference drawn his way; the reference itself where nothing would be left."""
        drawn = _moved(reference, image.spacing, self.margin_mm)
        if self.tail_mm:
            drawn = drawn & ~_tail(drawn, image, self.tail_mm)
        if self.least_island_mm3:
            pieces, count = ndimage.label(drawn)
            sizes = np.bincount(pieces.ravel(), minlength=count + 1) * image.voxel_volume
            keep = sizes >= self.least_island_mm3
            keep[0] = False
            drawn = keep[pieces]
        return drawn if drawn.any() else reference


STYLES = {
    style.name: style
    for style in (
        Style("wide", margin_mm=1.0, least_island_mm3=20.0),
        Style("narrow", margin_mm=-1.0),
        Style("short", tail_mm=8.0, least_island_mm3=20.0),
        Style("public"),
    )
}


def corrects(
    case_id: str,
    group: str,
    image: Volume,
    wanted: Mask,
    *,
    refiner: Refiner,
    automatic: AutomaticSegmenter | None,
    store: FeedbackStore,
    most_clicks: int = 5,
) -> int:
    """One case as he does it: automatic start, clicks until the mask is good enough, accept, the rest by hand.

    How many clicks he gave. Case and patient are hashed into the records.
    """
    session = SegmentationSession(image, refiner)
    identity = CaseIdentity(_hashed("case", case_id), _hashed("patient", group), annotator_kind="simulated")
    recorder = FeedbackRecorder(store, identity)
    recorder.watch(session)
    if automatic is not None:
        session.automatic_start(automatic.predict)
    clicks = _clicks(session, case_id, wanted, most_clicks)
    session.accept()
    _by_hand(session, wanted)
    recorder.finish()
    if recorder.problems:
        raise RuntimeError(f"a record was not kept: {recorder.problems[0]}")
    return clicks


def _clicks(session: SegmentationSession, case_id: str, wanted: Mask, most: int) -> int:
    robot = LargestRegion()
    for number in range(1, most + 1):
        mask = session.mask
        if metrics.dice(mask, wanted) >= GOOD_ENOUGH and number > 1:
            return number - 1
        rng = robot_rng(case_id, 0, number)
        new = robot.next_clicks(wanted, mask, session.clicks, session.image.spacing, 1, rng)
        if not new:
            return number - 1
        try:
            session.click_voxels(new)
        except ClickError:
            return number - 1
    return most


def _by_hand(session: SegmentationSession, wanted: Mask) -> None:
    """The boxes of the edit tools over every run of wrong voxels along the first axis."""
    affine = session.image.affine
    for erase in (False, True):
        drawn = session.segmentation.mask_of(session.active_label)
        wrong = drawn & ~wanted if erase else wanted & ~drawn
        for j, k in np.argwhere(wrong.any(0)):
            for first, last in _runs(wrong[:, j, k]):
                start, end = (as_point(affine[:3, :3] @ (i, j, k) + affine[:3, 3], "end") for i in (first, last))
                session.edit(FillBox(start, end, erase=erase))


def _runs(line: Mask) -> list[tuple[int, int]]:
    """First and last index of each run of True."""
    steps = np.diff(np.concatenate([[False], line, [False]]).astype(np.int8))
    return list(zip(np.flatnonzero(steps == 1).tolist(), (np.flatnonzero(steps == -1) - 1).tolist(), strict=True))


def _moved(mask: Mask, spacing: Spacing, margin_mm: float) -> Mask:
    """Everything within a margin of the mask, or what of it lies deeper than that."""
    if margin_mm > 0:
        grown: Mask = ndimage.distance_transform_edt(~mask, sampling=spacing) <= margin_mm + 1e-6
        return grown
    if margin_mm < 0:
        shrunk: Mask = ndimage.distance_transform_edt(mask, sampling=spacing) > -margin_mm + 1e-6
        return shrunk
    return mask.copy()


def _tail(mask: Mask, image: Volume, length_mm: float) -> Mask:
    """What lies within a length of the most posterior voxel, along the patient's axis."""
    anterior = np.einsum("i,i...->...", image.affine[1, :3], np.indices(mask.shape)) + image.affine[1, 3]
    tail: Mask = anterior < anterior[mask].min() + length_mm if mask.any() else np.zeros_like(mask)
    return tail


def _hashed(what: str, name: str) -> str:
    return hashlib.sha256(f"synthetic clinician {what} {name}".encode()).hexdigest()[:16]
