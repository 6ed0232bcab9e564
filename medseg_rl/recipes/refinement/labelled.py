"""Labelled images to try learning on: cases of a data set, or phantoms where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from medseg_rl.dataset import Case
from medseg_rl.preprocessing import normalise_intensity
from medseg_rl.recipes.refinement.clinician import Mask
from medseg_rl.synthetic.phantoms import phantom
from medseg_rl.training_scenes import TrainingCase
from medseg_rl.volume import AxisOrder, Volume

PHANTOM_SHAPE = (24, 24, 24)


@dataclass(frozen=True, eq=False)
class Labelled:
    """`load` reads image and reference each time: what all cases take would fill the memory."""

    id: str
    group: str
    load: Callable[[], tuple[Volume, Mask]]


def few_seeds(seeds: int) -> tuple[str, ...]:
    """What a card must say below three seeds."""
    if seeds >= 3:
        return ()
    return (f"{'One seed' if seeds == 1 else 'Two seeds'}: what was seen once, no claim; three make one.",)


def labelled_cases(cases: Sequence[Case]) -> list[Labelled]:
    """Cases of a data set."""
    return [Labelled(case.id, case.group, case.load) for case in cases]


def normalised(case: Labelled) -> TrainingCase:
    """What the agents are shown of it: normalised, its axes along those of the world, without a start."""
    image, reference = case.load()
    order = AxisOrder.of(image.affine)
    shown = np.ascontiguousarray(order.apply(normalise_intensity(image.array, image.modality)))
    return TrainingCase(
        case.id, shown, np.ascontiguousarray(order.apply(reference)), None, order.apply_spacing(image.spacing)
    )


def phantom_cases(count: int, seed: int) -> list[Labelled]:
    """Small random images of some structures, the largest of them the object; each its own patient."""
    numbers = range(seed, seed + count)
    return [Labelled(f"phantom-{n}", f"patient-{n}", partial(_phantom, n)) for n in numbers]


def _phantom(seed: int) -> tuple[Volume, Mask]:
    made = phantom(PHANTOM_SHAPE, (1.0, 1.0, 1.0), np.random.default_rng(seed), structures=2)
    values, counts = np.unique(made.labels[made.labels > 0], return_counts=True)
    return Volume(made.image, np.eye(4)), made.labels == values[counts.argmax()]
