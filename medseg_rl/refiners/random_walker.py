"""Random walker: the label whose seeds a walker from a voxel reaches first, who is loath to cross edges (Grady 2006).

scikit-image solves it. Where something was known before the clicks, its log-odds join those of the walker, since a walk
from few seeds alone forgets what the start knew (the idea of priors in Grady, CVPR 2005, at the voxels after the walk).
Regions with too many open voxels are walked at a lower resolution.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medseg_rl.refiners.seeded import SeededConfig, SeededProblem, SeededRefiner
from medseg_rl.refiners.seeds import Region

OPEN, OBJECT, BACKGROUND = 0, 1, 2
FLATTEST = 1e-6  # standard deviation of an image in which there is no edge
SUREST = 0.01  # probability that a walk is never surer than
TOLERANCE = 1e-2  # of the solver; tighter ones moved no voxel across the threshold that mattered


@dataclass(frozen=True)
class RandomWalkerConfig(SeededConfig):
    """`beta`: how loath to cross edges, in the image's standard deviations as scikit-image has it. `prior`: weight of
    the log-odds of the state before, against those of the walk. `most_voxels`: open voxels above which the walk is at
    a lower resolution.
    """

    ball_mm: float = 3.0
    beta: float = 130.0
    prior: float = 1.0
    most_voxels: float = 120_000


class RandomWalker(SeededRefiner):
    """A random walk over the surroundings of the new clicks."""

    name = "random_walker"

    def __init__(self, config: RandomWalkerConfig | None = None) -> None:
        self.config: RandomWalkerConfig = config or RandomWalkerConfig()

    def solve(self, problem: SeededProblem) -> Region:
        """True inside the object."""
        config = self.config
        labels = np.full(problem.free.shape, OPEN, np.int8)
        labels[problem.foreground], labels[problem.background] = OBJECT, BACKGROUND
        factor = max(1, int(np.ceil((np.count_nonzero(problem.free) / config.most_voxels) ** (1 / 3))))
        walked = walked_probability(problem.image, labels, problem.spacing, beta=config.beta, factor=factor)
        odds = np.log(walked / (1 - walked))
        if problem.informed:
            before = problem.percent / 100
            odds += config.prior * np.log(before / (1 - before))
        inside: Region = odds > 0
        return inside


def walked_probability(
    image: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int8],
    spacing: tuple[float, float, float],
    *,
    beta: float,
    factor: int = 1,
) -> npt.NDArray[np.float64]:
    """Probability (x, y, z), 0.01..0.99, of meeting an object seed first. `labels`: 0 open, 1 object, 2 background.

    `factor` > 1 walks on every so many voxels along each axis, and interpolates between them.
    """
    from skimage.segmentation import random_walker  # here, since a program that never walks need not load it

    shape = image.shape
    if factor > 1:
        image, labels = _thinned(image, labels, factor)
    if not {OBJECT, BACKGROUND} <= set(np.unique(labels).tolist()) or not (labels == OPEN).any():
        probability = np.where(labels == OBJECT, 1.0, 0.0)
    else:
        data = image.astype(np.float64)
        if data.std() < FLATTEST:  # it divides by that
            data = np.linspace(0, FLATTEST, data.size).reshape(data.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of solvers that are not installed
            # "bf" is exact but slow; "cg_j" is the fastest of the others without pyamg
            found = random_walker(
                data, labels, beta=beta, mode="cg_j", tol=TOLERANCE, spacing=spacing, return_full_prob=True
            )
        probability = np.asarray(found)[0]
    if factor > 1:  # as centres of blocks
        probability = ndimage.zoom(probability, factor, order=1, mode="nearest", grid_mode=True)
        probability = probability[tuple(slice(n) for n in shape)]
    clipped: npt.NDArray[np.float64] = np.clip(probability, SUREST, 1 - SUREST)
    return clipped


def _thinned(
    image: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], factor: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int8]]:
    """Block means of the image, and of each block of labels the object's if there is one, else the background's."""
    counts = [-(-n // factor) for n in image.shape]
    padding = [(0, count * factor - n) for count, n in zip(counts, image.shape, strict=True)]
    blocks = [size for count in counts for size in (count, factor)]
    mean = np.pad(image, padding, mode="edge").reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float64)
    grouped = np.pad(labels, padding, mode="edge").reshape(blocks)
    thin = np.where((grouped == BACKGROUND).any(axis=(1, 3, 5)), BACKGROUND, OPEN).astype(np.int8)
    thin[(grouped == OBJECT).any(axis=(1, 3, 5))] = OBJECT
    return mean.astype(np.float32), thin
