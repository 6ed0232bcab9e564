"""GrowCut: seeds conquer the voxels that their shortest path reaches first, by change of intensity and by distance.

The filter is ITK's FastGrowCut (Zhu et al. 2014; itk-growcut, Apache-2.0), an optional extra. It knows seeds alone: no
probability, so what the start knew comes in by its seeds and by the boundary of what new clicks may change.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg_rl.refiners.extras import imported
from medseg_rl.refiners.seeded import SeededConfig, SeededProblem, SeededRefiner
from medseg_rl.refiners.seeds import Region
from medseg_rl.volume import Spacing

OPEN, BACKGROUND, OBJECT = 0, 1, 2


@dataclass(frozen=True)
class GrowCutConfig(SeededConfig):
    """`distance_penalty`: what a millimetre costs, in units of the normalised intensity."""

    reach_mm: float = 2.0
    distance_penalty: float = 0.1


class GrowCut(SeededRefiner):
    """Competing seeds over the surroundings of the new clicks. Raises `MissingExtraError` when made without ITK."""

    name = "grow_cut"

    def __init__(self, config: GrowCutConfig | None = None) -> None:
        self.config: GrowCutConfig = config or GrowCutConfig()
        self._itk: Any = imported("itk", needed="FastGrowCut", extra="growcut", what=self.name)

    def solve(self, problem: SeededProblem) -> Region:
        """True inside the object."""
        labels = np.full(problem.free.shape, OPEN, np.uint8)
        labels[problem.foreground], labels[problem.background] = OBJECT, BACKGROUND
        # ITK's outermost voxels have no neighbours, so seeds there would never grow: a frame takes their place.
        image, seeds = (np.pad(array, 1, mode="edge").transpose().copy() for array in (problem.image, labels))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its wrapping, loaded piece by piece; as errors they would abort
            grown = self._grown(image, seeds, problem.spacing)
        found: Region = grown.transpose()[1:-1, 1:-1, 1:-1] == OBJECT
        return found

    def _grown(self, image: Any, seeds: Any, spacing: Spacing) -> Any:
        """Labels (z, y, x) of the filter."""
        itk = self._itk
        images = [itk.image_from_array(array) for array in (image, seeds)]
        for made in images:
            made.SetSpacing([float(mm) for mm in spacing])
        growing = itk.FastGrowCut[type(images[0]), type(images[1])].New()
        growing.SetInput(images[0])
        growing.SetSeedImage(images[1])
        growing.SetDistancePenalty(self.config.distance_penalty)
        growing.Update()
        return itk.array_from_image(growing.GetOutput())
