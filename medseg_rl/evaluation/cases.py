"""Cases with their starts, as the protocol wants them: no start comes from the reference but start C, unit scale."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from medseg_rl.dataset import WHOLE, Case, Dataset, Target
from medseg_rl.errors import GeometryError, InputFileError
from medseg_rl.refiner import Percent
from medseg_rl.volume import Box, Spacing, Volume

if TYPE_CHECKING:
    from medseg_rl.automatic.starts import Starts

StartKind = Literal["A", "B", "C"]  # automatic, empty, corrupted reference
BINARY_OBJECT, BINARY_BACKGROUND = 90, 10  # a wrong binary start must stay correctable

EXTENT_PERCENTILE = 95
EXTENT_FACTOR = 1.5
LEAST_SIDE_MM = 32.0


@dataclass(frozen=True, eq=False)
class EvaluationCase:
    """One volume to be refined. `reference`: True inside the object, for robots and metrics alone.

    `start`: live state at 0 clicks, hundredths 1..99 of the image's shape; None for an empty start.
    """

    id: str
    subject: str
    image: Volume
    reference: npt.NDArray[np.bool_]
    start: Percent | None

    def __post_init__(self) -> None:
        for name, array in (("reference", self.reference), ("start", self.start)):
            if array is not None and array.shape != self.image.shape:
                raise GeometryError(f"{self.id}: image is {self.image.shape} voxels but {name} is {array.shape}")


def load_evaluation_case(case: Case, target: Target, kind: StartKind, starts: Starts | None) -> EvaluationCase:
    """Image, reference and start of a case. Raises `InputFileError` where start A has no stored starts."""
    image, reference = case.load(target)
    start: Percent | None = None
    if kind == "A":
        if starts is None:
            raise InputFileError("start A needs the folder of the automatic starts; give it, or evaluate start B")
        start = starts.percent(case.id)
    elif kind == "C":
        start = corrupted_start(case.id, reference, image.spacing)
    return EvaluationCase(case.id, case.group, image, reference, start)


def load_evaluation_cases(
    dataset: Dataset,
    split: str,
    *,
    target: Target = WHOLE,
    kind: StartKind = "A",
    starts: Starts | None = None,
    limit: int | None = None,
) -> list[EvaluationCase]:
    """The cases of a split whose reference is not empty, the first `limit` of them; see `load_evaluation_case`."""
    return [load_evaluation_case(case, target, kind, starts) for case in dataset.cases(split, target)[:limit]]


def corrupted_start(case_id: str, reference: npt.NDArray[np.bool_], spacing: Spacing) -> Percent:
    """Start C: a fixed corruption of the reference, seeded by the case alone. Unit scale; never a headline."""
    from medseg_rl.synthetic import corrupt_mask

    digest = hashlib.sha256(f"start C {case_id}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))
    corrupted = corrupt_mask(reference, spacing, rng)
    return np.where(corrupted, BINARY_OBJECT, BINARY_BACKGROUND).astype(np.uint8)


def empty_start_side_mm(dataset: Dataset, target: Target) -> float:
    """Side of the region of an empty start: 1.5 x the 95th percentile of object extent in the training split, >= 32 mm.

    Extent: the longest side of the box around the object.
    """
    extents = []
    for case in dataset.cases("train", target):
        image, reference = case.load(target)
        box = Box.around_mask(reference)
        if box is not None:
            extents.append(max(n * s for n, s in zip(box.shape, image.spacing, strict=True)))
    if not extents:
        raise InputFileError(f"{dataset.folder} has no training case with this target, so no size for an empty start")
    return max(LEAST_SIDE_MM, EXTENT_FACTOR * float(np.percentile(extents, EXTENT_PERCENTILE)))
