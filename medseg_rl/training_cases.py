"""Loads labelled cases for training: normalised, in the axis order networks see, beside their automatic start."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medseg_rl.automatic.starts import Starts
from medseg_rl.dataset import WHOLE, Case, Dataset, Target
from medseg_rl.preprocessing import normalise_intensity
from medseg_rl.training_scenes import TrainingCase
from medseg_rl.volume import AxisOrder


def load_training_cases(
    dataset: Dataset,
    split: str,
    *,
    target: Target = WHOLE,
    starts: Starts | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[TrainingCase]:
    """Cases of a split; `starts` must be out of fold. Raises what reading a case raises, and on a missing start."""
    cases = dataset.cases(split, target)
    loaded = []
    for done, case in enumerate(cases, 1):
        loaded.append(_load(case, target, starts))
        progress(done, len(cases))
    return loaded


def _load(case: Case, target: Target, starts: Starts | None) -> TrainingCase:
    image, reference = case.load(target)
    order = AxisOrder.of(image.affine)
    percent = None if starts is None else np.ascontiguousarray(order.apply(starts.percent(case.id)))
    return TrainingCase(
        id=case.id,
        image=np.ascontiguousarray(order.apply(normalise_intensity(image.array, image.modality))),
        reference=np.ascontiguousarray(order.apply(reference)),
        start=percent,
        spacing=order.apply_spacing(image.spacing),
    )
